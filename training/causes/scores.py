"""How well causes are told: thresholds from held-out objects, precision and recall on unseen ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detdiffusion.models.cause_classifier import NONE, counted
from training.core.typed_json import Number

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CauseScore:
    """One cause, over many objects. NaN where there is nothing to count.

    counted: as of `detdiffusion.models.cause_classifier.counted`. shown: from the threshold up, where people are told.
    """

    objects: int  # that have it
    counted: int
    precision: Number
    recall: Number
    threshold: float | None  # None: it is never shown
    shown: int
    shown_precision: Number


@dataclass(frozen=True, slots=True)
class CauseScores:
    """All causes, over many objects.

    accuracy: share of objects of which exactly the true causes are counted.
    first: share of difficult objects whose likeliest cause is a true one.
    """

    objects: int
    accuracy: Number
    first: Number
    shown_precision: Number  # over all causes
    by_cause: Mapping[str, CauseScore]


LEAST = 0.5  # probability: what is more likely not there is never shown, however well causes are told apart


def find_thresholds(outputs: tuple[str, ...], found: Values, truth: Values, precision: float) -> dict[str, float]:
    """For each cause (not "none") the least probability that keeps the precision of those above it, were one more of
    them wrong: so few answers prove nothing; and no less than `LEAST`. A cause without one is left out.

    Args:
        found: probabilities [N, outputs].
        truth: [N, outputs], of 0 and 1.
    """
    pairs = zip(outputs, found.T, truth.T, strict=True)
    least = {name: _threshold(sure, true > 0, precision) for name, sure, true in pairs if name != NONE}
    return {name: threshold for name, threshold in least.items() if threshold is not None}


def _threshold(sure: Values, true: NDArray[np.bool_], precision: float) -> float | None:
    order = np.argsort(-sure, kind="stable")
    hits = true[order].cumsum() / (np.arange(len(order)) + 2)
    kept = np.flatnonzero(hits >= precision)
    return max(LEAST, round(float(sure[order[kept[-1]]]), 4)) if len(kept) else None


def score_causes(
    outputs: tuple[str, ...], found: Values, truth: Values, thresholds: Mapping[str, float]
) -> CauseScores:
    """Arguments as of `find_thresholds`."""
    true, likely = truth > 0, counted(outputs, found)
    least = np.array([thresholds.get(name, math.inf) for name in outputs], np.float32)
    shown = found >= least
    hard = ~true[:, outputs.index(NONE)]
    causes = [place for place, name in enumerate(outputs) if name != NONE]
    first = true[hard][:, causes][np.arange(hard.sum()), found[hard][:, causes].argmax(1)] if hard.any() else hard[:0]
    by_cause = {
        name: CauseScore(
            objects=int(true[:, place].sum()),
            counted=int(likely[:, place].sum()),
            precision=_share(true[likely[:, place], place]),
            recall=_share(likely[true[:, place], place]),
            threshold=thresholds.get(name),
            shown=int(shown[:, place].sum()),
            shown_precision=_share(true[shown[:, place], place]),
        )
        for place, name in enumerate(outputs)
    }
    return CauseScores(len(truth), _share((true == likely).all(1)), _share(first), _share(true[shown]), by_cause)


def _share(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if values.size else math.nan
