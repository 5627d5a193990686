"""The page on a phone: what fits a laptop by itself has to be laid out, and said, anew."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def phone(book: Any, address: str) -> Page:
    page: Page = book(address, viewport=PHONE, has_touch=True, is_mobile=True)
    return page


def test_the_list_of_objects_keeps_its_order(phone: Page) -> None:
    """Left, top, width and height stand in a line of their own, whole."""
    phone.locator(".editor .rail [data-action=list]").tap()
    row = phone.locator(".editor .list li").first
    places = [row.locator(f"[data-side={side}]").bounding_box() for side in ("Left", "Top", "Width", "Height")]
    assert [place["x"] for place in places] == sorted(place["x"] for place in places)
    assert len({place["y"] for place in places}) == 1 and all(place["width"] > 40 for place in places)
    phone.locator(".editor .list .close").tap()
    expect(phone.locator(".editor .list")).to_be_hidden()


def test_the_tour_speaks_of_fingers_and_shows_what_it_means(phone: Page) -> None:
    card = phone.locator(".tour-card")
    phone.get_by_role("button", name="Tour").tap()
    for name in ("Draw", "Tag", "Generate", "Compare"):
        expect(card.locator("h3")).to_contain_text(name)
        assert not any(key in card.inner_text() for key in ("Press", "Ctrl"))
        expect(phone.locator(".toured")).to_be_in_viewport()
        box = card.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= PHONE["height"]
        card.locator("[data-tour=on]").tap()
    expect(card).to_be_hidden()


def test_the_comparison_is_whole(phone: Page) -> None:
    """No column beyond the edge, no label over another one."""
    assert phone.locator("#pair .scroll").evaluate("node => node.scrollWidth - node.clientWidth") <= 1
    assert phone.locator("#pair .mark span").count() >= 8
    overlaps = phone.locator("#pair .side").evaluate_all(
        """sides => sides.flatMap((side) => {
            const labels = [...side.querySelectorAll(".mark:not(.unsaid) span")];
            const boxes = labels.map((node) => node.getBoundingClientRect());
            return boxes.filter((a, place) => boxes.slice(place + 1).some((b) =>
              a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom));
        }).length"""
    )
    assert overlaps == 0


def test_the_gallery_begins_with_its_images(phone: Page) -> None:
    phone.get_by_role("tab", name="Gallery").tap()
    tiles = phone.locator("#gallery-tiles")
    expect(tiles.locator(".tile").nth(1)).to_be_visible()
    assert tiles.evaluate("node => node.scrollHeight - node.clientHeight") <= 1, "the page scrolls, not a part of it"
    expect(phone.locator("#gallery-picture")).to_be_hidden()
    tiles.locator(".pick").first.tap()
    expect(phone.locator("#gallery-picture img")).to_be_visible()
