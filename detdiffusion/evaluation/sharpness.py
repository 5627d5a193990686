"""How crisp the things of an image are: the strength of the finest detail inside their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detdiffusion.drawing import crop
from detdiffusion.layout import Attribute, Layout

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)

Plane = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sharpness:
    """Means over the pixels inside the things' boxes, of luminance in 0..1; NaN without things.

    laplacian: size of the response to the Laplacian, in 0..4: the finest detail, which blur takes first. Not squared:
        squares would be those of a few hard edges.
    gradient: length of the step to the next pixels, in 0..1.42: every edge, sharp or soft.
    """

    laplacian: float
    gradient: float


def sharpness(image: Image.Image, layout: Layout) -> Sharpness:
    """Of one image, in the boxes of its layout that are not background; a box counts as much as its area.

    What is around a box plays no part, not even at its edges.
    """
    things = [box for box in layout.boxes if box.attribute is not Attribute.BACKGROUND]
    planes = [luminance(crop(image, box.xyxy, margin=0)) for box in things]
    return Sharpness(_mean([laplacian(plane) for plane in planes]), _mean([gradient(plane) for plane in planes]))


def luminance(image: Image.Image) -> Plane:
    """[H, W] in 0..1."""
    pixels = np.asarray(image.convert("RGB"), np.float64) / 255  # [H, W, 3]
    return np.asarray(pixels @ np.array(LUMA))


def laplacian(plane: Plane) -> Plane:
    """How far each pixel is from its four neighbours in sum, mirrored at the edges: [H, W] -> [H, W], 0 or more."""
    wide = np.pad(plane, 1, mode="reflect")  # -> [H + 2, W + 2]
    around = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
    return np.asarray(np.abs(4 * plane - around))


def gradient(plane: Plane) -> Plane:
    """Length of the differences to the right and down, none at the last column and row: [H, W] -> [H, W]."""
    right = np.diff(plane, axis=1, append=plane[:, -1:])
    down = np.diff(plane, axis=0, append=plane[-1:])
    return np.asarray(np.hypot(right, down))


def _mean(planes: Sequence[Plane]) -> float:
    return float(np.concatenate([plane.ravel() for plane in planes]).mean()) if planes else float("nan")
