"""Nothing is left out without a name: what is printed, the list, --strict, and images that are cut short."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detdiffusion.errors import DataError
from training.data.checks import Reason
from training.data.datasets import Dataset, open_dataset
from training.data.filters import EVERYTHING, LayoutFilter
from training.data.images import ImageFault
from training.data.request import Reading

ROW = "0 0.5 0.5 0.5 0.5\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """YOLO: a is whole, b has four rows of an unknown class, c is cut short, d is of nothing, e lost all it had."""
    root = tmp_path / "data"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for stem, text in {
        "a": "0 0.5 0.5 0.8 0.8\n",
        "b": ROW + 4 * "7 0.5 0.5 0.2 0.2\n",
        "c": ROW,
        "d": "",
        "e": "9 1 1 1 1\n",
    }.items():
        Image.effect_noise((64, 48), 50).convert("RGB").save(root / "images" / f"{stem}.jpg")
        (root / "labels" / f"{stem}.txt").write_text(text)
    whole = (root / "images" / "c.jpg").read_bytes()
    (root / "images" / "c.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "data.yaml").write_text("names: [cat]\ntrain: images\n")
    return root


def opened(root: Path, layout_filter: LayoutFilter = EVERYTHING) -> Dataset:
    return open_dataset(root, filter=layout_filter, index=root.parent / "index.sqlite")


def listed(dataset: Dataset) -> list[list[str]]:
    assert dataset.dropped_list is not None
    with dataset.dropped_list.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_images_of_16_bits_stay_with_a_note(root: Path) -> None:
    Image.fromarray(np.full((48, 64), 40_000, np.uint16)).save(root / "images" / "a.png")
    (root / "images" / "a.jpg").unlink()
    dataset = opened(root)
    assert np.unique(dataset[0].load_image()).tolist() == [40_000 >> 8]
    assert any(line.startswith("note: 1 x image of 16 bits a channel") for line in dataset.describe())


def test_everything_is_listed(root: Path) -> None:
    dataset = opened(root)
    assert [sample.path.stem for sample in dataset] == ["a", "b", "d"]
    header, *rows = listed(dataset)
    assert header == ["file", "place", "reason", "value"]
    row = "7 0.5 0.5 0.2 0.2"
    assert rows[:5] == [
        *(["labels/b.txt", f"line {line}", Reason.UNKNOWN_CATEGORY, row] for line in range(2, 6)),
        ["labels/e.txt", "line 1", Reason.UNKNOWN_CATEGORY, "9 1 1 1 1"],
    ]
    assert [one[:3] for one in rows[5:]] == [
        ["images/c.jpg", "", ImageFault.UNREADABLE],
        ["images/c.jpg", "", Reason.IN_DROPPED],
        ["images/e.jpg", "", Reason.ALL_LOST],
    ]
    counted = dataset.report
    assert counted.dropped == len(rows) == 8


def test_the_first_three_of_a_kind_are_printed_and_where_all_are(root: Path) -> None:
    dataset = opened(root)
    lines = dataset.describe()
    at = lines.index("  5 dropped: unknown category")
    shown = [f"    labels/b.txt, line {line}: 7 0.5 0.5 0.2 0.2" for line in (2, 3, 4)]
    assert lines[at + 1 : at + 4] == shown and not lines[at + 4].startswith("    ")
    assert f"all that was dropped: {dataset.dropped_list}" in lines


def test_the_list_is_of_the_filter_and_of_today(root: Path) -> None:
    first = opened(root)
    small = opened(root, LayoutFilter(0.3, 1, 100, ignored=()))
    assert small.dropped_list != first.dropped_list
    assert ["images/b.jpg", "object 1", "box of 0.3 of the image or less", "cat"] in listed(small)
    (root / "labels" / "e.txt").write_text(ROW)
    assert "images/e.jpg" not in {row[0] for row in listed(opened(root))}


def test_nothing_dropped_needs_no_list(root: Path) -> None:
    for stem in "bce":
        (root / "images" / f"{stem}.jpg").unlink()
        (root / "labels" / f"{stem}.txt").unlink()
    dataset = opened(root)
    assert (len(dataset), dataset.dropped_list) == (2, None)


def test_strict_stops(root: Path) -> None:
    reading = Reading(strict=True)
    with pytest.raises(DataError, match=r"--strict was given; .*image cannot be read; images/c\.jpg"):
        open_dataset(root, filter=EVERYTHING, index=root.parent / "index.sqlite", reading=reading)
    for stem in "bce":
        (root / "images" / f"{stem}.jpg").unlink()
        (root / "labels" / f"{stem}.txt").unlink()
    assert len(open_dataset(root, filter=EVERYTHING, index=root.parent / "index.sqlite", reading=reading)) == 2


def test_an_image_that_is_replaced_is_looked_at_again(root: Path) -> None:
    assert len(opened(root)) == 3
    Image.new("RGB", (64, 48)).save(root / "images" / "c.jpg")  # in its place: the folder does not change
    assert [sample.path.stem for sample in opened(root)] == ["a", "b", "c", "d"]
    Image.new("RGB", (32, 24)).save(root / "images" / "a.jpg")
    assert (opened(root)[0].layout.width, opened(root)[0].load_image().width) == (32, 32)


def test_an_image_whose_header_is_broken_is_looked_at_again(root: Path) -> None:
    (root / "images" / "a.jpg").write_bytes(b"x")
    assert [sample.path.stem for sample in opened(root)] == ["b", "d"]
    Image.new("RGB", (64, 48)).save(root / "images" / "a.jpg")
    assert [sample.path.stem for sample in opened(root)] == ["a", "b", "d"]


def test_a_mask_that_cannot_be_decoded_is_counted(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    about = {"image_id": 1, "category_id": 1, "bbox": [8, 8, 16, 16]}
    good = [[8, 8, 24, 8, 24, 24]]
    shapes = (good, {"size": [48, 64], "counts": "!"}, {"size": [1, 1], "counts": [9]}, [[1, 2]], None, [])
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"id": i, **about, "segmentation": shape} for i, shape in enumerate(shapes)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    content["annotations"] = [{**row, "bbox": [8, 8, 16, 16 + i]} for i, row in enumerate(content["annotations"])]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    dataset = open_dataset(tmp_path, index=tmp_path / "index.sqlite")
    assert len(dataset[0].layout.boxes) == 6
    assert dataset.report.notes[Reason.BAD_MASK] == 3
