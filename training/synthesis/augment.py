"""Layouts that were never photographed: mirrored and shifted, as GeoDiffusion makes them for training detectors.

Our choice for scenes that have an up and a down: shifts are sideways alone (the sky stays above). Stuff that reached
the edge of the picture still does; a thing of which little would be left is dropped. For pictures that have neither
(microscopes, satellites): mirrored and shifted both ways, and what leaves on one side comes in on the other, so that
no side is left empty. And for detectors that miss whole classes: more of what they miss, in free places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product

import numpy as np

from detdiffusion.errors import ConfigError
from detdiffusion.layout import MAX_OBJECTS, Attribute, Box, Layout

MAX_SHIFT = 1 / 3  # of the picture's width (GeoDiffusion: 256 of 800 pixels)
LEAST_SHARE = 0.4  # of a thing's box that has to stay in the picture
FREE = 0.1  # share of an added box that others may cover
TRIES = 20  # places that are looked at for an added box


class Augmentation(StrEnum):
    """Where a layout may be moved to."""

    SIDEWAYS = "sideways"
    AROUND = "around"


def augmented(layout: Layout, seed: int, how: Augmentation = Augmentation.SIDEWAYS) -> Layout:
    """The layout mirrored or not, then shifted; the same for the same seed. Attributes stay with their objects."""
    rng = np.random.default_rng(seed)
    return _around(layout, rng) if how is Augmentation.AROUND else _sideways(layout, rng)


def _sideways(layout: Layout, rng: np.random.Generator) -> Layout:
    boxes = layout.mirrored().boxes if rng.random() < 0.5 else layout.boxes
    shift = float(rng.uniform(-MAX_SHIFT, MAX_SHIFT))
    while not (kept := tuple(_shifted(boxes, shift))):
        shift = shift / 2 if abs(shift) > 0.01 else 0.0
    return replace(layout, boxes=kept)


def _shifted(boxes: tuple[Box, ...], shift: float) -> Iterator[Box]:
    for box in boxes:
        x1, y1, x2, y2 = box.xyxy
        stuff = box.attribute is Attribute.BACKGROUND
        left = 0.0 if stuff and x1 <= 0 else max(0.0, x1 + shift)
        right = 1.0 if stuff and x2 >= 1 else min(1.0, x2 + shift)
        if right - left > (0 if stuff else LEAST_SHARE * (x2 - x1)):
            yield replace(box, xyxy=(left, y1, right, y2))


def _around(layout: Layout, rng: np.random.Generator) -> Layout:
    """Of a box that the edge cuts, each part is a box of its own; small parts of things are dropped."""
    mirrors, shifts = rng.random(2) < 0.5, rng.random(2)
    kept: list[Box] = []
    for box in layout.boxes:
        x1, y1, x2, y2 = box.xyxy
        columns = list(_parts(x1, x2, mirror=bool(mirrors[0]), shift=float(shifts[0])))
        rows = list(_parts(y1, y2, mirror=bool(mirrors[1]), shift=float(shifts[1])))
        parts = [replace(box, xyxy=(left, top, right, low)) for (left, right), (top, low) in product(columns, rows)]
        stuff = box.attribute is Attribute.BACKGROUND
        kept += [part for part in parts if stuff or part.area > LEAST_SHARE * box.area]
    return replace(layout, boxes=tuple(kept)) if kept else layout


def _parts(low: float, high: float, *, mirror: bool, shift: float) -> Iterator[tuple[float, float]]:
    """One side of a box, moved on a ring."""
    if mirror:
        low, high = 1 - high, 1 - low
    if high - low >= 1:
        yield 0.0, 1.0
        return
    start = (low + shift) % 1
    end = start + (high - low)
    yield start, min(end, 1.0)
    if end > 1:
        yield 0.0, end - 1


@dataclass(frozen=True, slots=True)
class Missed:
    """Things of a data set and how often each is taken: their classes in proportion to the share of them that the
    detector misses."""

    boxes: tuple[Box, ...]
    chances: tuple[float, ...]  # sum up to 1

    @classmethod
    def of(cls, layouts: Iterable[Layout]) -> Missed:
        """Of layouts with attributes.

        Raises:
            ConfigError: nothing in them is hard.
        """
        things = [box for one in layouts for box in one.boxes if box.attribute in (Attribute.EASY, Attribute.HARD)]
        count = Counter(box.label for box in things)
        hard = Counter(box.label for box in things if box.attribute is Attribute.HARD)
        if not hard:
            raise ConfigError("--add-missed needs attributes (--attributes) of a detector that misses something")
        weights = [hard[box.label] / count[box.label] ** 2 for box in things]
        whole = sum(weights)
        return cls(tuple(things), tuple(weight / whole for weight in weights))

    def add(self, layout: Layout, seed: int, count: int) -> Layout:
        """One to `count` things more, each in its own size, where little is; the same for the same seed."""
        rng, boxes = np.random.default_rng(seed), list(layout.boxes)
        for chosen in rng.choice(len(self.boxes), size=int(rng.integers(1, count + 1)), p=self.chances):
            others = [box for box in boxes if box.attribute is not Attribute.BACKGROUND]
            box = free_place(self.boxes[chosen], others, rng)
            if box is not None and len(boxes) < MAX_OBJECTS:
                boxes.append(box)
        return replace(layout, boxes=tuple(boxes))


def free_place(
    box: Box, others: Sequence[Box], rng: np.random.Generator, reach: tuple[float, float] = (1.0, 1.0)
) -> Box | None:
    """The box where others cover little of it; None if there is no such place among `TRIES`. reach: shares of the width
    and the height by which it may be moved."""
    x1, y1, x2, y2 = box.xyxy
    low = np.maximum(0, (x1 - reach[0], y1 - reach[1]))
    high = np.minimum((1 - (x2 - x1), 1 - (y2 - y1)), (x1 + reach[0], y1 + reach[1]))
    for left, top in (low + rng.random((TRIES, 2)) * (high - low)).tolist():
        moved = replace(box, xyxy=(left, top, min(1.0, left + x2 - x1), min(1.0, top + y2 - y1)))
        if all(_covered(moved, other) <= FREE for other in others):
            return moved
    return None


def _covered(box: Box, other: Box) -> float:
    """Share of a box that another one covers."""
    (a1, b1, a2, b2), (c1, d1, c2, d2) = box.xyxy, other.xyxy
    return max(0.0, min(a2, c2) - max(a1, c1)) * max(0.0, min(b2, d2) - max(b1, d1)) / box.area
