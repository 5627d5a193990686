"""After a kill at any instant, images and rows agree: whole images are taken up, cut ones removed, both said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from app.store.entries import Entry
from app.store.history import History
from app.store.recovery import recover
from detdiffusion.attributes import Strategy
from detdiffusion.image_record import PNG_KEY, ImageRecord, save_image
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig


@pytest.fixture
def history(tmp_path: Path) -> History:
    (tmp_path / "pictures").mkdir()
    return History(tmp_path)


@pytest.fixture
def record(street: dict[str, Any]) -> ImageRecord:
    return ImageRecord(Layout.from_json(street), SamplingConfig(7), Strategy.HARD, "papercut", "a" * 64, "watcher")


def entry_of(record: ImageRecord, file: str) -> Entry:
    assert record.sampling is not None
    made_by = (record.model, record.model_sha256, record.sampling, record.strategy, record.detector, 0.5)
    return Entry("run", 0, file, 100.0, *made_by, record.layout, (0.9, 0.2, None))


def draw(path: Path, record: ImageRecord) -> bytes:
    save_image(path, Image.effect_noise((64, 64), 90).convert("RGB"), record)
    return path.read_bytes()


def test_images_without_a_row(history: History, record: ImageRecord, caplog: pytest.LogCaptureFixture) -> None:
    content = draw(history.pictures / "1-seed7-whole.png", record)
    for cut in (0, 8, len(content) // 2, len(content) - 20):
        (history.pictures / f"2-seed7-cut{cut}.png").write_bytes(content[:cut])
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    (history.pictures / "3-seed7-flipped.png").write_bytes(flipped)
    Image.new("RGB", (8, 8)).save(history.pictures / "holiday.png")
    (history.pictures / "torn.png").write_bytes(b"\x89PNG")
    kept = PngImagePlugin.PngInfo()
    with Image.open(history.pictures / "1-seed7-whole.png") as image:
        kept.add_text(PNG_KEY, image.info[PNG_KEY])
        image.rotate(90).save(history.pictures / "0-seed7-edited.png", pnginfo=kept)
    recover(history)
    (found,) = history.find()
    assert (found.file, found.layout, found.sampling) == ("1-seed7-whole.png", record.layout, record.sampling)
    assert (found.strategy, found.confidences) == (Strategy.HARD, (None, None, None))
    assert {path.name for path in history.pictures.iterdir()} == {
        found.file,
        "holiday.png",
        "torn.png",
        "0-seed7-edited.png",
    }
    assert caplog.text.count("shows something else than was saved; it has no row in the history, and stays") == 1
    assert caplog.text.count("is removed") == 5 and caplog.text.count("has one now") == 1
    recover(history)
    assert len(history.find()) == 1


def test_what_was_moved_by_half(history: History, record: ImageRecord) -> None:
    for name in ("live.png", "thrown.png"):
        draw(history.pictures / name, record)
        history.record([entry_of(record, name)])
    history.delete([entry.id for entry in history.find() if entry.file == "thrown.png"])
    (history.trash / "thrown.png").rename(history.pictures / "thrown.png")  # killed before the file moved
    (history.pictures / "live.png").rename(history.trash / "live.png")  # killed before the row changed
    recover(history)
    assert [entry.file for entry in history.find()] == ["live.png"]
    assert (history.trash / "thrown.png").is_file()
    history.undo()
    assert {entry.file for entry in history.find()} == {"live.png", "thrown.png"}


def test_a_history_that_cannot_be_used_is_left_alone(history: History, record: ImageRecord) -> None:
    content = draw(history.pictures / "1-seed7-a.png", record)
    history.path.write_bytes(b"no database" * 100)
    recover(history)
    assert (history.pictures / "1-seed7-a.png").read_bytes() == content


def test_an_image_that_nobody_can_tell_how_it_was_made(history: History, record: ImageRecord) -> None:
    draw(history.pictures / "1-seed7-a.png", replace(record, sampling=None))
    recover(history)
    assert history.find() == () and (history.pictures / "1-seed7-a.png").is_file()
