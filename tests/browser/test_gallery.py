"""A person at the Gallery tab: finds what was generated, brings one back to the canvas, exports, deletes."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from screens import misfits

pytestmark = [pytest.mark.browser, pytest.mark.model]


def open_tab(page: Page) -> Locator:
    page.get_by_role("tab", name="Gallery").click()
    expect(page.locator("#gallery-storage p")).to_be_visible()
    return page.locator("#gallery-tiles .tile")


def pictures(page: Page) -> int:
    """How many the filter lets through."""
    return int(page.locator("#gallery-head").inner_text().split(" image")[0].split()[-1])


def choose(page: Page, place: str, name: str) -> None:
    page.locator(f"{place} input").click()
    page.get_by_role("option", name=name, exact=True).click()


def test_from_a_picture_back_to_the_canvas(studio: Any, tmp_path: Path) -> None:
    page = studio.page
    studio.clear()
    studio.draw("cat", 0.3, 0.3, 0.7, 0.8)
    drawn = studio.layout()
    studio.seed.fill("4321")
    studio.seed.press("Tab")
    studio.canvas.focus()
    studio.generate()
    studio.clear()
    studio.draw("bus", 0.1, 0.5, 0.5, 0.9)
    studio.seed.fill("1")
    studio.seed.press("Tab")

    tiles = open_tab(page)
    assert page.evaluate("document.documentElement.scrollHeight <= window.innerHeight"), "the page scrolls"
    expect(tiles.nth(2)).to_be_visible()  # the opening example, a single picture and a pair, is there too
    expect(tiles.first).to_contain_text("Seed 4321")
    expect(page.locator("#gallery-restore")).to_be_disabled()
    studio.screenshot("gallery")
    everything = pictures(page)
    choose(page, "#gallery-label", "cat")
    expect(page.locator("#gallery-head")).not_to_contain_text(f"{everything} images")
    assert 1 <= pictures(page) < everything, "other tests may have drawn cats, too; the example has none"

    ours = tiles.filter(has_text="Seed 4321")
    expect(ours).to_have_count(1)
    pick, star = ours.locator(".pick"), ours.locator(".star")
    pick.focus()
    studio.press("Enter")
    expect(pick).to_have_attribute("aria-pressed", "true")
    expect(pick).to_be_focused()
    expect(page.locator("#gallery-picture img")).to_be_visible()
    expect(page.locator("#gallery-facts")).to_contain_text("papercut")
    studio.press("s")
    expect(star).to_have_attribute("aria-pressed", "true")
    studio.screenshot("gallery-chosen")
    with page.expect_download() as download:
        page.locator("#gallery-export").click()
    download.value.save_as(tmp_path / "some.zip")
    with zipfile.ZipFile(tmp_path / "some.zip") as file:
        written = json.loads(file.read("annotations.json"))
        assert [one["seed"] for one in written["images"]] == [4321]
        assert written["images"][0]["file_name"] in file.namelist()
    assert [one["name"] for one in written["categories"]] == ["cat"]

    page.locator("#gallery-restore").click()
    expect(page.locator("#editor svg[tabindex]")).to_be_visible()
    studio.message("restored layout, seed")
    expect(studio.seed).to_have_value("4321")
    assert studio.layout() == drawn


def test_delete_and_clean_up(studio: Any) -> None:
    page = studio.page
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.body.classList.add('dark')")
    studio.seed.fill("99")
    studio.seed.press("Tab")
    page.locator("#compare").click()
    expect(page.locator("#cancel")).to_be_visible()
    tiles = open_tab(page)
    expect(tiles.nth(1)).to_contain_text(re.compile("Seed 99.*drop"))  # it comes while the gallery is open
    kept, doomed = (str(tiles.nth(place).locator(".pick").get_attribute("data-name")) for place in (0, 1))
    tiles.first.locator(".star").click()
    expect(tiles.first.locator(".star")).to_have_attribute("aria-pressed", "true")
    before = tiles.count()

    tiles.nth(1).locator(".pick").click()
    assert misfits(page, "gallery") == []
    page.locator("#gallery-delete").click()
    expect(page.locator("#gallery-question")).to_contain_text("Delete 1 image?")
    expect(page.locator("#gallery-keep")).to_be_focused()
    studio.screenshot("gallery-dark")
    studio.press("Enter")
    expect(page.locator("#gallery-question")).to_be_hidden()
    expect(tiles).to_have_count(before)
    page.locator("#gallery-delete").click()
    page.locator("#gallery-sure").click()
    studio.message("1 image moved to the trash")
    expect(page.locator(f"[data-name='{doomed}']")).to_have_count(0)
    page.locator("#gallery-undo").click()
    studio.message("Brought back")
    expect(page.locator(f"[data-name='{doomed}']")).to_be_visible()
    expect(page.locator("#gallery-trash")).to_be_hidden()

    page.locator("#gallery-clean").click()
    expect(page.locator("#gallery-question")).to_contain_text("all without a star")
    page.locator("#gallery-sure").click()
    studio.message("moved to the trash")
    page.locator("#gallery-empty").click()
    studio.message("freed")
    expect(page.locator("#gallery-trash")).to_be_hidden()
    expect(page.locator(f"[data-name='{kept}']")).to_be_visible()
    expect(page.locator("#gallery-tiles .star[aria-pressed=false]")).to_have_count(0)
    expect(page.locator("#gallery-storage")).to_have_text(re.compile(r"^\s*\d images?, \d+ kB\s*$"))
