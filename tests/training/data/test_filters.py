"""Which pictures and objects make a layout, and the `layouts` verb on files made here and on real ones."""

import argparse
import json
import os
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from detdiffusion.errors import ConfigError, DataError
from detdiffusion.layout import MAX_OBJECTS, Layout
from training.data.checks import Reason
from training.data.filters import (
    EVERYTHING,
    NO_FILTER,
    LayoutFilter,
    add_arguments,
    add_filter_arguments,
    filter_of,
    filter_words,
    run,
    write_layouts,
)
from training.data.index import Entry

REAL = os.environ.get("DETDIFFUSION_REAL_DATA")
SMALL = "box of 0.02 of the picture or less"


def entries(*sides: float, label: str = "cat", crowd: bool = False) -> list[Entry]:
    """Boxes of these widths and half the picture's height."""
    return [Entry(label, (0.0, 0.0, side, 0.5), crowd) for side in sides]


@pytest.mark.parametrize(
    ("layout_filter", "objects", "kept", "why", "gone"),
    [
        (LayoutFilter(), entries(0.5, 0.6, 0.7), 3, None, {}),
        (LayoutFilter(), entries(0.5, 0.6), 0, "fewer than 3 objects left", {Reason.IN_DROPPED: 2}),
        (LayoutFilter(), entries(*[0.5] * 8), 8, None, {}),
        (LayoutFilter(), entries(*[0.5] * 9), 0, "more than 8 objects left", {Reason.IN_DROPPED: 9}),
        (LayoutFilter(), entries(0.5, 0.6, 0.7, 0.04, 0.03), 3, None, {SMALL: 2}),  # exactly 2 % goes, too
        (LayoutFilter(), entries(0.5, 0.6, 0.04001), 3, None, {}),
        (
            LayoutFilter(),
            [*entries(0.5, 0.5, 0.5), *entries(0.5, crowd=True), *entries(0.5, label="other")],
            3,
            None,
            {"crowd": 1, "class other is ignored": 1},
        ),
        (
            LayoutFilter(crowds=True, ignored=()),
            [*entries(0.5, 0.5, crowd=True), *entries(0.5, label="other")],
            3,
            None,
            {},
        ),
        (LayoutFilter(min_objects=1), [], 0, "fewer than 1 object left", {}),
        (LayoutFilter(), entries(0.01, crowd=True), 0, "fewer than 3 objects left", {"crowd": 1}),
        (NO_FILTER, entries(1e-6, crowd=True, label="other"), 1, None, {}),
        (NO_FILTER, entries(*[0.5] * MAX_OBJECTS), MAX_OBJECTS, None, {}),
        (NO_FILTER, entries(*[0.5] * 101), 0, "more than 100 objects left", {Reason.IN_DROPPED: 101}),
        (NO_FILTER, [], 0, "fewer than 1 object left", {}),
    ],
)
def test_what_stays(
    layout_filter: LayoutFilter, objects: list[Entry], kept: int, why: str | None, gone: dict[str, int]
) -> None:
    selection = layout_filter.select(objects)
    assert (len(selection.kept), selection.dropped, dict(selection.dropped_objects)) == (kept, why, gone)
    assert len(selection.kept) + sum(selection.dropped_objects.values()) == len(objects)


def test_the_order_stays() -> None:
    objects = [*entries(0.9), *entries(0.01), *entries(0.3), *entries(0.6)]
    assert LayoutFilter().select(objects).kept == (objects[0], objects[2], objects[3])


@pytest.mark.parametrize(
    "bounds",
    [
        {"min_area": -0.1},
        {"min_area": 1.0},
        {"min_area": float("nan")},
        {"min_objects": -1},
        {"min_objects": 0, "max_objects": 0},
        {"min_objects": 9},
        {"max_objects": 101},
    ],
)
def test_bounds_are_checked(bounds: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bounds))):
        LayoutFilter(**bounds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("objects", "lost", "dropped"),
    [
        ([], 0, None),
        ([], 1, Reason.ALL_LOST),
        (entries(0.5, crowd=True), 0, Reason.ALL_LOST),
        (entries(0.5), 3, None),
    ],
)
def test_what_lost_its_objects_is_no_picture_of_nothing(objects: list[Entry], lost: int, dropped: str | None) -> None:
    assert replace(EVERYTHING, crowds=False).select(objects, lost).dropped == dropped


def test_nothing_can_be_drawn_of_pictures_of_nothing() -> None:
    parser = argparse.ArgumentParser()
    add_filter_arguments(parser, NO_FILTER)
    asked = parser.parse_args(["--min-objects", "0"])
    with pytest.raises(ConfigError, match="no layout can be made"):
        filter_of(asked)
    assert filter_of(asked, negatives=True) == EVERYTHING


# --- the verb -------------------------------------------------------------------------------------


def layouts(*words: object) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([str(word) for word in words]))


def write(path: Path, kind: str, boxes: dict[object, int]) -> Path:
    """COCO file with that many boxes a picture, all of class `kind`; 100 x 50 pixels."""
    images = [{"id": number, "file_name": f"{number}.jpg", "width": 100, "height": 50} for number in boxes]
    owners = [number for number, count in boxes.items() for _ in range(count)]
    objects = [
        {"id": i, "image_id": owner, "category_id": 1, "bbox": [i % 10, 5, 50, 20]} for i, owner in enumerate(owners)
    ]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": kind}]}
    path.write_text(json.dumps(content))
    return path


def test_rows_are_layouts_in_the_public_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instances = write(tmp_path / "i.json", "cat", {7: 2, "a": 3, 9: 1})
    stuff = write(tmp_path / "s.json", "sky", {7: 1, 9: 1})
    out = tmp_path / "new" / "layouts.jsonl"
    assert layouts("--instances", instances, "--stuff", stuff, "--out", out, "--filter", "protocol") == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row.pop("image_id") for row in rows] == [7, "a"]
    found = [Layout.from_json(row) for row in rows]
    assert [layout.labels for layout in found] == [("cat", "cat", "sky"), ("cat", "cat", "cat")]
    assert rows[0]["objects"][0] == {"label": "cat", "box": [0.0, 0.1, 0.5, 0.5]}
    assert capsys.readouterr().out.splitlines() == [
        "pictures: 3 found, 2 kept, 1 dropped",
        "  1 dropped: fewer than 3 objects left",
        "    9.jpg",
        "objects: 8 found, 6 kept, 2 dropped",
        "  2 dropped: in a picture that was dropped",
        str(out),
    ]
    assert [path.name for path in out.parent.iterdir()] == ["layouts.jsonl"]


@pytest.mark.parametrize(
    ("options", "pictures"),
    [
        ((), 2),
        (("--filter", "none"), 2),
        (("--filter", "protocol"), 1),
        (("--min-objects", 1, "--filter", "protocol"), 2),
        (("--max-objects", 2), 1),
        (("--max-objects", 2, "--min-objects", 2), 1),
        (("--ignore", "dog", "--min-objects", 2), 2),
        (("--ignore", "--min-area", 0.2), None),
        (("--ignore", "cat"), None),
    ],
)
def test_bounds_are_options(options: tuple[object, ...], pictures: int | None, tmp_path: Path) -> None:
    instances, out = write(tmp_path / "i.json", "cat", {1: 3, 2: 2}), tmp_path / "layouts.jsonl"
    if pictures is None:
        with pytest.raises(DataError, match=r"no layout is left of .*i\.json: widen the bounds"):
            layouts("--instances", instances, "--out", out, *options)
        assert not out.exists()
    else:
        assert layouts("--instances", instances, "--out", out, *options) == 0
        assert len(out.read_text().splitlines()) == pictures


def test_bad_words_are_refused(tmp_path: Path) -> None:
    instances = write(tmp_path / "i.json", "cat", {1: 3})
    with pytest.raises(ConfigError, match="is a folder; --out names the file"):
        write_layouts(instances, None, tmp_path, LayoutFilter())
    with pytest.raises(SystemExit):
        layouts("--instances", instances, "--out", tmp_path / "o", "--filter", "odd")
    with pytest.raises(ConfigError, match="min_objects 9"):
        layouts("--instances", instances, "--out", tmp_path / "o", "--min-objects", 9, "--max-objects", 8)
    with pytest.raises(DataError, match=r"absent\.json: no such file"):
        layouts("--instances", tmp_path / "absent.json", "--out", tmp_path / "o")


@pytest.mark.skipif(REAL is None, reason="DETDIFFUSION_REAL_DATA names no folder of real data")
def test_real_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts known from elsewhere, and every row counted again from the files, as plainly as it can be."""
    folder = Path(str(REAL)) / "coco_thing_stuff_100" / "annotations"
    files = [folder / f"{kind}_train2017.json" for kind in ("instances", "stuff")]
    out = tmp_path / "layouts.jsonl"
    words = ["--instances", files[0], "--stuff", files[1], "--out", out, "--filter", "protocol"]
    assert layouts(*words) == 0
    said = capsys.readouterr().out
    assert "pictures: 100 found, 56 kept, 44 dropped" in said
    assert "objects: 1,333 found, 308 kept, 1,025 dropped" in said

    expected: dict[int, Counter[str]] = {}
    for content in (json.loads(path.read_text()) for path in files):
        names = {category["id"]: category["name"] for category in content["categories"]}
        sizes = {image["id"]: image["width"] * image["height"] for image in content["images"]}
        for row in content["annotations"]:
            large = row["bbox"][2] * row["bbox"][3] > 0.02 * sizes[row["image_id"]]
            if large and not row["iscrowd"] and names[row["category_id"]] != "other":
                expected.setdefault(row["image_id"], Counter())[names[row["category_id"]]] += 1
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    found = {row["image_id"]: Counter(thing["label"] for thing in row["objects"]) for row in rows}
    assert found == {image: counts for image, counts in expected.items() if 3 <= counts.total() <= 8}
    assert (len(found), sum(counts.total() for counts in found.values())) == (56, 308)


@pytest.mark.parametrize(
    "bounds", [NO_FILTER, LayoutFilter(), LayoutFilter(0.05, 2, 9, crowds=True, ignored=("other", "sky other"))]
)
def test_a_filter_can_be_typed_again(bounds: LayoutFilter) -> None:
    for defaults in (NO_FILTER, LayoutFilter()):
        parser = argparse.ArgumentParser()
        add_filter_arguments(parser, defaults)
        assert filter_of(parser.parse_args(shlex.split(" ".join(filter_words(bounds))))) == bounds
