"""What an image file says of its making, in the form of today and in those of version 0.1."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from detdiffusion.attributes import Strategy
from detdiffusion.errors import LayoutError
from detdiffusion.image_record import PNG_KEY, ImageRecord, has_record, image_fault, read_image, save_image
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.sampling_config import DEFAULT_GUIDANCE, MAX_SEED, SamplingConfig

LAYOUT = Layout(64, 64, (Box("car", (0.1, 0.1, 0.5, 0.5)),))
IMAGE = Image.new("RGB", (8, 8))


def read_png(path: Path) -> tuple[Layout, dict[str, Any]]:
    """The layout, and all else as it is named in the file."""
    with Image.open(path) as image:
        record = json.loads(image.info["detdiffusion"])
    return Layout.from_json(record.pop("layout")), record


def write_png(path: Path, text: str | None) -> None:
    """An image of eight by eight pixels, with this text where the record stands."""
    info = PngImagePlugin.PngInfo()
    if text is not None:
        info.add_text("detdiffusion", text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    how = SamplingConfig(MAX_SEED, 7, 5.5, -1.25, "ddim")
    made_by = ("tiny", "ab12", "guard", "bfloat16", "cpu")
    for record in (ImageRecord(LAYOUT, how, Strategy.HARD, *made_by, batch=16), ImageRecord(LAYOUT, SamplingConfig(0))):
        save_image(tmp_path / "a.png", IMAGE, record)
        assert read_image(tmp_path / "a.png") == record


@pytest.mark.parametrize(
    ("values", "sampling"),
    [
        ({"seed": 7, "steps": 4, "guidance": 2.5, "difficulty": 0.5, "sampler": "euler"}, (7, 4, 2.5, 0.5, "euler")),
        ({"seed": 2**47, "steps": 4, "guidance_scale": 5, "difficulty": 0}, (2**47, 4, 5.0, 0.0, "")),
        ({"seed": 7}, (7, 20, 3.0, 0.0, "")),
    ],
)
def test_files_of_version_0_1(tmp_path: Path, values: dict[str, Any], sampling: tuple[Any, ...]) -> None:
    old = {**values, "strategy": "easy", "model": "papercut", "layout": LAYOUT.to_json()}
    write_png(tmp_path / "a.png", json.dumps(old))
    record = read_image(tmp_path / "a.png")
    assert record == ImageRecord(LAYOUT, SamplingConfig(*sampling), Strategy.EASY, "papercut")


@pytest.mark.parametrize(
    ("values", "fault"),
    [({}, "no seed"), ({"seed": -1}, "seed -1"), ({"seed": 1, "steps": "many"}, "many"), ({"seed": None}, "int")],
)
def test_settings_that_nobody_can_use(tmp_path: Path, values: dict[str, Any], fault: str) -> None:
    """The layout is still worth having."""
    write_png(tmp_path / "a.png", json.dumps({**values, "layout": LAYOUT.to_json()}))
    record = read_image(tmp_path / "a.png")
    assert (record.layout, record.sampling) == (LAYOUT, None)
    assert fault in record.fault


def test_picture_carries_its_layout(tmp_path: Path) -> None:
    layout = Layout(64, 64, (Box("véhicule", (0.1, 0.1, 0.5, 0.5), Attribute.HARD),))
    save_image(tmp_path / "a.png", IMAGE, ImageRecord(layout, SamplingConfig(7), model="papercut"))
    found, record = read_png(tmp_path / "a.png")
    assert found == layout
    how = {"seed": 7, "steps": 20, "guidance_scale": DEFAULT_GUIDANCE, "strategy": "origin", "model": "papercut"}
    assert len(record.pop("pixels")) == 64
    assert record == {**how, "generated": True, "software": "DetDiffusion"}
    with Image.open(tmp_path / "a.png") as image:
        assert "generated" in image.info["Description"]
        assert "papercut" in image.info["Comment"]


def test_other_pixels_are_refused(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", IMAGE, ImageRecord(LAYOUT, SamplingConfig(7)))
    assert image_fault(tmp_path / "a.png") == ""
    with Image.open(tmp_path / "a.png") as image:
        kept = PngImagePlugin.PngInfo()
        kept.add_text(PNG_KEY, image.info[PNG_KEY])
        image.putpixel((0, 0), (1, 2, 3))
        image.save(tmp_path / "b.png", pnginfo=kept)
    said = "b.png is damaged, or was edited: it shows something else than was saved"
    assert image_fault(tmp_path / "b.png") == said
    with pytest.raises(LayoutError, match=said):
        read_image(tmp_path / "b.png")
    IMAGE.save(tmp_path / "c.png")
    assert image_fault(tmp_path / "c.png") == "", "nobody knows what it was"
    assert "cannot be read" in image_fault(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "carries no layout"),
        ("{", "this is not JSON"),
        ("{}", "width is missing"),
        ('{"layout": 3}', "a layout needs to be a JSON object, got int"),
        (json.dumps({"layout": {**LAYOUT.to_json(), "objects": []}}), "no objects"),
    ],
)
def test_picture_without_a_layout_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    write_png(tmp_path / "b.png", text)
    with pytest.raises(LayoutError, match=message):
        read_image(tmp_path / "b.png")
    assert has_record(tmp_path / "b.png") == (text is not None)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    for name in ("c.png", "missing.png"):
        with pytest.raises(LayoutError, match="cannot be read as an image"):
            read_image(tmp_path / name)


def test_picture_bomb_is_not_opened(tmp_path: Path) -> None:
    Image.new("1", (5001, 5001)).save(tmp_path / "bomb.png")
    with pytest.raises(LayoutError, match="25,000,000"):
        read_image(tmp_path / "bomb.png")
