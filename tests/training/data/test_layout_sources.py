"""Layouts of an evaluation: what may be asked for, and what comes of it."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detdiffusion.errors import ConfigError, DataError
from detdiffusion.layout import Attribute, Box, Layout
from training.data.filters import NO_FILTER, LayoutFilter
from training.data.layout_sources import FileLayouts, PapercutLayouts, layout_spec, open_source
from training.data.papercut.coco_export import write_dataset
from training.data.papercut.scene import scene
from training.data.request import Reading, SplitBy

SIZE = (48, 64)  # height, width


@pytest.mark.parametrize("text", ["papercut:200@900000", "papercut:1@0", "some/folder", "layouts.jsonl"])
def test_specs(text: str) -> None:
    assert layout_spec(text) == text


@pytest.mark.parametrize(
    "text", ["", "papercut", "papercut:0@1", "papercut:5", "papercut:5@-1", "papercut:5@x", "papercut:99999999@1"]
)
def test_bad_specs(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="papercut:COUNT@FIRST_SEED"):
        layout_spec(text)


def test_papercut() -> None:
    source = open_source("papercut:3@900000", NO_FILTER)
    assert (source.kind, source.spec, source.pictured, source.bounds) == ("papercut", "papercut:3@900000", True, None)
    assert [source.seed(place) for place in range(len(source))] == [900_000, 900_001, 900_002]
    image, layout = source.sample(1, SIZE)
    assert image is not None and image.size == (64, 48) == (layout.width, layout.height)
    assert layout.boxes == scene(900_001, size=64).layout.boxes
    square, _ = source.sample(1, (64, 64))
    assert square is not None and np.array_equal(np.asarray(square), np.asarray(scene(900_001, size=64).image))


def test_papercut_masks_lie_in_their_boxes() -> None:
    source = PapercutLayouts(1, 900_000)
    assert np.array_equal(source.masks(0, (64, 64)), scene(900_000, size=64).masks)
    masks, (_, layout) = source.masks(0, SIZE), source.sample(0, SIZE)
    assert masks.shape == (len(layout.boxes), *SIZE)
    for mask, box in zip(masks, layout.boxes, strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):
            x1, _, x2, y2 = box.xyxy
            assert columns.min() >= x1 * 64 - 1 and columns.max() <= x2 * 64 and rows.max() <= y2 * 48


def test_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_dataset(tmp_path / "world", range(900_000, 900_004), size=64, workers=1)
    everything = open_source(str(tmp_path / "world"), NO_FILTER)
    assert (everything.kind, everything.spec, len(everything)) == ("coco", "world", 4)
    assert everything.bounds == NO_FILTER
    image, layout = everything.sample(0, SIZE)
    assert image is not None and image.size == (64, 48) == (layout.width, layout.height)
    assert [everything.seed(place) for place in range(4)] == [0, 1, 2, 3]
    few = open_source(str(tmp_path / "world"), LayoutFilter(min_objects=1, max_objects=100, min_area=0.2))
    assert few.fingerprint != everything.fingerprint
    assert len(few.sample(0, SIZE)[1].boxes) < len(everything.sample(0, SIZE)[1].boxes)
    with pytest.raises(DataError, match="no split 'absent' here"):
        open_source(str(tmp_path / "world"), NO_FILTER, "absent")


def test_folder_with_attributes(papercut: Any, at_home: None) -> None:
    """Those of annotate's file, with the detector that it names; another file is other layouts."""
    data, attributes = str(papercut.data), papercut.attributes
    bare, given = open_source(data, NO_FILTER), open_source(data, NO_FILTER, attributes=attributes)
    assert (bare.labelled, bare.attributes_by, given.labelled) == (False, None, True)
    assert given.attributes_by == {"name": "nobody", "sha256": "0" * 64}
    assert given.fingerprint != bare.fingerprint
    rows = [json.loads(line) for line in attributes.read_text().splitlines()[1:]]
    for place, row in enumerate(rows):
        assert [box.attribute for box in given.sample(place, SIZE)[1].boxes] == row["attributes"]
        assert {box.attribute for box in bare.sample(place, SIZE)[1].boxes} == {None}
    with pytest.raises(ConfigError, match="is not the folder of one"):
        open_source("papercut:3@900000", NO_FILTER, attributes=attributes)
    with pytest.raises(ConfigError, match=r"--split val --split-by 0\.8 belongs to a data set"):
        open_source("papercut:3@900000", NO_FILTER, "val", reading=Reading(split_by=SplitBy(0.8)))
    with pytest.raises(DataError, match="no such file"):
        open_source(data, NO_FILTER, attributes=attributes.with_name("absent.jsonl"))


def test_a_folder_in_one_piece_is_split_as_everywhere(papercut: Any, at_home: None) -> None:
    reading = Reading(split_by=SplitBy(0.7))
    parts = [open_source(str(papercut.data), NO_FILTER, split, reading=reading) for split in ("train", "val")]
    whole = open_source(str(papercut.data), NO_FILTER)
    assert sum(map(len, parts)) == len(whole) and min(map(len, parts)) > 0
    assert len({source.fingerprint for source in (*parts, whole)}) == 3


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "layouts.jsonl"
    car = {"label": "car", "box": [0.1, 0.1, 0.5, 0.5], "attribute": "hard"}
    rows = [{"image_id": 7, "width": 640, "height": 480, "objects": [car]}, {"width": 8, "height": 8, "objects": [car]}]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    source = open_source(str(path), NO_FILTER)
    assert (source.kind, source.spec, source.pictured, len(source)) == ("file", "layouts.jsonl", False, 2)
    image, layout = source.sample(0, SIZE)
    assert image is None and (layout.width, layout.height) == (64, 48)
    assert layout.boxes[0].attribute is Attribute.HARD
    before = source.fingerprint
    path.write_text(json.dumps(rows[0]))
    assert FileLayouts.read(path).fingerprint != before


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("absent.jsonl", None, "no such layouts; give papercut:COUNT@FIRST_SEED, a data set's folder, or a .jsonl"),
        ("layouts.txt", "{}", "no such layouts"),
        ("empty.jsonl", "\n", "holds no layout"),
        ("torn.jsonl", '{"width": 8, "height": 8, "objects": [{"label": "car"', "line 1: this is not JSON"),
        ("bare.jsonl", '{"width": 8, "height": 8, "objects": []}', "line 1: the layout has no objects"),
        ("list.jsonl", "[]", "line 1: a layout needs to be a JSON object"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=reason):
        open_source(str(tmp_path / name), NO_FILTER)


def test_rows_of_a_file_stay_in_the_file(tmp_path: Path) -> None:
    """Blank lines, letters of several bytes and a last line without an end; each row is the one that was written."""
    path = tmp_path / "layouts.jsonl"
    names = ["Straße", "car", "кот"]
    rows = [Layout(64, 48, (Box(name, (0.1, 0.1, 0.5, 0.6)),)) for name in names]
    lines = [json.dumps(row.to_json(), ensure_ascii=False) for row in rows]
    path.write_text(f"\n{lines[0]}\n\n{lines[1]}\n{lines[2]}", encoding="utf-8")
    source = FileLayouts.read(path)
    assert len(source) == 3 and source.labels() == set(names)
    assert [source.layout(place, (48, 64)) for place in (2, 0, 1)] == [rows[2], rows[0], rows[1]]
    path.write_bytes(b'{"width": 64}\n\xff')
    with pytest.raises(DataError, match="line 1: height is missing"):
        FileLayouts.read(path)
