"""The `layouts` verb on files made here and on real ones."""

import argparse
import csv
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from detdiffusion.errors import ConfigError, DataError
from detdiffusion.layout import Layout
from training.data.layouts import add_arguments, run
from training.data.papercut.coco_export import write_dataset

REAL = os.environ.get("DETDIFFUSION_REAL_DATA")
pytestmark = pytest.mark.usefixtures("at_home")


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
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(out)]
    *_, head, pictures, why, which, objects, gone, listed, _, _, count = said.err.splitlines()
    assert [head.partition(": ")[2], pictures, why, which, objects, gone, count] == [
        "COCO by i.json and s.json, without the images",
        "images: 3 found, 2 kept, 1 dropped",
        "  1 dropped: fewer than 3 objects left",
        "    9.jpg",
        "objects: 8 found, 6 kept, 2 dropped",
        "  2 dropped: in an image that was dropped",
        "2 layouts",
    ]
    with open(listed.removeprefix("all that was dropped: "), encoding="utf-8") as file:  # noqa: PTH123
        assert [row["file"] for row in csv.DictReader(file)] == ["9.jpg", "9.jpg"]
    assert [path.name for path in out.parent.iterdir()] == ["layouts.jsonl"]


def test_a_data_set_is_read_as_by_every_verb(tmp_path: Path) -> None:
    """Its images are looked at: one that cannot be read is dropped; and data in one piece are split."""
    write_dataset(tmp_path / "data", range(4), size=64)
    broken = sorted((tmp_path / "data" / "images").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:100])
    ids = {}
    for name, words in {
        "all": (),
        "train": ("--split-by", "0.5"),
        "val": ("--split-by", "0.5", "--split", "val"),
    }.items():
        assert layouts("--data", tmp_path / "data", "--out", tmp_path / name, *words) == 0
        ids[name] = {json.loads(line)["image_id"] for line in (tmp_path / name).read_text().splitlines()}
    assert ids["all"] == {1, 2, 3} == ids["train"] | ids["val"] and not ids["train"] & ids["val"]
    with pytest.raises(DataError, match="--strict was given"):
        layouts("--data", tmp_path / "data", "--out", tmp_path / "strict", "--strict")
    assert not (tmp_path / "strict").exists()


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
        with pytest.raises(DataError, match=r"i\.json: no image is left"):
            layouts("--instances", instances, "--out", out, *options)
        assert not out.exists()
    else:
        assert layouts("--instances", instances, "--out", out, *options) == 0
        assert len(out.read_text().splitlines()) == pictures


def test_bad_words_are_refused(tmp_path: Path) -> None:
    instances = write(tmp_path / "i.json", "cat", {1: 3})
    for words in (("--filter", "odd"), ("--data", tmp_path), ("--out", tmp_path)):
        with pytest.raises(SystemExit):
            layouts("--instances", instances, "--out", tmp_path / "o", *words)
    with pytest.raises(ConfigError, match="--split val goes with --data"):
        layouts("--instances", instances, "--out", tmp_path / "o", "--split", "val")
    with pytest.raises(ConfigError, match="--stuff goes with --instances"):
        layouts("--data", tmp_path, "--out", tmp_path / "o", "--stuff", instances)
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
    said = capsys.readouterr().err
    assert "images: 100 found, 56 kept, 44 dropped" in said
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
