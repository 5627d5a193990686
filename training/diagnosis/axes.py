"""By what objects are told apart: class, size, place, crowding, truncation and, where there are masks, what hides
them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.diagnosis.evidence import Array, Bools, Evidence, Role, runs

THIRDS = (1 / 3, 2 / 3)
TOUCHED = 0.2  # share of a box that another one covers, up to which it is touched, and beyond which it is overlapped
HIDDEN = 0.8  # of the class's usual share of the box that a mask fills: an object with less is partly hidden
EDGE = 1.0  # pixels from the edge of the image within which a box is cut by it
_DIGITS = 3  # significant ones, of bounds that come from the data

Codes = NDArray[np.int16]
Bound = Any  # a class name, yes or no, or (from, below)


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """One way to tell objects apart.

    words: names of its values; bounds: what each value means; codes [N]: the value of each object, -1: none of them.
    """

    name: str
    words: Sequence[str]
    bounds: Sequence[Bound]
    codes: Codes


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where sizes are cut (shares of the image), and what share of its box an object of each class usually fills. They
    come from the data, and stay with them: layouts are told apart by the same ones."""

    sizes: tuple[float, float]
    fills: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, evidence: Evidence) -> Cuts:
        """Thirds of the data's own sizes, so that no third is empty, whatever the data."""
        counted = evidence.counted
        area = areas(evidence.box[counted])
        low, high = np.quantile(area, THIRDS) if len(area) else (0.0, 0.0)
        fills: dict[str, float] = {}
        for number, label in enumerate(evidence.labels.tolist()):
            own = evidence.fill[counted & (evidence.label == number)]
            own = own[~np.isnan(own)]
            if len(own):
                fills[label] = short(float(np.median(own)))
        return cls((short(float(low)), short(float(high))), fills)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Cuts:
        """As a diagnosis keeps them."""
        low, high = values["sizes"]
        return cls((low, high), values["fills"])


def axes_of(evidence: Evidence, cuts: Cuts) -> list[Axis]:
    """Of all boxes of the evidence: [N] codes on every axis. The first one is the class."""
    labels = evidence.labels.tolist()
    found = [Axis("class", labels, labels, evidence.label.astype(np.int16))]
    pixel = EDGE / evidence.sizes[evidence.image]
    thing = evidence.role <= Role.UNKNOWN
    found += box_axes(evidence.box, covered(evidence.box, evidence.image, thing), pixel, cuts)
    if cuts.fills:
        usual = np.array([cuts.fills.get(label, np.nan) for label in labels])[evidence.label]
        share = evidence.fill / usual
        codes = np.asarray(np.where(np.isnan(share), -1, share < HIDDEN), np.int16)
        found.append(Axis("occlusion", ("in view", "hidden"), ((HIDDEN, 1.0), (0.0, HIDDEN)), codes))
    return found


def box_axes(box: Array, cover: Array, pixel: Array, cuts: Cuts) -> list[Axis]:
    """Size, place, crowding and truncation of boxes [N, 4] in fractions.

    Args:
        cover: [N], share of each that the box which covers most of it covers.
        pixel: [N, 2], a pixel of its image in fractions.
    """
    small, large = cuts.sizes
    low, high = THIRDS
    thirds = ((0.0, low), (low, high), (high, 1.0))
    cut = np.asarray((box[:, :2] <= pixel).any(axis=1) | (box[:, 2:] >= 1 - pixel).any(axis=1), np.int16)
    x, y = ((box[:, side] + box[:, side + 2]) / 2 for side in (0, 1))
    crowding = np.where(cover > TOUCHED, 2, cover > 0)
    sizes = ((0.0, small), (small, large), (large, 1.0))
    coverage = ((0.0, 0.0), (0.0, TOUCHED), (TOUCHED, 1.0))
    return [
        Axis("size", ("small", "medium", "large"), sizes, _code(areas(box), (small, large))),
        Axis("x", ("left", "centre", "right"), thirds, _code(x, THIRDS)),
        Axis("y", ("top", "middle", "bottom"), thirds, _code(y, THIRDS)),
        Axis("crowding", ("apart", "touched", "overlapped"), coverage, np.asarray(crowding, np.int16)),
        Axis("truncation", ("whole", "cut by the edge"), (False, True), cut),
    ]


def areas(box: Array) -> Array:
    """Shares of the image: [N, 4] -> [N]."""
    return np.asarray((box[:, 2] - box[:, 0]).astype(np.float64) * (box[:, 3] - box[:, 1]))


def covered(box: Array, image: Array, among: Bools) -> Array:
    """Share of each box that the one which covers most of it covers, of those `among` in its image: [N]. `image` is in
    order."""
    out = np.zeros(len(box))
    for _, start, end in runs(image):
        if end - start > 1:
            out[start:end] = _covered(box[start:end], among[start:end])
    return out


def _covered(box: Array, among: Bools) -> Array:
    low = np.maximum(box[:, None, :2], box[None, :, :2])
    high = np.minimum(box[:, None, 2:], box[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(-1) * among[None, :]  # [N, N]
    np.fill_diagonal(inside, 0)
    return np.asarray(inside.max(axis=1) / np.maximum(areas(box), 1e-12))


def _code(values: Array, cuts: Sequence[float]) -> Codes:
    return np.asarray(np.searchsorted(np.asarray(cuts), values, side="right"), np.int16)


def short(value: float) -> float:
    """To three significant digits: a bound that people can read."""
    return float(f"{value:.{_DIGITS}g}")
