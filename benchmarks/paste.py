"""The plainest baseline of `generate --add-missed`, without a generator: real images, mirrored or not, into whose free
places real things are pasted, of the classes that the detector misses. What is added is drawn by the same rule.

python -m benchmarks.paste --real DIR --attributes FILE.jsonl --out DIR [--split train] [--count 200] [--add 8]
[--seed 0]: a COCO folder, for `python -m training trainability --synthetic`.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from detdiffusion.layout import Box, Layout
from training.data.attributes import read_attributes
from training.data.datasets import Dataset, open_dataset
from training.synthesis.augment import Missed

MARGIN = 0.2  # of a thing's box, on each side: there it fades into the picture

Floats = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--attributes", type=Path, required=True, help="of `python -m training annotate`")
    parser.add_argument("--count", type=int, default=200, help="pictures in all")
    parser.add_argument("--add", type=int, default=8, help="things that a picture gets at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    real = open_dataset(arguments.real, split=arguments.split)
    given = read_attributes(arguments.attributes, real)
    layouts = [sample.layout.with_attributes(given[sample.image_id]) for sample in real]
    missed = Missed.of(layouts)
    things = [(place, box) for place, layout in enumerate(layouts) for box in layout.boxes]
    (arguments.out / "train").mkdir(parents=True)
    (arguments.out / "annotations").mkdir()
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for number in range(1, arguments.count + 1):
        rng = np.random.default_rng((arguments.seed, number))
        place = (number - 1) % len(real)
        layout = missed.add(layouts[place], int(rng.integers(2**31)), arguments.add)
        pixels = np.asarray(real[place].load_image(), np.float32).copy()
        for box in layout.boxes[len(layouts[place].boxes) :]:
            paste(pixels, box, real, *next(thing for thing in things if _same(thing[1], box)))
        picture, layout = _mirrored(Image.fromarray(pixels.round().astype(np.uint8)), layout, rng.random(2) < 0.5)
        name = f"{number:06d}.png"
        picture.save(arguments.out / "train" / name)
        images.append({"id": number, "file_name": name, "width": layout.width, "height": layout.height})
        objects += _rows(layout, number, real.things, len(objects))
    categories = [{"id": index, "name": label} for index, label in enumerate(real.things, start=1)]
    whole = {"images": images, "annotations": objects, "categories": categories}
    (arguments.out / "annotations" / "instances_train.json").write_text(json.dumps(whole))
    print(arguments.out, f"{len(images)} pictures, {len(objects)} objects")


def paste(pixels: Floats, box: Box, real: Dataset, place: int, source: Box) -> None:
    """Puts a real thing where the box is: an oval that fades out around it, as bright as its new surroundings."""
    other = np.asarray(real[place].load_image(), np.float32)
    x1, y1, x2, y2 = (round(v * side) for v, side in zip(source.xyxy, 2 * other.shape[1::-1], strict=True))
    left, top = round(box.xyxy[0] * pixels.shape[1]), round(box.xyxy[1] * pixels.shape[0])
    across, down = max(2, round(MARGIN * (x2 - x1))), max(2, round(MARGIN * (y2 - y1)))
    rows, columns = np.mgrid[y1 - down : y2 + down, x1 - across : x2 + across]
    inside = np.hypot((columns - (x1 + x2 - 1) / 2) / ((x2 - x1) / 2), (rows - (y1 + y2 - 1) / 2) / ((y2 - y1) / 2))
    cover = np.clip((1 + 2 * MARGIN - inside) / (2 * MARGIN), 0, 1)[..., None].astype(np.float32)
    to_rows, to_columns = rows - y1 + top, columns - x1 + left
    there = (rows >= 0) & (rows < other.shape[0]) & (columns >= 0) & (columns < other.shape[1])
    there &= (to_rows >= 0) & (to_rows < pixels.shape[0]) & (to_columns >= 0) & (to_columns < pixels.shape[1])
    cut, onto, cover = other[rows[there], columns[there]], pixels[to_rows[there], to_columns[there]], cover[there]
    edge = cover[:, 0] < 0.5
    shift = onto[edge].mean(axis=0) - cut[edge].mean(axis=0) if edge.any() else 0
    pixels[to_rows[there], to_columns[there]] = np.clip(cover * (cut + shift) + (1 - cover) * onto, 0, 255)


def _same(thing: Box, moved: Box) -> bool:
    """Whether one is the other, elsewhere."""
    (a1, b1, a2, b2), (c1, d1, c2, d2) = thing.xyxy, moved.xyxy
    return thing.label == moved.label and max(abs((a2 - a1) - (c2 - c1)), abs((b2 - b1) - (d2 - d1))) <= 1e-9


def _mirrored(picture: Image.Image, layout: Layout, axes: NDArray[np.bool_]) -> tuple[Image.Image, Layout]:
    for sideways in [name for name, wanted in zip((True, False), axes, strict=True) if wanted]:
        picture = ImageOps.mirror(picture) if sideways else ImageOps.flip(picture)
        layout = replace(layout, boxes=tuple(_turned(box, sideways=sideways) for box in layout.boxes))
    return picture, layout


def _turned(box: Box, *, sideways: bool) -> Box:
    x1, y1, x2, y2 = box.xyxy
    return replace(box, xyxy=(1 - x2, y1, 1 - x1, y2) if sideways else (x1, 1 - y2, x2, 1 - y1))


def _rows(layout: Layout, image: int, labels: tuple[str, ...], before: int) -> Iterator[dict[str, Any]]:
    for number, box in enumerate((box for box in layout.boxes if box.label in labels), start=before + 1):
        x1, y1, x2, y2 = box.xyxy
        sides = 2 * (layout.width, layout.height)
        left, top, width, height = (v * side for v, side in zip((x1, y1, x2 - x1, y2 - y1), sides, strict=True))
        category = labels.index(box.label) + 1
        about = {"id": number, "image_id": image, "category_id": category, "iscrowd": 0}
        yield {**about, "bbox": [left, top, width, height], "area": width * height}


if __name__ == "__main__":
    main()
