"""Layouts that were never photographed: mirrored and shifted, as GeoDiffusion makes them for training detectors.

Our choice: shifts are sideways alone (the sky stays above). Stuff that reached the edge of the picture still does;
a thing of which little would be left is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from detdiffusion.layout import Attribute, Box, Layout

MAX_SHIFT = 1 / 3  # of the picture's width (GeoDiffusion: 256 of 800 pixels)
LEAST_SHARE = 0.4  # of a thing's box that has to stay in the picture


def augmented(layout: Layout, seed: int) -> Layout:
    """The layout mirrored or not, then shifted; the same for the same seed. Attributes stay with their objects."""
    rng = np.random.default_rng(seed)
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
