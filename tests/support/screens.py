"""A tab on every screen, by geometry: nothing lies outside, is cut or lies over another thing, and the button that
starts something is in reach."""

from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Page

LAPTOP = (1366, 768)
SCREENS = ((390, 844), (768, 1024), (1024, 768), (1100, 800), (1280, 720), LAPTOP, (1920, 1080), (2560, 1440))
ZOOMS = (1.0, 1.5, 2.0)  # zoom is a smaller window to a page
IN_REACH = {
    "studio": ("#generate", "#compare"),
    "gallery": (),
    "dataset": ("#data-start",),
    "training": ("#train-start",),
    "evaluation": ("#eval-start",),
    "diagnosis": ("#diag-start",),
    "settings": (),
}
_FAULTS = Path(__file__).with_name("geometry.js").read_text(encoding="utf-8")


def misfits(page: Page, tab: str, zooms: Sequence[float] = ZOOMS) -> list[str]:
    """What is wrong with the open tab, as it stands, on any screen; the screen is a laptop's again then."""
    found: list[str] = []
    windows = {(round(width / zoom), round(height / zoom)) for width, height in SCREENS for zoom in zooms}
    for across, down in sorted(windows):
        page.set_viewport_size({"width": across, "height": down})
        page.evaluate("scrollTo(0, 0)")
        found += [f"{tab} {across}x{down}: {fault}" for fault in page.evaluate(_FAULTS, list(IN_REACH[tab]))]
    page.set_viewport_size({"width": LAPTOP[0], "height": LAPTOP[1]})
    return found
