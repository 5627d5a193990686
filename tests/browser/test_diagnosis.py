"""A person at the Diagnose tab: from data to a slice, its images, the canvas, and a data set of more like them."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from screens import misfits

pytestmark = [pytest.mark.browser, pytest.mark.model, pytest.mark.slow]

MINUTE = 60_000  # milliseconds


def test_from_data_to_more_of_what_is_missed(
    studio: Any, fill: Callable[..., None], violations: Callable[[Page], list[str]]
) -> None:
    page = studio.page
    page.get_by_role("tab", name="Diagnose").click()
    expect(page.locator("#diag-hint, #diag-bars").first).to_be_visible()
    fill("diag", scenes="no")
    page.locator("#diag-start").click()
    studio.message("scenes 'no' needs to be a whole number")
    fill("diag", scenes=24, name="few")
    page.locator("#diag-start").click()
    head = page.locator("#diag-head .run")
    expect(head).to_contain_text("few")
    expect(page.locator("#diag-hint")).to_contain_text("when the diagnosis is finished")
    expect(page.locator("#diag-head .run.finished")).to_be_visible(timeout=5 * MINUTE)

    bars, tiles, title = (
        page.locator("#diag-bars button"),
        page.locator("#diag-images .tile"),
        page.locator("#diag-title"),
    )
    expect(bars.and_(page.locator("[aria-pressed=true]"))).to_have_count(1)
    studio.screenshot("diagnosis")
    wrong = page.locator("#diag-bars button[data-name='error cls']")
    wrong.focus()
    page.keyboard.press("Enter")
    expect(wrong).to_have_attribute("aria-pressed", "true")
    expect(wrong).to_be_focused()
    expect(title).to_contain_text("choose a slice")
    expect(page.locator("#diag-make")).to_be_hidden()
    worst = page.locator("#diag-bars button.slice").first
    page.evaluate("""() => ["error miss", "error cls"].forEach(name =>
        document.querySelector(`#diag-bars button[data-name='${name}']`).click())""")
    worst.click()  # while the answers to two others are on their way
    expect(worst).to_have_attribute("aria-pressed", "true")
    name = worst.locator("span").inner_text()
    expect(title.locator("h3")).to_have_text(name)
    expect(tiles.first.locator(".about")).to_be_attached()
    expect(page.locator("#diag-images figcaption").first).to_contain_text("missed")
    page.locator("#diag-sort input").click()
    page.get_by_role("option", name="Most confident first").click()
    expect(page.locator("#diag-images figcaption").first).to_contain_text(re.compile(r"[01]\.\d\d, IoU"))
    assert misfits(page, "diagnosis") == [] and violations(page) == []
    page.locator("#diag-view").get_by_label("Report").check()
    expect(page.frame_locator("#diag-report iframe").locator("h1")).to_contain_text("Diagnosis of")
    page.locator("#diag-view").get_by_label("Findings").check()

    file = str(tiles.first.get_attribute("title")).removeprefix("Open on the canvas: ")
    tiles.first.click()
    expect(page.locator("#editor svg[tabindex]")).to_be_visible()
    studio.message(rf"{file}: \d+ object")
    expect(page.locator("#editor image")).to_have_attribute("href", re.compile("^data:image/jpeg"))
    assert {one["attribute"] for one in studio.layout()["objects"]} & {"easy", "hard"}

    page.get_by_role("tab", name="Diagnose").click()
    fill("diag", count=0)
    page.locator("#diag-make").click()
    studio.message("images '0' needs to be a whole number")
    fill("diag", count=3, steps=1)
    page.locator("#diag-make").click()
    made = page.locator("#data-head .run")
    expect(made).to_contain_text(f"more of: {name}")
    expect(page.locator("#data-head .run.finished")).to_be_visible(timeout=5 * MINUTE)
    expect(page.locator("#data-page figure img")).to_have_count(3)
    page.locator("#data-view").get_by_label("Refused").check()
    expect(page.locator("#data-page figure.refused, #data-page .hint").first).to_be_visible()
    studio.screenshot("refused")
