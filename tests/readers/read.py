"""python read.py DIR OUT.json: what FiftyOne, CVAT's reader (Datumaro), Label Studio and Hugging Face read in a
generated data set, in an environment of their own (requirements.txt). Writes: reader -> image's name -> rows of label,
x, y, width and height in fractions of the image."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ |= {"FIFTYONE_DO_NOT_TRACK": "true", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}

Row = tuple[str, float, float, float, float]
Rows = Iterator[tuple[str, list[Row]]]


def _fiftyone(importer: Any) -> Rows:
    """FiftyOne's importers, without its database: they are what `Dataset.from_dir` calls."""
    with importer:
        for path, _, label in importer:
            label = label["detections"] if isinstance(label, dict) else label
            assert Path(path).is_file()
            yield Path(path).name, [(one.label, *one.bounding_box) for one in label.detections]


def fiftyone_coco(folder: Path) -> Rows:
    from fiftyone.utils.coco import COCODetectionDatasetImporter

    return _fiftyone(COCODetectionDatasetImporter(data_path=str(folder), labels_path=str(folder / "annotations.json")))


def fiftyone_yolo(folder: Path) -> Rows:
    from fiftyone.utils.yolo import YOLOv5DatasetImporter

    return _fiftyone(YOLOv5DatasetImporter(dataset_dir=str(folder), yaml_path="data.yaml", split="train"))


def fiftyone_voc(folder: Path) -> Rows:
    from fiftyone.utils.voc import VOCDetectionDatasetImporter

    paths = {"data_path": str(folder / "voc" / "JPEGImages"), "labels_path": str(folder / "voc" / "Annotations")}
    return _fiftyone(VOCDetectionDatasetImporter(**paths))


def _datumaro(dataset: Any) -> Rows:
    names = dataset.categories()[next(iter(dataset.categories()))]
    for item in dataset:
        height, width = item.media.size
        boxes = [one for one in item.annotations if one.type.name == "bbox"]
        sides = (width, height, width, height)
        yield (
            f"{Path(item.id).name}.png",
            [(names[one.label].name, *(v / s for v, s in zip(one.get_bbox(), sides, strict=True))) for one in boxes],
        )


def datumaro_coco(folder: Path) -> Rows:
    """As CVAT takes annotations of a task that has the images: the file alone, in the folder that Datumaro asks for."""
    from datumaro import Dataset

    with TemporaryDirectory() as home:
        (Path(home) / "annotations").mkdir()
        (Path(home) / "images").symlink_to(folder)
        (Path(home) / "annotations" / "instances_default.json").symlink_to(folder / "annotations.json")
        yield from _datumaro(Dataset.import_from(home, "coco"))


def datumaro_voc(folder: Path) -> Rows:
    from datumaro import Dataset

    return _datumaro(Dataset.import_from(str(folder / "voc"), "voc_detection"))


def label_studio(folder: Path) -> Rows:
    """What `label-studio-converter import coco` writes."""
    from label_studio_sdk.converter.imports.coco import convert_coco_to_ls

    with TemporaryDirectory() as home:
        tasks = Path(home) / "tasks.json"
        convert_coco_to_ls(str(folder / "annotations.json"), str(tasks), image_root_url="/data/local-files/?d=images")
        for task in json.loads(tasks.read_text()):
            rows = [one["value"] for group in task["annotations"] for one in group["result"]]
            sides = ("x", "y", "width", "height")
            read = [(one["rectanglelabels"][0], *(one[side] / 100 for side in sides)) for one in rows]
            yield Path(task["data"]["image"]).name, read


def hugging_face(folder: Path) -> Rows:
    from datasets import load_dataset

    with TemporaryDirectory() as home:
        for row in load_dataset(str(folder), split="train", cache_dir=home):
            width, height = row["image"].size
            assert (width, height) == (row["width"], row["height"]) and row["text"]
            objects = row["objects"]
            boxes = [(x / width, y / height, w / width, h / height) for x, y, w, h in objects["bbox"]]
            read = [(label, *box) for label, box in zip(objects["category"], boxes, strict=True)]
            yield f"{row['image_id']:06d}.png", read


READERS: dict[str, Callable[[Path], Rows]] = {
    one.__name__: one
    for one in (fiftyone_coco, fiftyone_yolo, fiftyone_voc, datumaro_coco, datumaro_voc, label_studio, hugging_face)
}


if __name__ == "__main__":
    found = {name: dict(read(Path(sys.argv[1]).resolve())) for name, read in READERS.items()}
    Path(sys.argv[2]).write_text(json.dumps(found))
