"""What an image file says of its making, in the form of today and in those of version 0.1."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detdiffusion.attributes import Strategy
from detdiffusion.image_record import ImageRecord, read_image, save_image
from detdiffusion.layout import Box, Layout, save_png
from detdiffusion.sampling_config import MAX_SEED, SamplingConfig

LAYOUT = Layout(64, 64, (Box("car", (0.1, 0.1, 0.5, 0.5)),))
IMAGE = Image.new("RGB", (8, 8))


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
    save_png(tmp_path / "a.png", IMAGE, LAYOUT, {**values, "strategy": "easy", "model": "papercut"})
    record = read_image(tmp_path / "a.png")
    assert record == ImageRecord(LAYOUT, SamplingConfig(*sampling), Strategy.EASY, "papercut")


@pytest.mark.parametrize(
    ("values", "fault"),
    [({}, "no seed"), ({"seed": -1}, "seed -1"), ({"seed": 1, "steps": "many"}, "many"), ({"seed": None}, "int")],
)
def test_settings_that_nobody_can_use(tmp_path: Path, values: dict[str, Any], fault: str) -> None:
    """The layout is still worth having."""
    save_png(tmp_path / "a.png", IMAGE, LAYOUT, values)
    record = read_image(tmp_path / "a.png")
    assert (record.layout, record.sampling) == (LAYOUT, None)
    assert fault in record.fault
