"""Layouts that were never photographed: mirrored and shifted, as GeoDiffusion makes them for training detectors.

Our choice for scenes that have an up and a down: shifts are sideways alone (the sky stays above). Stuff that reached
the edge of the picture still does; a thing of which little would be left is dropped. For pictures that have neither
(microscopes, satellites): mirrored and shifted both ways, and what leaves on one side comes in on the other, so that
no side is left empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from itertools import product

import numpy as np

from detdiffusion.layout import Attribute, Box, Layout

MAX_SHIFT = 1 / 3  # of the picture's width (GeoDiffusion: 256 of 800 pixels)
LEAST_SHARE = 0.4  # of a thing's box that has to stay in the picture


class Augmentation(StrEnum):
    """Where a layout may be moved to."""

    SIDEWAYS = "sideways"
    AROUND = "around"


def augmented(layout: Layout, seed: int, how: Augmentation = Augmentation.SIDEWAYS) -> Layout:
    """The layout mirrored or not, then shifted; the same for the same seed. Attributes stay with their objects."""
    rng = np.random.default_rng(seed)
    return _around(layout, rng) if how is Augmentation.AROUND else _sideways(layout, rng)


def _sideways(layout: Layout, rng: np.random.Generator) -> Layout:
    boxes = tuple(map(_mirrored, layout.boxes)) if rng.random() < 0.5 else layout.boxes
    shift = float(rng.uniform(-MAX_SHIFT, MAX_SHIFT))
    while not (kept := tuple(_shifted(boxes, shift))):
        shift = shift / 2 if abs(shift) > 0.01 else 0.0
    return replace(layout, boxes=kept)


def _mirrored(box: Box) -> Box:
    x1, y1, x2, y2 = box.xyxy
    return replace(box, xyxy=(1 - x2, y1, 1 - x1, y2))


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
