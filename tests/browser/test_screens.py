"""Every tab on every screen, by geometry: nothing lies outside, is cut or lies over another thing, and the button that
starts something is in reach."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.model]

SCREENS = ((390, 844), (768, 1024), (1024, 768), (1100, 800), (1280, 720), (1366, 768), (1920, 1080), (2560, 1440))
ZOOMS = (1.0, 1.5, 2.0)
TABS = {  # and what is to be in reach there
    "studio": ("#generate", "#compare"),
    "gallery": (),
    "dataset": ("#data-start",),
    "training": ("#train-start",),
    "evaluation": ("#eval-start",),
    "diagnosis": ("#diag-start",),
    "settings": (),
}
FAULTS = Path(__file__).with_name("geometry.js").read_text(encoding="utf-8")


def faults(page: Page, tab: str, width: int, height: int) -> list[str]:
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate("scrollTo(0, 0)")
    found: list[str] = page.evaluate(FAULTS, list(TABS[tab]))
    return [f"{tab} {width}x{height}: {fault}" for fault in found]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_tab_fits_every_screen(studio: Any, theme: str) -> None:
    """Zoom is a smaller window to a page. The theme changes no place, so dark is walked without zoom."""
    page = studio.page
    page.evaluate(f"document.body.classList.toggle('dark', {'true' if theme == 'dark' else 'false'})")
    found: list[str] = []
    for tab in TABS:
        page.set_viewport_size({"width": 1366, "height": 768})
        page.locator(f"#{tab}-view-button").click()
        page.locator(f"#{tab}-view").wait_for()
        for width, height in SCREENS:
            for zoom in ZOOMS if theme == "light" else ZOOMS[:1]:
                found += faults(page, tab, round(width / zoom), round(height / zoom))
                studio.screenshot(f"{tab}-{width}-{zoom:g}-{theme}")
    assert found == []
