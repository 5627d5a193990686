"""What a detector said of a data set, matched with its objects: arrays in one file, from which all else is counted.

Memory is about 60 bytes an object and 40 a detection; images are not held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detdiffusion.detection import Detections
from detdiffusion.errors import DataError, why
from detdiffusion.evaluation.coco_ap import BoxesOfClass, ClassMatches
from detdiffusion.evaluation.tide import RIGHT, Errors, Labelled, is_kind, match_image
from detdiffusion.layout import Box
from training.core.arrays import load_arrays, save_arrays
from training.core.schedule import OnStep
from training.data.datasets import Dataset, MaskSource, Sample

FILE = "evidence.npz"
_PIXEL = 3  # decimals: single precision would shift overlaps of exactly 0.5 to either side

Array = NDArray[Any]
Bools = NDArray[np.bool_]


class Role(IntEnum):
    """What a box of the data is for the detector."""

    COUNTED = 0  # a thing of a class that it knows
    UNKNOWN = 1  # a thing of another class
    STUFF = 2
    CROWD = 3  # of many objects


@dataclass(frozen=True, eq=False, slots=True)
class Evidence:
    """P images, N boxes of the data, D detections of classes of the data, by image, of each image surest first.

    Images: ids [P], paths [P] (within the data folder), sizes [P, 2] (width, height in pixels). labels [K]: class
    names. Boxes: image [N], label [N] (places in `labels`), box [N, 4] (fractions), role [N] (`Role`), fill [N]
    (share of the box that the object's mask fills, NaN without one), confidence [N] (score of the detection that
    found it at IoU 0.5, 0: missed), overlap [N] (IoU of that detection).
    Detections: found_image, found_label, score, found_box, kind (`tide.KINDS`), about (place among the boxes, -1:
    none), in_crowd, hits (a bit for each of COCO's ten thresholds at which it found an object).
    """

    ids: Array
    paths: Array
    sizes: Array
    labels: Array
    image: Array
    label: Array
    box: Array
    role: Array
    fill: Array
    confidence: Array
    overlap: Array
    found_image: Array
    found_label: Array
    score: Array
    found_box: Array
    kind: Array
    about: Array
    in_crowd: Array
    hits: Array

    @property
    def counted(self) -> Bools:
        """Boxes that recall is of: [N]."""
        return np.asarray(self.role == Role.COUNTED)

    def errors(self) -> Errors:
        """For TIDE: the counted objects alone."""
        counted = self.counted
        place = np.cumsum(counted) - 1
        about = np.where(self.about >= 0, place[self.about], -1) if len(place) else self.about.astype(np.int64)
        objects = self.label[counted].astype(np.int64)
        labels = self.found_label.astype(np.int64)
        truths = np.bincount(objects, minlength=len(self.labels))
        return Errors(truths, objects, labels, self.score, self.kind, about, self.in_crowd)

    def matches(self) -> list[ClassMatches]:
        """Of every class with an object, for the bootstrap; what is in a crowd is left out."""
        found = []
        shifts = np.arange(10, dtype=np.uint16)[:, None]
        order = np.lexsort((-self.score, self.found_label))
        order = order[~self.in_crowd[order]]
        starts = np.searchsorted(self.found_label[order], np.arange(len(self.labels) + 1))
        for label in range(len(self.labels)):
            truths = np.bincount(self.image[self.counted & (self.label == label)], minlength=len(self.ids))
            own = order[starts[label] : starts[label + 1]]
            if truths.any():
                hits = (self.hits[own][None] >> shifts & 1).astype(np.bool_)  # [10, D]
                found.append(ClassMatches(truths, self.found_image[own].astype(np.int64), hits))
        return found

    def of_class(self, label: int) -> tuple[BoxesOfClass, BoxesOfClass]:
        """Boxes of the data (crowds are marked) and detections of one class."""
        true = ((self.role == Role.COUNTED) | (self.role == Role.CROWD)) & (self.label == label)
        found = self.found_label == label
        boxes = (
            self._xywh(self.image[true], self.box[true]),
            self._xywh(self.found_image[found], self.found_box[found]),
        )
        return (
            BoxesOfClass(self.image[true].astype(np.int64), boxes[0], self.role[true] == Role.CROWD),
            BoxesOfClass(self.found_image[found].astype(np.int64), boxes[1], self.score[found]),
        )

    def _xywh(self, images: Array, boxes: Array) -> Array:
        corners = pixels(boxes, self.sizes[images])
        return np.asarray(np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1))

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        save_arrays(path, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Evidence:
        """DataError: missing or damaged."""
        try:
            return cls(**load_arrays(path))
        except (DataError, TypeError) as error:
            raise DataError(f"{path} is no evidence of `python -m training diagnose` ({why(error)})") from error


def pixels(boxes: Array, sizes: Array) -> Array:
    """Fractions [N, 4] -> corners in pixels, to a thousandth; sizes [N, 2] or [2]: width, height."""
    return np.asarray(np.round(boxes.astype(np.float64) * np.concatenate([sizes, sizes], axis=-1), _PIXEL))


def runs(images: Array) -> Iterator[tuple[int, int, int]]:
    """Where each image's rows are, of rows in order of their images: image, first row, row after the last."""
    starts = np.flatnonzero(np.diff(images, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(images)], strict=False):
        yield int(images[start]), start, end


def gather(dataset: Dataset, found: Iterator[Detections], known: Sequence[str], on_step: OnStep) -> Evidence:
    """The evidence of what a detector said of every image of the data, in their order.

    Args:
        known: classes that the detector can know.
    """
    labels = tuple(dict.fromkeys((*dataset.things, *dataset.stuff)))
    rows = _Rows(labels, frozenset(dataset.things) & frozenset(known), frozenset(dataset.things))
    masked = dataset.mask_source is MaskSource.INSTANCES
    for place, (sample, one) in enumerate(zip(dataset, found, strict=True)):
        rows.add(place, sample, one, dataset.root, masked=masked)
        on_step(place + 1, len(dataset), {})
    return rows.evidence()


class _Rows:
    """Grows image by image; what many images gave is joined now and then, so that few small arrays are held."""

    def __init__(self, labels: Sequence[str], known: frozenset[str], things: frozenset[str]) -> None:
        self.labels, self.known, self.things = labels, known, things
        self.number = {label: place for place, label in enumerate(labels)}
        self.ids: list[str] = []
        self.paths: list[str] = []
        self.boxes = 0
        self.parts: dict[str, list[Array]] = {}
        self.joined: dict[str, list[Array]] = {}

    def add(self, place: int, sample: Sample, found: Detections, root: Path, *, masked: bool) -> None:
        self.ids.append(sample.image_id)
        self.paths.append(
            sample.path.relative_to(root).as_posix() if sample.path.is_relative_to(root) else str(sample.path)
        )
        size = np.array([sample.layout.width, sample.layout.height], np.int32)
        boxes = (*sample.layout.boxes, *sample.crowds)
        role = np.array([*map(self._role, sample.layout.boxes), *(Role.CROWD for _ in sample.crowds)], np.uint8)
        label = np.array([self.number[box.label] for box in boxes], np.int16)
        box = np.array([box.xyxy for box in boxes], np.float32).reshape(-1, 4)
        mine = np.array([i for i, name in enumerate(found.labels) if name in self.known], np.int64)
        said = np.array([self.number[found.labels[i]] for i in mine], np.int16)
        found_box, score = found.boxes_xyxy[mine], found.scores[mine]
        true = _labelled(label, box, size, role == Role.COUNTED)
        crowds = _labelled(label, box, size, role == Role.CROWD)
        matched = match_image(true, Labelled(said.astype(np.int64), pixels(found_box, size)), crowds)
        counted = np.flatnonzero(role == Role.COUNTED)
        about = np.where(matched.about >= 0, counted[matched.about] if len(counted) else -1, -1)
        confidence, overlap = np.zeros(len(boxes), np.float32), np.zeros(len(boxes), np.float32)
        right = is_kind(matched.kinds, RIGHT)
        confidence[about[right]] = score[right]
        overlap[about[right]] = matched.overlaps[right]
        bits = ((matched.owners >= 0) << np.arange(10)[:, None]).sum(axis=0).astype(np.uint16)
        self._keep(
            sizes=size[None], image=np.full(len(boxes), place, np.int32), label=label, box=box, role=role,
            fill=_fills(sample, len(boxes), masked=masked), confidence=confidence, overlap=overlap,
            found_image=np.full(len(mine), place, np.int32), found_label=said, score=score, found_box=found_box,
            kind=matched.kinds, about=np.where(about >= 0, about + self.boxes, -1), in_crowd=matched.in_crowd,
            hits=bits, )  # fmt: skip
        self.boxes += len(boxes)

    def evidence(self) -> Evidence:
        self._join()
        arrays = {name: np.concatenate(parts) for name, parts in self.joined.items()}
        return Evidence(ids=np.array(self.ids), paths=np.array(self.paths), labels=np.array(self.labels), **arrays)

    def _role(self, box: Box) -> Role:
        if box.label not in self.things:
            return Role.STUFF
        return Role.COUNTED if box.label in self.known else Role.UNKNOWN

    def _keep(self, **arrays: Array) -> None:
        for name, array in arrays.items():
            self.parts.setdefault(name, []).append(array)
        if len(self.ids) % 1000 == 0:
            self._join()

    def _join(self) -> None:
        for name, parts in self.parts.items():
            if parts:
                self.joined.setdefault(name, []).append(np.concatenate(parts))
                parts.clear()


def _labelled(label: Array, box: Array, size: Array, wanted: Bools) -> Labelled:
    return Labelled(label[wanted].astype(np.int64), pixels(box[wanted], size))


def _fills(sample: Sample, count: int, *, masked: bool) -> Array:
    """Share of each box that its mask fills; NaN where the data have no mask of their own."""
    fills = np.full(count, np.nan, np.float32)
    if masked:
        size = sample.layout.width * sample.layout.height
        for place, (box, packed, mask) in enumerate(
            zip(sample.layout.boxes, sample.masks.packed, sample.masks, strict=True)
        ):
            if packed is not None:
                fills[place] = min(1.0, float(mask.sum()) / (box.area * size))
    return fills
