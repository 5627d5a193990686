"""Scenes as a COCO-Thing-Stuff data set."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from detdiffusion.core.files import write_text, written_aside
from detdiffusion.layout import Box
from training.data.papercut.causes import Cause
from training.data.papercut.classes import STUFF_IDS, THING_IDS
from training.data.papercut.scene import scenes
from training.data.papercut.sheet import Mask


def write_dataset(
    out: Path,
    seeds: Sequence[int],
    size: int = 256,
    hard_share: float = 0.45,
    workers: int = 0,
    cause: Cause | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes images/SEED.png, annotations/instances.json and annotations/stuff.json; calls on_progress(done, total).

    Beside COCO's own keys, the annotation of a difficult thing has `causes`, for analysis. Annotations come last, those
    of things at the very end: what a kill leaves is no data set.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    for name in ("instances", "stuff"):
        (out / "annotations" / f"{name}.json").unlink(missing_ok=True)
    images: list[dict[str, object]] = []
    things: list[dict[str, object]] = []
    stuff: list[dict[str, object]] = []
    for done, (seed, made) in enumerate(
        zip(seeds, scenes(seeds, size, hard_share, workers, cause), strict=True), start=1
    ):
        name = f"{seed:06d}.png"
        with written_aside(out / "images" / name, durable=False) as aside:
            made.image.save(aside, format="PNG")
        images.append({"id": seed, "file_name": name, "width": size, "height": size})
        for box, mask, causes in zip(made.layout.boxes, made.masks, made.causes, strict=True):
            rows = things if box.label in THING_IDS else stuff
            extra = {"causes": sorted(causes)} if causes else {}
            rows.append(_annotation(len(rows) + 1, seed, box, mask, size) | extra)
        if on_progress is not None:
            on_progress(done, len(seeds))
    _write_coco(out / "annotations" / "stuff.json", "stuff", STUFF_IDS, images, stuff)
    _write_coco(out / "annotations" / "instances.json", "thing", THING_IDS, images, things)


def _write_coco(
    path: Path, kind: str, ids: Mapping[str, int], images: Sequence[object], annotations: Sequence[object]
) -> None:
    content = {
        "info": {"description": "Papercut"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "supercategory": kind} for name, number in ids.items()],
    }
    write_text(path, json.dumps(content, separators=(",", ":")))


def _annotation(number: int, image: int, box: Box, mask: Mask, size: int) -> dict[str, object]:
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    x1, y1, x2, y2 = (round(value * size) for value in box.xyxy)
    return {
        "id": number,
        "image_id": image,
        "category_id": (THING_IDS | STUFF_IDS)[box.label],
        "iscrowd": 0,
        "area": int(mask.sum()),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "segmentation": {"size": [size, size], "counts": code["counts"].decode("ascii")},
    }
