"""COCO files -> index: merged, checked and counted, with bounded memory; masks as pycocotools gives them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from copy import copy
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from form_files import HEIGHT, WIDTH, labels, opened
from PIL import ExifTags, Image
from pycocotools.coco import COCO

from detdiffusion.errors import DataError
from training.data.checks import Reason
from training.data.forms.coco import read_coco
from training.data.forms.coco_masks import unpack
from training.data.forms.recognise import find_source
from training.data.images import ImageFault
from training.data.index import Index, build_index, open_index

REAL = os.environ.get("DETDIFFUSION_REAL_DATA")
needs_real_data = pytest.mark.skipif(REAL is None, reason="DETDIFFUSION_REAL_DATA names no folder of real data")

CATEGORIES = ({"id": 1, "name": "cat"}, {"id": 2, "name": "dog"})
STUFF = ({"id": 90, "name": "sky"},)


def picture(number: object, **changes: object) -> dict[str, object]:
    return {"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT, **changes}


def thing(number: object, image: object = 1, **changes: object) -> dict[str, object]:
    box = {"id": number, "image_id": image, "category_id": 1, "bbox": [4, 4, 20, 10], "iscrowd": 0}
    return {**box, "segmentation": [[4, 4, 24, 4, 24, 14]], **changes}


def write(
    path: Path, pictures: Sequence[object], objects: Sequence[object], categories: Sequence[object] = CATEGORIES
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"annotations": objects, "images": pictures, "categories": categories}))
    return path


def index_of(folder: Path, instances: Path, stuff: Path | None = None, **options: Any) -> Index:
    build_index(folder / "index.sqlite", lambda writer: read_coco(writer, instances, stuff, **options))
    return Index(folder / "index.sqlite")


def counts(index: Index) -> dict[str, Mapping[str, int]]:
    tally = index.tally
    return {"pictures": dict(tally.pictures), "objects": dict(tally.objects), "notes": dict(tally.notes)}


def test_things_and_stuff_are_merged_by_picture(tmp_path: Path) -> None:
    pictures = [picture(7), picture(3)]
    objects = [thing(1, 3, category_id=2), thing(2, 7), thing(3, 3)]
    instances = write(tmp_path / "i.json", pictures, objects)
    stuff = write(tmp_path / "s.json", pictures, [thing(1, 3, category_id=90)], STUFF)
    index = index_of(tmp_path, instances, stuff)
    assert labels(index) == {"7": ["cat"], "3": ["dog", "cat", "sky"]}
    assert [index.picture(number).image_id for number in (0, 1)] == ["7", "3"]
    assert index.picture(0).numeric and (index.things, index.stuff) == (("cat", "dog"), ("sky",))
    assert index.entries(0)[0].xyxy == (0.1, 0.2, 0.6, 0.7)
    assert counts(index) == {"pictures": {}, "objects": {}, "notes": {}}
    assert index.has_masks


def test_a_picture_that_only_the_stuff_file_lists_is_there_too(tmp_path: Path) -> None:
    instances = write(tmp_path / "i.json", [picture(1)], [thing(1)])
    stuff = write(tmp_path / "s.json", [picture(2), picture(1)], [thing(1, 2, category_id=90)], STUFF)
    assert labels(index_of(tmp_path, instances, stuff)) == {"1": ["cat"], "2": ["sky"]}


OBJECT_FAULTS: list[tuple[dict[str, object], str]] = [
    ({"bbox": [4, 4, 0, 10]}, Reason.EMPTY_BOX),
    ({"bbox": [4, 4, 20, -1]}, Reason.EMPTY_BOX),
    ({"bbox": [39.9999999, 4, 1, 1]}, Reason.EMPTY_BOX),
    ({"bbox": [40, 4, 5, 5]}, Reason.OUTSIDE_BOX),
    ({"bbox": [4, -9, 5, 9]}, Reason.OUTSIDE_BOX),
    ({"bbox": [4, 4, float("nan"), 5]}, Reason.BAD_OBJECT),
    ({"bbox": [4, 4, float("inf"), 5]}, Reason.BAD_OBJECT),
    ({"bbox": [4, 4, 10**400, 5]}, Reason.BAD_OBJECT),
    ({"bbox": [4, 4, 5]}, Reason.BAD_OBJECT),
    ({"bbox": "1234"}, Reason.BAD_OBJECT),
    ({"bbox": [True, 4, 5, 5]}, Reason.BAD_OBJECT),
    ({"bbox": None, "segmentation": None}, Reason.BAD_OBJECT),
    ({"bbox": ["4", "x", "5", "5"]}, Reason.BAD_OBJECT),
    ({"category_id": 5}, Reason.UNKNOWN_CATEGORY),
    ({"category_id": None}, Reason.UNKNOWN_CATEGORY),
    ({"category_id": 3}, Reason.NAMELESS_CATEGORY),
    ({"image_id": 9}, Reason.ORPHAN),
    ({"image_id": None}, Reason.ORPHAN),
]


@pytest.mark.parametrize(("changes", "reason"), OBJECT_FAULTS)
def test_an_object_that_cannot_stay_is_counted(changes: dict[str, object], reason: str, tmp_path: Path) -> None:
    categories = (*CATEGORIES, {"id": 3, "name": " "})
    instances = write(tmp_path / "i.json", [picture(1)], [thing(1), thing(2, **changes)], categories)
    index = index_of(tmp_path, instances)
    assert labels(index) == {"1": ["cat"]}
    expected = {"pictures": {}, "objects": {reason: 1}, "notes": {Reason.NAMELESS_CATEGORY: 1}}
    assert counts(index) == expected


def test_an_object_that_is_no_json_object_is_counted(tmp_path: Path) -> None:
    index = index_of(tmp_path, write(tmp_path / "i.json", [picture(1), 3, None], [thing(1), "x", 4]))
    assert counts(index)["objects"] == {Reason.BAD_OBJECT: 2}
    assert counts(index)["pictures"] == {Reason.BAD_IMAGE: 2}


@pytest.mark.parametrize(
    ("box", "expected", "cut"),
    [
        ([-4, 4, 20, 10], (0, 0.2, 0.4, 0.7), 1),
        ([4, 4, 100, 100], (0.1, 0.2, 1, 1), 1),
        ([0, 0, 40.3, 20], (0, 0, 1, 1), 0),  # rounding, not a fault
        ([-0.3, 0, 40.3, 20], (0, 0, 1, 1), 0),
    ],
)
def test_boxes_are_cut_at_the_edge(box: list[float], expected: tuple[float, ...], cut: int, tmp_path: Path) -> None:
    index = index_of(tmp_path, write(tmp_path / "i.json", [picture(1)], [thing(1, bbox=box)]))
    assert index.entries(0)[0].xyxy == pytest.approx(expected)
    assert index.tally.notes[Reason.CUT_BOX] == cut


IMAGE_FAULTS: list[dict[str, object]] = [
    {"id": None},
    {"id": True},
    {"file_name": None},
    {"file_name": ""},
    {"file_name": "\ud800.png"},
    {"width": 0},
    {"height": -4},
    {"width": 40.5},
    {"width": "wide"},
]


@pytest.mark.parametrize("changes", IMAGE_FAULTS)
def test_a_picture_entry_that_says_too_little_is_counted(changes: dict[str, object], tmp_path: Path) -> None:
    instances = write(tmp_path / "i.json", [picture(1), picture(2, **changes)], [thing(1), thing(2, 2)])
    index = index_of(tmp_path, instances)
    assert labels(index) == {"1": ["cat"]}
    assert counts(index)["pictures"] == {Reason.BAD_IMAGE: 1}
    assert counts(index)["objects"] == {Reason.ORPHAN: 1}


def test_repeated_ids_are_counted_and_nothing_real_is_lost(tmp_path: Path) -> None:
    pictures = [picture(1), picture(1, file_name="other.png"), picture("1")]
    objects = [thing(5), thing(5), thing(5, bbox=[0, 0, 8, 8]), thing(None), thing(None)]
    categories = (*CATEGORIES, {"id": 1, "name": "again"})
    index = index_of(tmp_path, write(tmp_path / "i.json", pictures, objects, categories))
    assert labels(index) == {"1": ["cat"] * 4}
    assert index.picture(0).path == "1.png"
    assert counts(index) == {
        "pictures": {Reason.REPEATED_IMAGE: 2},
        "objects": {Reason.REPEATED_OBJECT: 1},
        "notes": {Reason.REPEATED_ID: 1, Reason.REPEATED_CATEGORY: 1},
    }


def test_a_picture_with_two_names_is_noted(tmp_path: Path) -> None:
    instances = write(tmp_path / "i.json", [picture(1)], [thing(1)])
    stuff = write(tmp_path / "s.json", [picture(1, file_name="b.png")], [], STUFF)
    index = index_of(tmp_path, instances, stuff)
    assert index.picture(0).path == "1.png"
    assert counts(index)["notes"] == {Reason.UNEQUAL_NAMES: 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1, 2]", "expected '{'"),
        ('{"images": [], "annotations": []}', "it names no categories"),
        ('{"images": {}, "annotations": []}', "images needs to be a list"),
        ('{"images": [], "annotations": [', "cut short"),
    ],
)
def test_a_file_of_another_form_is_refused_and_leaves_nothing(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "i.json").write_text(text)
    with pytest.raises(DataError, match=reason):
        index_of(tmp_path, tmp_path / "i.json")
    assert [path.name for path in tmp_path.iterdir()] == ["i.json"]


def test_objects_without_a_mask_are_counted_where_others_have_one(tmp_path: Path) -> None:
    other_size = {"size": [WIDTH, HEIGHT], "counts": [0, WIDTH * HEIGHT]}
    objects = [thing(1), thing(2, segmentation=[]), thing(3, bbox=[1, 1, 5, 5], segmentation=other_size)]
    index = index_of(tmp_path, write(tmp_path / "i.json", [picture(1)], objects))
    assert index.tally.notes == {Reason.NO_MASK: 2}
    found = index.segmentations(index.entries(0))
    assert [segmentation is None for segmentation in found] == [False, True, True]
    bare = index_of(tmp_path, write(tmp_path / "i.json", [picture(1)], objects[1:]))
    assert not bare.has_masks and bare.tally.notes == {}


# --- folders --------------------------------------------------------------------------------------


def make_folder(
    root: Path, split: str = "train2017", place: str = "train2017", *, on_disk: Sequence[str] = ("1.png", "2.png")
) -> Path:
    name = f"instances_{split}.json" if split else "instances.json"
    write(root / "annotations" / name, [picture(1), picture(2)], [thing(1), thing(2, 2)])
    (root / place).mkdir(parents=True, exist_ok=True)
    for file in on_disk:
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / place / file)
    return root


@pytest.mark.parametrize("place", ["train2017", "images/train2017", "images", "."])
def test_pictures_are_found(place: str, tmp_path: Path) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)  # may be there and hold nothing
    index = opened(make_folder(tmp_path / "data", place=place))
    assert index.picture(0).path == f"{place}/1.png".removeprefix("./")


def test_folders_are_found_in_capitals(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", "train", "Images/Train")
    (root / "annotations").rename(root / "Annotations")
    assert opened(root).picture(0).path == "Images/Train/1.png"


def test_no_folder_with_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image \(1.png, 2.png, ...\) is in any of these folders: train2017, \."):
        opened(make_folder(tmp_path / "data", on_disk=()))


@pytest.mark.parametrize(
    ("splits", "wanted", "expected"),
    [
        (["train2017", "val2017"], None, "train2017"),
        (["train2017", "val2017"], "val2017", "val2017"),
        (["train2017", "val2017"], "val", "val2017"),
        ([""], None, ""),
        (["val2017"], None, "val2017"),
        (["train2014", "train2017"], None, None),
        (["train2017"], "test", None),
        (["a", "b"], None, None),
    ],
)
def test_splits(splits: list[str], wanted: str | None, expected: str | None, tmp_path: Path) -> None:
    for split in splits:
        make_folder(tmp_path, split, on_disk=())
    if expected is None:
        with pytest.raises(DataError, match=f"there are: {splits[0]}"):
            find_source(tmp_path, wanted)
    else:
        source = find_source(tmp_path, wanted)
        assert source is not None
        assert source.files[0].name == (f"instances_{expected}.json" if expected else "instances.json")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("missing", ImageFault.MISSING),
        ("no image", ImageFault.UNREADABLE),
        ("size", ImageFault.OTHER_SIZE),
        ("large", ImageFault.TOO_LARGE),
        ("outside", ImageFault.OUTSIDE),
    ],
)
def test_pictures_that_cannot_be_used_are_counted(fault: str, reason: str, tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data")
    path = root / "train2017" / "2.png"
    name = "../annotations/instances_train2017.json" if fault == "outside" else "2.png"
    pictures = [picture(1), picture(2, file_name=name)]
    write(root / "annotations" / "instances_train2017.json", pictures, [thing(1), thing(2, 2), thing(3, 2)])
    if fault == "missing":
        path.unlink()
    elif fault == "no image":
        path.write_text("x")
    elif fault == "size":
        Image.new("RGB", (WIDTH + 1, HEIGHT)).save(path)
    elif fault == "large":
        Image.new("1", (5001, 5000)).save(path)
    index = opened(root)
    assert labels(index) == {"1": ["cat"]}
    assert counts(index) == {"pictures": {reason: 1}, "objects": {Reason.IN_DROPPED: 2}, "notes": {}}


def test_a_turned_picture_turns_its_boxes(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "train2017" / "1.png", exif=exif)
    index = opened(root)
    frame = index.picture(0).frame
    assert (frame.width, frame.height, frame.orientation) == (HEIGHT, WIDTH, 6)
    assert index.entries(0)[0].xyxy == pytest.approx((0.3, 0.1, 0.8, 0.6))


def test_the_index_is_made_anew_when_its_sources_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_folder(tmp_path / "data", on_disk=("1.png",))
    first = opened(root)
    assert "reading its COCO annotations" in capsys.readouterr().err
    assert labels(opened(root)) == labels(first) == {"1": ["cat"]}
    assert capsys.readouterr().err == ""

    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "train2017" / "2.png")  # a picture comes: the same annotations
    second = opened(root)
    assert labels(second) == {"1": ["cat"], "2": ["cat"]}
    assert second.contents == first.contents

    path = root / "annotations" / "instances_train2017.json"
    path.write_text(path.read_text().replace('"dog"', '"wolf"'))
    third = opened(root)
    assert third.things == ("cat", "wolf")
    assert third.contents != first.contents

    write(root / "annotations" / "stuff_train2017.json", [picture(1)], [thing(1, category_id=90)], STUFF)
    assert labels(opened(root)) == {"1": ["cat", "sky"], "2": ["cat"]}


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(100)])
def test_a_damaged_index_is_made_anew(content: bytes, tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data")
    (tmp_path / "index.sqlite").write_bytes(content)
    assert labels(opened(root)) == {"1": ["cat"], "2": ["cat"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "index.sqlite"]


def test_other_processes_read_no_other_index(tmp_path: Path) -> None:
    """Whoever opens a copy (a process of its own) is told that the index was made of changed data meanwhile."""
    root = make_folder(tmp_path / "data")
    first = opened(root)
    sent = copy(first)
    assert labels(sent) == labels(first)
    os.utime(root / "annotations" / "instances_train2017.json", (1, 1))
    assert opened(root).made != first.made
    assert labels(first) == {"1": ["cat"], "2": ["cat"]}, "who has it open keeps it"
    with pytest.raises(DataError, match="changed data were read into it meanwhile; run the command again"):
        labels(copy(first))


def test_an_index_of_another_version_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder(tmp_path / "data")
    opened(root)
    monkeypatch.setattr("training.data.index.VERSION", 999)
    with pytest.raises(DataError, match="an index of version 3; this is version 999"):
        Index(tmp_path / "index.sqlite")
    assert labels(opened(root)) == {"1": ["cat"], "2": ["cat"]}


# --- size -----------------------------------------------------------------------------------------

MEASURE = """
import resource, sys
from pathlib import Path
from training.data.forms.coco import read_coco
from training.data.index import Index, build_index

def indexed(path):
    build_index(Path("index.sqlite"), lambda writer: read_coco(writer, path))
    objects = sum(len(entries) for _, entries in Index(Path("index.sqlite")).walk())
    return objects, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

small, large = indexed(Path("small.json")), indexed(Path("large.json"))
print(small[0], large[0], (large[1] - small[1]) // 1024)
"""


def write_many(path: Path, pictures: int, objects: int) -> None:
    """Annotations first, as some tools write them: nothing is known of a picture when its objects come."""
    polygon = [[round(4 + number * 0.17 % 15, 2) for number in range(160)]]
    with path.open("w") as file:
        file.write('{"annotations": [')
        text = json.dumps(thing("ID", "IMAGE", segmentation=polygon))
        for number in range(pictures * objects):
            row = text.replace('"ID"', str(number)).replace('"IMAGE"', str(number % pictures))
            file.write(", " * (number > 0) + row)
        rows = ", ".join(json.dumps(picture(number)) for number in range(pictures))
        file.write(f'], "images": [{rows}], "categories": {json.dumps(CATEGORIES)}}}')


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
@pytest.mark.process
def test_a_large_file_is_read_with_bounded_memory(tmp_path: Path) -> None:
    """30 MB grow the process by its window (a few MiB) and two database caches (16 MiB each); json.load takes 170."""
    write_many(tmp_path / "small.json", 10, 10)
    write_many(tmp_path / "large.json", 2500, 10)
    assert (tmp_path / "large.json").stat().st_size > 25e6
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[4])}
    command = [sys.executable, "-c", MEASURE]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    small, large, grown = map(int, done.stdout.split())
    assert (small, large) == (100, 25_000)
    assert grown < 64


# --- real data ------------------------------------------------------------------------------------


@needs_real_data
def test_real_objects_and_masks_are_those_of_pycocotools(tmp_path: Path) -> None:
    root = Path(str(REAL)) / "coco_thing_stuff_100"
    source = find_source(root, None)
    assert source is not None
    index = open_index(tmp_path / "index.sqlite", source)
    assert counts(index) == {"pictures": {}, "objects": {}, "notes": {}}
    with redirect_stdout(StringIO()):
        files = [COCO(str(path)) for path in source.files]
    assert len(files) == 2
    compared = 0
    for number, entries in index.walk():
        frame, image_id = index.picture(number).frame, int(index.picture(number).image_id)
        rows = [(file, row) for file in files for row in file.loadAnns(file.getAnnIds(image_id))]
        for (file, row), entry, packed in zip(rows, entries, index.segmentations(entries), strict=True):
            assert (entry.label, entry.crowd) == (file.cats[row["category_id"]]["name"], bool(row["iscrowd"]))
            x, y, w, h = row["bbox"]
            pixels = np.array(entry.xyxy) * (frame.width, frame.height, frame.width, frame.height)
            assert pixels == pytest.approx((x, y, x + w, y + h), abs=1e-6)
            assert packed is not None
            assert np.array_equal(unpack(packed, frame.width, frame.height), file.annToMask(row))
            compared += 1
    assert compared == 1333
