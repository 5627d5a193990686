"""From which confidence on a detector's detections should count: where precision and recall are best together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detdiffusion.detection import Detections
from detdiffusion.evaluation.comparison import object_confidences
from detdiffusion.layout import Layout

_LOWEST, _HIGHEST, _STEP = 0.05, 0.95, 0.01


class Threshold(NamedTuple):
    """A confidence from which on detections count, and what they are worth then."""

    score: float
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def best_threshold(layouts: Sequence[Layout], detections: Sequence[Detections]) -> Threshold:
    """The one with the best F1 (right class, IoU of 0.5 or more); the middle of those that are equally good.

    Args:
        layouts: without stuff, one of each image.
    """
    found = np.concatenate([object_confidences(*pair) for pair in zip(layouts, detections, strict=True)])
    said = np.concatenate([one.scores for one in detections])
    steps = np.arange(_LOWEST, _HIGHEST, _STEP)
    rows = [_at(score, found, said) for score in steps.tolist()]
    best = max(row.f1 for row in rows)
    equal = [row for row in rows if row.f1 == best]
    return equal[len(equal) // 2]


def _at(score: float, found: NDArray[np.float64], said: NDArray[np.float32]) -> Threshold:
    """found: confidence in every object; said: scores of all detections."""
    hits, answers = int((found >= score).sum()), int((said >= score).sum())
    return Threshold(score, hits / max(1, answers), hits / max(1, len(found)))
