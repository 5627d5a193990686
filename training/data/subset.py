"""python -m training subset: a part of a data set of any form, as a COCO folder of its own.

What learns from the folder has seen these pictures and no others. Files are linked, not copied, where the disk allows.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np
from pycocotools import mask as coco_mask

from detdiffusion.core.arguments import fraction, natural, out_folder, positive
from detdiffusion.core.files import hold, link_or_copy, written_aside
from detdiffusion.errors import ConfigError, DataError
from training.core.cli import add_dry_run, nothing_is_missing, progress
from training.core.schedule import OnStep
from training.data.datasets import Dataset, MaskSource, Sample, open_dataset
from training.data.filters import EVERYTHING, add_filter_arguments, filter_of
from training.data.images import Mask, is_turned
from training.data.request import add_data_arguments, add_negatives_argument, reading_of

TRAIN = "train"
BOUNDS = replace(EVERYTHING, crowds=False)  # a box around many objects would become one object


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training subset`."""
    add_data_arguments(parser)
    add_negatives_argument(parser)
    share = parser.add_mutually_exclusive_group()
    share.add_argument("--fraction", type=fraction, metavar="F", help="share of the images, above 0 and up to 1")
    share.add_argument("--count", type=positive, metavar="N", help="number of images (default: all)")
    parser.add_argument("--seed", type=natural, default=0, metavar="N", help="seed that selects the images (default 0)")
    parser.add_argument("--name", default=TRAIN, metavar="SPLIT", help=f"name of the new split ({TRAIN})")
    parser.add_argument(
        "--out",
        type=out_folder,
        required=True,
        metavar="DIR",
        help="folder to write: annotations/ and links to the images",
    )
    add_filter_arguments(parser, BOUNDS)
    add_dry_run(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    bounds = filter_of(arguments, negatives=True)
    if not arguments.negatives:
        bounds = replace(bounds, min_objects=max(1, bounds.min_objects))
    dataset = open_dataset(arguments.data, filter=bounds, split=arguments.split, reading=reading_of(arguments))
    print("\n".join(dataset.describe()), file=sys.stderr)
    count = arguments.count or math.ceil(len(dataset) * (arguments.fraction or 1))
    places = choose(dataset, count, arguments.seed)
    check_new(arguments.out, arguments.name)
    if arguments.dry_run:
        return nothing_is_missing()
    with progress("subset") as report:
        print(write_subset(dataset, places, arguments.out, arguments.name, report))
    print(f"{len(places)} of {len(dataset)} images", file=sys.stderr)
    return 0


def choose(dataset: Dataset, count: int, seed: int) -> list[int]:
    """Places of `count` pictures: those of a smaller count with the same seed are among them.

    Raises:
        DataError: there are fewer.
    """
    if count > len(dataset):
        raise DataError(f"{dataset.root} has {len(dataset)} images, {count} were asked for")
    if count == len(dataset):
        return list(range(count))
    from training.core.checkpoints import epoch_order

    return sorted(epoch_order(seed, -1, len(dataset))[:count])


def check_new(out: Path, split: str) -> Path:
    """The annotation file to write. ConfigError if it is there already."""
    annotations = out / "annotations" / f"instances_{split}.json"
    if annotations.exists():
        raise ConfigError(f"{annotations} is there already: give another --out or --name, or delete it")
    return annotations


def write_subset(dataset: Dataset, places: Sequence[int], out: Path, split: str, on_step: OnStep) -> Path:
    """Writes `out/SPLIT/` and `out/annotations/instances_SPLIT.json` (`stuff_SPLIT.json` too where there is stuff), and
    returns the former annotation file. Boxes are those of the data set's reader: upright, cut, none of zero size.

    Raises:
        ConfigError: the split is there already.
        DataError: a picture cannot be read.
    """
    with hold(out / f"{split}.lock", ConfigError, str(out / split)):
        annotations = check_new(out, split)
        names = dict(_names(dataset[place] for place in places))
        folder = out / split
        folder.mkdir(parents=True, exist_ok=True)
        for done, place in enumerate(places, start=1):
            _place(dataset[place], folder / names[dataset[place].image_id])
            on_step(done, len(places), {})
        annotations.parent.mkdir(exist_ok=True)
        if dataset.stuff:
            _write(dataset, places, names, dataset.stuff, annotations.with_name(f"stuff_{split}.json"))
        _write(dataset, places, names, dataset.things, annotations)
    return annotations


def _names(samples: Iterable[Sample]) -> Iterator[tuple[str, str]]:
    """Image id -> file name in the new folder: the old one, with a number before it where two would be the same. A
    picture that is stored turned becomes a PNG."""
    taken: set[str] = set()
    for number, sample in enumerate(samples):
        name = f"{sample.path.stem}.png" if is_turned(sample.path) else sample.path.name
        name = f"{number:06d}-{name}" if name in taken else name
        taken.add(name)
        yield sample.image_id, name


def _place(sample: Sample, path: Path) -> None:
    """A link to the picture, or a copy on another disk; one that is stored turned is stored upright, for tools that
    ignore EXIF."""
    if is_turned(sample.path):
        path.unlink(missing_ok=True)
        sample.load_image().save(path)
        return
    link_or_copy(sample.path, path)


def _write(dataset: Dataset, places: Sequence[int], names: Mapping[str, str], labels: Sequence[str], to: Path) -> None:
    """One annotation file, a row at a time: large data sets do not fit into memory as objects."""
    categories = {label: number for number, label in enumerate(labels, start=1)}
    with written_aside(to) as aside, aside.open("w", encoding="utf-8") as file:
        file.write('{"images": [')
        _rows(file, (_image(number, dataset[place], names) for number, place in enumerate(places, start=1)))
        file.write('], "annotations": [')
        _rows(file, _objects(dataset, places, categories))
        listed = [{"id": number, "name": label} for label, number in categories.items()]
        file.write(f'], "categories": {json.dumps(listed)}}}\n')


def _rows(file: TextIO, rows: Iterable[Mapping[str, object]]) -> None:
    for number, row in enumerate(rows):
        file.write(("," if number else "") + "\n" + json.dumps(row))


def _image(number: int, sample: Sample, names: Mapping[str, str]) -> dict[str, object]:
    width, height = sample.layout.width, sample.layout.height
    return {"id": number, "file_name": names[sample.image_id], "width": width, "height": height}


def _objects(dataset: Dataset, places: Sequence[int], categories: Mapping[str, int]) -> Iterator[dict[str, object]]:
    masked, count = dataset.mask_source is MaskSource.INSTANCES, 0
    for number, place in enumerate(places, start=1):
        sample = dataset[place]
        width, height = sample.layout.width, sample.layout.height
        masks: Iterable[Mask | None] = sample.masks if masked else [None] * len(sample.layout.boxes)
        for box, mask in zip(sample.layout.boxes, masks, strict=True):
            if box.label not in categories:
                continue
            count += 1
            x1, y1, x2, y2 = box.xyxy
            bbox = [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]
            about = {"id": count, "image_id": number, "category_id": categories[box.label], "iscrowd": 0}
            area = bbox[2] * bbox[3] if mask is None else int(mask.sum())
            yield {**about, "bbox": bbox, "area": area, **({} if mask is None else {"segmentation": _encoded(mask)})}


def _encoded(mask: Mask) -> dict[str, object]:
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": code["counts"].decode("ascii")}
