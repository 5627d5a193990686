"""The page in a user's words, for the tests of this folder."""

import json
import os
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect


class Studio:
    """A person at the studio."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.canvas = page.locator("svg[tabindex]")
        self.seed = page.locator("#seed input")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        self.page.keyboard.type(text)

    def at(self, x: float, y: float) -> tuple[float, float]:
        frame = self.canvas.bounding_box()
        assert frame is not None
        return frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]

    def drag(self, x1: float, y1: float, x2: float, y2: float) -> None:
        self.page.mouse.move(*self.at(x1, y1))
        self.page.mouse.down()
        self.page.mouse.move(*self.at((x1 + x2) / 2, (y1 + y2) / 2))
        self.page.mouse.move(*self.at(x2, y2))
        self.page.mouse.up()

    def draw(self, label: str, x1: float, y1: float, x2: float, y2: float) -> None:
        self.drag(x1, y1, x2, y2)
        self.type(label)
        self.press("Enter")

    def clear(self) -> None:
        self.canvas.focus()
        for _ in self.layout()["objects"]:
            self.press("]", "Delete")
        expect(self.page.locator(".editor .empty")).to_be_visible()

    def layout(self) -> dict[str, Any]:
        with self.page.expect_download() as download:
            self.page.locator("[data-action=save]").click()
        layout: dict[str, Any] = json.loads(Path(download.value.path()).read_text())
        return layout

    def finished(self) -> None:
        """Waits until nothing is being generated."""
        expect(self.page.locator("#cancel")).to_be_hidden()
        expect(self.page.locator("#generate")).to_be_enabled()
        expect(self.page.locator(".picture.busy")).to_have_count(0)

    def generate(self) -> Path:
        """Generates by key, looking for a preview on the way; the picture file."""
        self.press("Control+Enter")
        expect(self.page.locator("#picture .picture.busy img")).to_be_visible()
        self.finished()
        return self.saved("#picture")

    def saved(self, place: str) -> Path:
        with self.page.expect_download() as download:
            self.page.locator(f"{place} a.download").click()
        target = Path(download.value.path()).with_suffix(".png")
        target.write_bytes(Path(download.value.path()).read_bytes())
        return target

    def open(self, name: str, content: bytes) -> None:
        with self.page.expect_file_chooser() as chooser:
            self.page.locator("#open-file").click()
        chooser.value.set_files({"name": name, "mimeType": "application/octet-stream", "buffer": content})

    def drop(self, name: str, content: bytes) -> None:
        """Drops a file on the canvas."""
        self.page.locator(".editor .canvas").evaluate(
            """(canvas, [name, bytes]) => {
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
                canvas.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
            }""",
            [name, list(content)],
        )

    def message(self, text: str) -> None:
        """A message with this text appears; it is closed again."""
        toast = self.page.get_by_test_id("toast-body").filter(has_text=re.compile(text, re.IGNORECASE))
        expect(toast).to_be_visible()
        toast.get_by_test_id("toast-close").click()
        expect(toast).to_have_count(0)

    def screenshot(self, name: str) -> None:
        if folder := os.environ.get("DETDIFFUSION_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png")
