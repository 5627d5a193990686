"""Every tab on every screen, as a fresh page has it; tests that fill a tab look at it again (`misfits`)."""

from typing import Any

import pytest
from screens import IN_REACH, SCREENS, ZOOMS, misfits

pytestmark = [pytest.mark.browser, pytest.mark.model]


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_every_tab_fits_every_screen(studio: Any, theme: str) -> None:
    """The theme changes no place, so dark is walked without zoom."""
    page = studio.page
    page.evaluate(f"document.body.classList.toggle('dark', {'true' if theme == 'dark' else 'false'})")
    found: list[str] = []
    for tab in IN_REACH:
        page.locator(f"#{tab}-view-button").click()
        page.locator(f"#{tab}-view").wait_for()
        found += misfits(page, tab, ZOOMS if theme == "light" else ZOOMS[:1])
    assert found == []


def test_what_a_selected_object_brings_is_in_reach(studio: Any) -> None:
    """The slider of its difficulty, on every screen; the canvas stays where it is."""
    page, slider = studio.page, studio.page.locator(".editor .difficulty input")
    for width, height in SCREENS:
        for zoom in ZOOMS:
            page.set_viewport_size({"width": round(width / zoom), "height": round(height / zoom)})
            page.locator(".canvas svg").press("Escape")
            slider.wait_for(state="hidden")
            before = page.locator(".canvas").bounding_box()
            page.locator(".canvas svg [data-id]").last.click()
            slider.click(trial=True)
            slider.evaluate("node => scrollTo(0, 0)")
            assert page.locator(".canvas").bounding_box() == before, f"{width}x{height} at {zoom}"
            place, frame = slider.bounding_box(), page.locator(".editor").bounding_box()
            assert frame["x"] <= place["x"] and place["x"] + place["width"] <= frame["x"] + frame["width"]
