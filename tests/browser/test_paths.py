"""A person who chooses a folder, a file or a model in the dialog, by mouse and by keyboard, or types it."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.model]

ROOT = Path(__file__).resolve().parents[2]


class Dialog:
    """The dialog in a user's words."""

    def __init__(self, page: Any) -> None:
        self.page, self.place = page, page.locator("dialog.paths")

    def opens(self, title: str) -> None:
        expect(self.place).to_be_visible()
        expect(self.place.get_by_role("heading")).to_have_text(title)

    def enter(self, *names: str) -> None:
        for name in names:
            self.place.get_by_role("button", name=name, exact=True).click()
            expect(self.place.locator("header p")).to_contain_text(name)

    def closed(self) -> None:
        expect(self.place).to_be_hidden()


@pytest.mark.bundled
def test_a_folder_by_mouse_and_a_model_by_keyboard(studio: Any, violations: Any) -> None:
    page, dialog = studio.page, Dialog(studio.page)
    page.get_by_role("tab", name="Training").click()
    page.locator("#train-data").get_by_label("Folder").check()
    page.locator("#train-folder-browse").click()
    dialog.opens("Choose a folder of images and annotations")
    dialog.enter(str(ROOT), "assets", "models")
    assert violations(page) == []
    studio.screenshot("path-dialog")
    dialog.place.get_by_role("button", name="Up").click()
    expect(dialog.place.locator("header p")).to_have_text(str(ROOT / "assets"))
    dialog.place.get_by_role("button", name="Choose this folder").click()
    dialog.closed()
    expect(page.locator("#train-folder :is(input, textarea)")).to_have_value(str(ROOT / "assets"))
    expect(page.locator("#train-folder-browse")).to_be_focused()

    browse = page.locator("#train-base-browse")
    browse.focus()
    page.keyboard.press("Enter")
    dialog.opens("Choose a model folder")
    page.keyboard.press("Escape")
    dialog.closed()
    expect(browse).to_be_focused()
    expect(page.locator("#train-base input")).to_have_value("Preset default")
    page.keyboard.press("Enter")
    dialog.opens("Choose a model folder")
    root = dialog.place.get_by_role("button", name=str(ROOT), exact=True)
    if not root.evaluate("button => button === document.activeElement"):
        page.keyboard.press("ArrowDown")
    expect(root).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog.place.locator("header p")).to_have_text(str(ROOT))
    dialog.enter("assets", "models", "papercut")
    dialog.place.get_by_role("button", name="Choose this folder").focus()
    page.keyboard.press("Enter")
    dialog.closed()
    # The menu knows this path by its name, and what is in it.
    expect(page.locator("#train-base input")).to_have_value("papercut (boxes, attributes)")


def test_files_that_fit_and_lists_that_grow(studio: Any) -> None:
    page, dialog = studio.page, Dialog(studio.page)
    page.get_by_role("tab", name="Data sets").click()
    page.locator("#data-more > button").click()
    page.locator("#data-config-browse").click()
    dialog.opens("Choose a config file")
    dialog.enter(str(ROOT), "benchmarks", "loops")
    expect(dialog.place.get_by_role("button", name="Choose this folder")).to_have_count(0)
    file = dialog.place.locator("li button.file").first
    name = file.inner_text()
    assert name.endswith((".yaml", ".yml"))
    file.click()
    dialog.closed()
    expect(page.locator("#data-config :is(input, textarea)")).to_have_value(str(ROOT / "benchmarks/loops" / name))

    page.get_by_role("tab", name="Evaluation").click()
    for model in ("papercut-geodiffusion", "papercut-controlnet"):
        page.locator("#eval-baselines-browse").click()
        dialog.opens("Choose a model folder")
        dialog.enter(str(ROOT), "assets", "models", model)
        dialog.place.get_by_role("button", name="Choose this folder").click()
        dialog.closed()
        expect(page.locator("#eval-baselines")).to_contain_text(model)
    page.locator("#eval-detectors :is(input, textarea)").fill("bundled")
    page.locator("#eval-detectors-browse").click()
    dialog.opens("Choose a detector: its folder, or a .pt file")
    dialog.enter(str(ROOT), "assets", "models", "papercut", "detectors", "judge")
    dialog.place.get_by_role("button", name="Choose this folder").click()
    held_out = ROOT / "assets/models/papercut/detectors/judge"
    expect(page.locator("#eval-detectors :is(input, textarea)")).to_have_value(f"bundled, {held_out}")
