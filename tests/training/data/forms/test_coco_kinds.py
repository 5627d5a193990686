"""COCO files as tools write them: ids, sizes, names and boxes of any kind."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from form_files import HEIGHT, WIDTH, labels, opened
from PIL import Image

from detdiffusion.errors import DataError

FILE = "instances_train2017.json"


def picture(number: int, **changes: object) -> dict[str, Any]:
    return {"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT, **changes}


def thing(number: int, picture: int = 1, **changes: object) -> dict[str, Any]:
    return {"id": number, "image_id": picture, "category_id": 1, "bbox": [4, 2, 20, 10], **changes}


def write(root: Path, images: Sequence[object], annotations: Sequence[object]) -> Path:
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / FILE).write_text(json.dumps(content))
    return root


def make_folder(root: Path, on_disk: Sequence[str] = ("1.png", "2.png")) -> Path:
    (root / "train2017").mkdir(parents=True)
    for file in on_disk:
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "train2017" / file)
    return write(root, [picture(1), picture(2)], [thing(1), thing(2, 2)])


def changed(root: Path, change: Callable[[Any], None]) -> Path:
    path = root / "annotations" / FILE
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("form", [float, str, lambda number: f"{number}.0", lambda number: f"id-{number}"])
def test_ids_of_any_kind(form: Callable[[int], object], tmp_path: Path) -> None:
    def change(content: Any) -> None:
        for rows, keys in (
            ("images", ["id"]),
            ("annotations", ["id", "image_id", "category_id"]),
            ("categories", ["id"]),
        ):
            for row in content[rows]:
                row.update({key: form(row[key]) for key in keys})

    assert list(labels(opened(changed(make_folder(tmp_path / "data"), change))).values()) == [["cat"], ["cat"]]


@pytest.mark.parametrize("size", [{}, {"width": None, "height": 0}, {"width": "40", "height": "20.0"}, {"width": 40.0}])
def test_sizes_that_are_missing_or_text(size: dict[str, object], tmp_path: Path) -> None:
    def change(content: Any) -> None:
        content["images"] = [{"id": row["id"], "file_name": row["file_name"], **size} for row in content["images"]]

    index = opened(changed(make_folder(tmp_path / "data"), change))
    assert list(labels(index).values()) == [["cat"], ["cat"]]
    assert (index.tally.pictures, index.tally.objects, index.tally.notes) == ({}, {}, {})


@pytest.mark.parametrize(
    "name",
    [
        "train2017\\1.png",
        "/elsewhere/data/train2017/1.png",
        "C:\\data\\train2017\\1.png",
        ".\\1.png",
        "./1.png",
    ],
)
def test_file_names_of_other_machines(name: str, tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data")
    index = opened(write(root, [picture(1, file_name=name)], [thing(1)]))
    assert (root / index.picture(0).path).samefile(root / "train2017" / "1.png")


def test_pictures_in_several_folders(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", on_disk=("1.png",))
    (root / "images").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images" / "2.png")
    assert list(labels(opened(root)).values()) == [["cat"], ["cat"]]


@pytest.mark.parametrize("place", ["train2017", "images"])
def test_images_that_an_address_names(place: str, tmp_path: Path) -> None:
    """LVIS says coco_url where COCO says file_name."""
    root = make_folder(tmp_path / "data")
    (root / "train2017").rename(root / "moved")
    (root / "moved").rename(root / place)

    def change(content: Any) -> None:
        for image in content["images"]:
            image["coco_url"] = f"https://example.org/train2017/{image.pop('file_name')}"

    assert list(labels(opened(changed(root, change))).values()) == [["cat"], ["cat"]]


def test_images_without_a_name_are_the_reason(tmp_path: Path) -> None:
    root = changed(
        make_folder(tmp_path / "data"), lambda content: [image.pop("file_name") for image in content["images"]]
    )
    with pytest.raises(DataError, match=r"list no images; 2 x image entry without id, file name or size: .*image 1"):
        opened(root)


RUNS = [4 * HEIGHT + 2, 10, 10, 10, HEIGHT * (WIDTH - 5) - 12]


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        ([[4, 2, 24, 2, 24, 12]], (0.1, 0.1, 0.6, 0.6)),
        ([[4, 2, 8, 2, 8, 4], [20, 10, 24, 10, 24, 12]], (0.1, 0.1, 0.6, 0.6)),
        ({"size": [HEIGHT, WIDTH], "counts": RUNS}, (0.1, 0.1, 0.15, 0.6)),
    ],
)
def test_a_box_is_made_of_a_mask(segmentation: object, box: tuple[float, ...], tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data")
    index = opened(write(root, [picture(1)], [thing(1, bbox=None, segmentation=segmentation)]))
    assert index.entries(0)[0].xyxy == pytest.approx(box)


@pytest.mark.parametrize(("said", "crowd"), [("0", False), ("1", True), (0, False), (True, True), (None, False)])
def test_crowds_as_tools_write_them(said: object, crowd: bool, tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data")
    index = opened(write(root, [picture(1)], [thing(1, iscrowd=said, bbox=["4", "2", "20", "10"])]))
    assert index.entries(0)[0].crowd is crowd
