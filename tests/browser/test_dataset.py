"""A person at the Data sets tab: looks through layouts, takes one to the studio, makes a small data set, loads it."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from screens import misfits

pytestmark = [pytest.mark.browser, pytest.mark.model]

MINUTE = 60_000  # milliseconds


def open_tab(page: Page) -> None:
    page.get_by_role("tab", name="Data sets").click()
    expect(page.locator("#data-page .tile, #data-page figure, #data-page .hint").first).to_be_visible()


def test_from_layouts_to_a_zip(studio: Any, fill: Callable[..., None], tmp_path: Path) -> None:
    page = studio.page
    open_tab(page)
    assert page.evaluate("document.documentElement.scrollHeight <= window.innerHeight"), "the page scrolls"
    tiles = page.locator("#data-page .tile")
    expect(tiles).to_have_count(12)
    studio.screenshot("layouts")
    first = tiles.first.get_attribute("title")
    page.locator("#data-after").click()
    expect(tiles.first).not_to_have_attribute("title", str(first))
    page.locator("#data-page button[data-name='class car']").click()
    expect(page.locator("#data-page button[aria-pressed=true]")).to_have_text(re.compile("car"))
    expect(tiles.first).to_have_attribute("title", re.compile("car"))
    tiles.first.click()
    expect(page.locator("#editor svg[tabindex]")).to_be_visible()

    open_tab(page)
    fill("data", count=0)
    page.locator("#data-start").click()
    expect(page.locator("#messages .message").filter(has_text="images '0'")).to_be_visible()
    fill("data", layouts=4, count=4, steps=2, name="few")
    page.locator("#data-start").click()
    head = page.locator("#data-head")
    expect(head.locator(".run")).to_contain_text("few")
    expect(head.locator(".run.finished")).to_be_visible(timeout=5 * MINUTE)
    expect(page.locator("#data-page figure img")).to_have_count(4)
    studio.screenshot("pictures")
    assert misfits(page, "dataset") == []
    page.locator("#data-page figure .tile").nth(2).click()
    expect(page.locator("#data-large img")).to_be_visible()
    expect(page.locator("#data-large figcaption")).to_contain_text("000002.png of few")
    studio.screenshot("enlarged")
    page.keyboard.press("Escape")
    expect(page.locator("#data-large")).to_be_hidden()
    page.locator("#data-page figure .tile").nth(1).click()
    page.locator("#data-back").click()
    expect(page.locator("#data-large")).to_be_hidden()
    page.locator("#data-view").get_by_label("Numbers").check()
    expect(page.locator("#data-page table")).to_contain_text("all")
    studio.screenshot("numbers")
    with page.expect_download(timeout=2 * MINUTE) as download:
        page.locator("#data-download").click()
    download.value.save_as(tmp_path / "few.zip")
    with zipfile.ZipFile(tmp_path / "few.zip") as file:
        assert {"few/annotations.json", "few/data.yaml", "few/images/00000/000003.png"} <= set(file.namelist())
