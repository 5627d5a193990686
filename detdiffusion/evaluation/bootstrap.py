"""How far a score could be off: intervals by drawing whole pictures again, with replacement.

Objects of one picture are not independent, so pictures are what is drawn. AP is not computed anew for every draw: the
matches stay, and only how often each of them counts changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detdiffusion.errors import ConfigError
from detdiffusion.evaluation.coco_ap import ClassMatches

RESAMPLES = 400
_CELLS = 4_000_000  # numbers held at once while AP is resampled: 32 MB

Counts = NDArray[np.int64]
Samples = NDArray[np.float64]
COCO_RECALLS: Samples = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % interval; NaN where there is nothing to count."""

    mean: float
    ci95: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """As reports have it: mean, and both ends of the interval."""
        return {"mean": self.mean, "ci95": list(self.ci95)}


def resamples(pictures: int, seed: int = 0, count: int = RESAMPLES) -> Counts:
    """How often each picture is drawn in each resample: [R, P]. The same for every set of P pictures, so that two of
    them (easy, hard) can be compared draw by draw."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(pictures, np.full(pictures, 1 / pictures), size=count)


def interval(samples: Samples) -> tuple[float, float]:
    """2.5th and 97.5th percentile, NaN left out; NaN without a number."""
    known = samples[~np.isnan(samples)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_ci(
    values: Sequence[float] | Samples, groups: Sequence[int] | None = None, seed: int = 0, count: int = 2000
) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values` (NaN without any).

    With `groups` (one per value) whole groups are drawn, for values of one image are not independent.

    Raises:
        ConfigError: there are more or fewer groups than values.
    """
    values = np.asarray(values, np.float64)
    if len(values) == 0:
        return float("nan"), float("nan")
    if groups is not None and len(groups) != len(values):
        raise ConfigError(f"{len(groups)} groups for {len(values)} values: give one per value")
    _, member = np.unique(np.arange(len(values)) if groups is None else groups, return_inverse=True)
    sums, counts = np.bincount(member, values), np.bincount(member)  # [G]
    drawn = resamples(len(sums), seed, count)
    return interval(drawn @ sums / (drawn @ counts))


def estimate_mean(values: Samples, pictures: Sequence[int] | Counts, drawn: Counts) -> Estimate:
    """The mean of values [N] that belong to `pictures` [N]; NaN values do not count. drawn: of `resamples`."""
    known = ~np.isnan(values)
    middle = float(values[known].mean()) if known.any() else float("nan")
    return Estimate(middle, interval(resampled_mean(values, pictures, drawn)))


def estimate_ratio(values: Samples, others: Samples, drawn: Counts) -> Estimate:
    """The mean of `values` [P], one a picture, as a share of that of `others` [P]; a picture where either is NaN does
    not count. drawn: of `resamples`."""
    pictures, unknown = np.arange(len(values)), np.isnan(values) | np.isnan(others)
    parts = [np.where(unknown, np.nan, part) for part in (values, others)]
    whole, samples = (
        np.divide(*(resampled_mean(part, pictures, times) for part in parts))
        for times in (np.ones_like(drawn[:1]), drawn)
    )
    return Estimate(float(whole[0]), interval(samples))


def resampled_mean(values: Samples, pictures: Sequence[int] | Counts, drawn: Counts) -> Samples:
    """The same mean in every resample: [R]."""
    known, owners = ~np.isnan(values), np.asarray(pictures, np.int64)
    sums = drawn @ np.bincount(owners[known], values[known], minlength=drawn.shape[1])
    counts = drawn @ np.bincount(owners[known], minlength=drawn.shape[1])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def resampled_ap(
    matches: Sequence[ClassMatches], drawn: Counts, recalls: Samples = COCO_RECALLS
) -> tuple[Samples, Samples]:
    """AP50 and mAP of every resample: [R], [R]; NaN where no object was drawn. recalls: at which precision is read.

    Exactly COCO's AP of the drawn list of pictures, unless detections of different pictures have equal scores: their
    order is then that of the list.
    """
    if not matches:
        return np.full(len(drawn), np.nan), np.full(len(drawn), np.nan)
    ladders = np.stack([_class_ap(one, drawn, recalls) for one in matches])  # [K, R, 10]
    there = ~np.isnan(ladders[:, :, 0])  # a class without an object in the draw does not count
    mean = np.where(there[:, :, None], ladders, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)[:, None]  # [R, 10]
    mean[~there.any(axis=0)] = np.nan
    return mean[:, 0], mean.mean(axis=1)


def _class_ap(matches: ClassMatches, drawn: Counts, recalls: Samples) -> Samples:
    """[R, 10]: by resample and threshold; NaN where the class has no object."""
    rows = max(1, _CELLS // max(1, len(matches.pictures)))
    parts = [_class_ap_of(matches, drawn[start : start + rows], recalls) for start in range(0, len(drawn), rows)]
    return np.concatenate(parts)


def _class_ap_of(matches: ClassMatches, drawn: Counts, recalls: Samples) -> Samples:
    times = drawn[:, matches.pictures]  # [R, D]: how often each detection counts
    so_far = times.cumsum(axis=1)
    truths = drawn @ matches.truths  # [R]
    out = np.zeros((len(drawn), len(matches.hits)))
    for threshold, hits in enumerate(matches.hits):
        at = np.flatnonzero(hits)  # precision can rise at a hit alone, so nothing else is looked at
        found = times[:, at].cumsum(axis=1)  # [R, M]
        precision = found / np.maximum(so_far[:, at], 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = found / np.maximum(truths, 1)[:, None]
        passed = np.searchsorted(recalls, recall, side="right")  # [R, M]
        out[:, threshold] = (envelope * np.diff(passed, prepend=0, axis=1)).sum(axis=1) / len(recalls)
    out[truths == 0] = np.nan
    return out
