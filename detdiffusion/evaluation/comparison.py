"""Layouts against detections: how sure a detector is of each object, and what asking for hard ones changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detdiffusion.detection import Detections, iou
from detdiffusion.evaluation.bootstrap import bootstrap_ci
from detdiffusion.layout import Attribute, Layout

MIN_IOU = 0.5

Values = NDArray[np.float64]


def object_confidences(
    layout: Layout, detections: Detections, min_iou: float = MIN_IOU, known_labels: Sequence[str] | None = None
) -> Values:
    """The detector's confidence in each object of a layout: [N] in 0..1.

    It is the best score of the object's class among detections with IoU >= `min_iou`, and 0 where there is none. NaN
    where the question makes no sense: background objects, and classes outside `known_labels` (if given).
    """
    confidences = np.zeros(len(layout.boxes))
    overlaps = iou(np.array([box.xyxy for box in layout.boxes]), detections.boxes_xyxy) >= min_iou  # [N, M]
    names = np.array(detections.labels, dtype=object)
    for i, box in enumerate(layout.boxes):
        if box.attribute is Attribute.BACKGROUND or (known_labels is not None and box.label not in known_labels):
            confidences[i] = np.nan
        else:
            matching = detections.scores[overlaps[i] & (names == box.label)]
            confidences[i] = matching.max(initial=0.0)
    return confidences


@dataclass(frozen=True, slots=True)
class PairRow:
    """One object in an easy and in a hard picture of the same layout and noise."""

    pair: int  # which layout and noise
    index: int  # of the object in its layout
    label: str
    easy: float
    hard: float
    missed_easy: bool
    missed_hard: bool

    @property
    def drop(self) -> float:
        """Confidence lost when the object is asked to be hard."""
        return self.easy - self.hard


@dataclass(frozen=True, slots=True)
class Comparison:
    """Easy against hard over many pairs, things only. Rates and means are over objects; NaN without any."""

    rows: tuple[PairRow, ...]
    mean_drop: float
    ci95: tuple[float, float]  # bootstrap over whole pairs
    miss_rate_easy: float
    miss_rate_hard: float


def compare(
    layouts: Sequence[Layout], easy: Sequence[Values], hard: Sequence[Values], min_score: float, seed: int = 0
) -> Comparison:
    """Statistics of P pairs.

    Args:
        layouts: of each pair.
        easy, hard: confidences of each pair's objects, as `object_confidences` gives them (NaN is left out).
        min_score: an object whose confidence is lower is missed.
        seed: of the bootstrap.
    """
    rows = tuple(
        PairRow(p, i, box.label, float(e[i]), float(h[i]), bool(e[i] < min_score), bool(h[i] < min_score))
        for p, (layout, e, h) in enumerate(zip(layouts, easy, hard, strict=True))
        for i, box in enumerate(layout.boxes)
        if not (np.isnan(e[i]) or np.isnan(h[i]))
    )
    drops = np.array([row.drop for row in rows])
    return Comparison(
        rows=rows,
        mean_drop=mean(drops),
        ci95=bootstrap_ci(drops, groups=[row.pair for row in rows], seed=seed),
        miss_rate_easy=mean([row.missed_easy for row in rows]),
        miss_rate_hard=mean([row.missed_hard for row in rows]),
    )


def mean(values: Sequence[float] | NDArray[Any]) -> float:
    """Mean as a plain number; NaN without values."""
    return float(np.mean(values)) if len(values) else float("nan")
