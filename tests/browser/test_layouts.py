"""Layouts in and out: own ones, files, pictures, links."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.model]


def objects(studio: Any) -> list[tuple[str, str]]:
    return [(item["label"], item["attribute"]) for item in studio.layout()["objects"]]


def open_menu(page: Page, name: str) -> None:
    page.locator(f"#{name} > button").click()


def test_own_layouts_survive_a_reload(studio: Any) -> None:
    page = studio.page
    open_menu(page, "layouts")
    expect(page.locator("#shelf .thumbnail").first).to_be_visible()
    studio.screenshot("layouts")
    page.locator("#shelf button[data-name='example Kite hill']").click()
    expect(page.locator("#shelf")).to_be_hidden()
    assert ("kite", "easy") in objects(studio)

    studio.clear()
    studio.draw("cat", 0.3, 0.3, 0.7, 0.8)
    drawn = studio.layout()
    open_menu(page, "layouts")
    page.locator("#layout-name input").fill("Cat alone")
    page.locator("#layout-name input").press("Enter")
    studio.message("Cat alone")
    page.reload()
    expect(page.locator("svg g.box")).to_have_count(1)
    assert studio.layout() == drawn, "what was on the canvas is there again"
    open_menu(page, "layouts")
    page.locator("#shelf button[data-name='example Kite hill']").click()
    expect(page.locator("svg g.box")).not_to_have_count(1)
    open_menu(page, "layouts")
    page.locator("#shelf button[data-name='own Cat alone']").click()
    expect(page.locator("svg g.box")).to_have_count(1)
    assert studio.layout() == drawn
    open_menu(page, "layouts")
    page.locator("#shelf button[data-name='own Cat alone']").hover()
    page.locator("#shelf button[data-name='remove Cat alone']").click()
    expect(page.locator("#shelf button[data-name='own Cat alone']")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("#shelf")).to_be_hidden()
    assert studio.layout() == drawn


def test_any_picture_becomes_a_layout(studio: Any) -> None:
    page = studio.page
    page.get_by_role("tab", name="Compare", exact=True).click()
    shown = Image.open(studio.saved("#pair .caption.a")).convert("RGB")
    plain = io.BytesIO()
    ImageOps.mirror(shown).save(plain, format="JPEG", quality=95)
    studio.clear()
    studio.drop("holiday.jpg", plain.getvalue())
    studio.message("finds 4 objects in holiday.jpg")
    assert {label for label, _ in objects(studio)} == {"bus", "traffic light", "car", "person"}
    expect(studio.canvas.locator("image.backdrop")).to_have_count(1)
    studio.screenshot("detected")
    studio.press("Control+z")
    assert objects(studio) == []
    studio.drop("nothing.png", _grey())
    studio.message("finds nothing")


def _grey() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(buffer, format="PNG")
    return buffer.getvalue()


def test_annotations_in_and_out(studio: Any) -> None:
    page = studio.page
    drawn = studio.layout()
    for form, name in (("COCO", "layout.coco.json"), ("Pascal VOC", "layout.xml"), ("Layout JSON", "layout.json")):
        open_menu(page, "share")
        page.locator("#share-form input").click()
        page.get_by_role("option", name=form, exact=True).click()
        with page.expect_download() as download:
            page.locator("#export-layout").click()
        assert download.value.suggested_filename == name
        content = Path(download.value.path()).read_bytes()
        page.keyboard.press("Escape")
        studio.clear()
        studio.open(name, content)
        studio.message(re.escape(name))
        back = studio.layout()
        assert [item["label"] for item in back["objects"]] == [item["label"] for item in drawn["objects"]]


def test_a_link_opens_its_layout(chromium: Browser, studio: Any, person: Any, address: str) -> None:
    page = studio.page
    studio.canvas.focus()
    studio.press("Shift+Digit2")
    drawn = studio.layout()
    open_menu(page, "share")
    page.locator("#copy-link").click()
    expect(page.locator("#link input")).to_have_value(re.compile(rf"^{re.escape(address)}/\?layout=\S+$"))
    link = page.locator("#link input").input_value()
    context = chromium.new_context()
    other = context.new_page()
    other.goto(link)
    expect(other.locator("svg g.box")).to_have_count(len(drawn["objects"]))
    assert person(other).layout() == drawn
    other.goto(f"{address}/?layout=broken")
    person(other).message("link was not opened")
    expect(other.locator("svg g.box").first).to_be_visible()
    context.close()
    assert json.dumps(drawn) == json.dumps(studio.layout())
