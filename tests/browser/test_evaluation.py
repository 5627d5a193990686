"""A person at the Evaluation tab: starts a real evaluation, reloads, sees it finish, reads the report."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from screens import misfits

pytestmark = [pytest.mark.browser, pytest.mark.model]

MINUTE = 60_000  # milliseconds


def open_tab(page: Page) -> None:
    page.get_by_role("tab", name="Evaluation").click()
    expect(page.locator("#eval-runs").locator("button, .hint").first).to_be_visible()


def test_from_start_to_report(page: Page, fill: Callable[..., None]) -> None:
    open_tab(page)
    assert page.evaluate("document.documentElement.scrollHeight <= window.innerHeight"), "the page scrolls"
    fill("eval", layouts=0)
    page.locator("#eval-start").click()
    expect(page.locator("#messages .message").filter(has_text="layouts '0'")).to_be_visible()
    expect(page.locator("#eval-runs button")).to_have_count(0)

    fill("eval", layouts=2, steps=2, name="tiny")
    page.locator("#eval-start").click()
    head = page.locator("#eval-head")
    expect(head.locator(".run.running")).to_be_visible()
    expect(head).to_contain_text(re.compile(r"image \d+ of 12"), timeout=2 * MINUTE)
    expect(page.locator("#eval-log")).to_contain_text("papercut: origin", timeout=2 * MINUTE)

    page.reload()  # the tab stands in the address
    open_tab(page)
    expect(head.locator(".run.finished")).to_be_visible(timeout=5 * MINUTE)
    report = page.frame_locator("#eval-page iframe")
    expect(report.get_by_role("heading", name=re.compile("papercut:2@900000"))).to_be_visible()
    expect(report.get_by_text("From easy to hard, same layouts and noises")).to_be_attached()
    cut = report.locator(".wide").evaluate_all("all => all.filter((one) => one.scrollWidth > one.clientWidth).length")
    assert cut == 0, "a laptop shows every table whole"
    with page.expect_popup() as popup:
        page.locator("#eval-open").click()
    expect(popup.value.get_by_role("heading", name="DetDiffusion: evaluation")).to_be_visible()
    if folder := os.environ.get("DETDIFFUSION_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / "evaluation.png")
        popup.value.screenshot(path=Path(folder) / "report.png", full_page=True)
    popup.value.close()
    assert misfits(page, "evaluation") == []
    page.set_viewport_size({"width": 390, "height": 844})
    shown, log = (page.locator(place).bounding_box() for place in ("#eval-page iframe", "#eval-log .end"))
    assert shown["y"] + shown["height"] <= log["y"], "on a phone they stand below each other"
