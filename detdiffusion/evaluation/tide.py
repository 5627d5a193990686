"""Why detections are wrong and objects are missed, and what every kind of error costs: TIDE.

Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, sections
2.1 and 2.2, with the choices of its published tool (tidecv 1.0.1) where the paper leaves them open; they are named
below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detdiffusion.detection import iou
from detdiffusion.evaluation.bootstrap import resampled_ap
from detdiffusion.evaluation.coco_ap import ClassMatches, greedy_matches

FOREGROUND, BACKGROUND = 0.5, 0.1  # t_f and t_b: IoU from which on a box is right, and up to which it shows nothing
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # COCO's; the first one is t_f
_RECALLS = np.arange(101) / 100  # the tool's: some lie a rounding beside COCO's, and hits of few objects fall on them
_SCORE_STEPS = 10_000  # of a score that people read

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class ErrorType(StrEnum):
    """The six kinds of error (section 2.1)."""

    CLASS = "cls"  # right place, wrong class
    LOCATION = "loc"  # right class, wrong place
    BOTH = "both"  # neither, near an object
    DUPLICATE = "dup"  # right, but a surer detection has this object already
    BACKGROUND = "bkg"  # nothing is there
    MISSED = "miss"  # an object that no detection found and that no class or location error is about


RIGHT = "right"  # no error
KINDS = (RIGHT, *(kind.value for kind in ErrorType if kind is not ErrorType.MISSED))  # of a detection, by number
_NUMBER = {name: number for number, name in enumerate(KINDS)}


class Labelled(NamedTuple):
    """Boxes of one image with their classes: labels [N] (numbers), boxes_px [N, 4] (x1, y1, x2, y2)."""

    labels: Ints
    boxes_px: Floats


@dataclass(frozen=True, eq=False, slots=True)
class ImageMatches:
    """Of the D detections of one image, surest first, among its N objects.

    owners [10, D]: the object that each one has found by COCO's rule, at IoU 0.50:0.05:0.95; -1: none. kinds [D]:
    places in `KINDS`. about [D]: the object that a right detection has, or that a class or location error is about;
    -1: none. in_crowd [D]: not right, and in a crowd of its class: it counts neither way. overlaps [D]: the best IoU
    with an object of the same class.
    """

    owners: Ints
    kinds: NDArray[np.uint8]
    about: Ints
    in_crowd: Bools
    overlaps: Floats


def match_image(objects: Labelled, found: Labelled, crowds: Labelled) -> ImageMatches:
    """The matches of one image.

    Args:
        found: surest first.
        crowds: regions of many objects, by class.
    """
    overlaps = np.asarray(iou(found.boxes_px, objects.boxes_px), np.float64)  # [D, N]
    same = found.labels[:, None] == objects.labels[None, :]
    own, other = np.where(same, overlaps, 0.0), np.where(same, 0.0, overlaps)
    owners = greedy_matches(own, len(found.labels), THRESHOLDS)
    used = np.zeros(len(objects.labels), np.bool_)
    used[owners[0][owners[0] >= 0]] = True
    best_own, best_other = _best(own), _best(other)
    # The order of the questions, and which ends of the intervals belong to them, are those of the tool.
    answers = (
        (owners[0] >= 0, RIGHT),
        ((best_own >= BACKGROUND) & (best_own <= FOREGROUND), ErrorType.LOCATION),
        (best_other >= FOREGROUND, ErrorType.CLASS),
        (_best(np.where(used, own, 0.0)) >= FOREGROUND, ErrorType.DUPLICATE),
        (_best(overlaps) <= BACKGROUND, ErrorType.BACKGROUND),
    )
    numbers = [_NUMBER[name] for _, name in answers]
    kinds = np.select([answer for answer, _ in answers], numbers, _NUMBER[ErrorType.BOTH]).astype(np.uint8)
    about = owners[0].copy()
    if overlaps.size:
        about = np.where(kinds == _NUMBER[ErrorType.LOCATION], own.argmax(axis=1), about)
        about = np.where(kinds == _NUMBER[ErrorType.CLASS], other.argmax(axis=1), about)
    in_crowd = (owners[0] < 0) & _in_crowd(found, crowds)
    return ImageMatches(owners, kinds, about, in_crowd, best_own)


def is_kind(kinds: NDArray[np.uint8], name: str) -> Bools:
    """Which detections are of a kind: [D]."""
    return np.asarray(kinds == _NUMBER[name])


@dataclass(frozen=True, eq=False, slots=True)
class Errors:
    """All images: truths [K] (objects of each class), objects [N] (their classes), and of the detections, image by
    image: labels [D], scores [D], kinds [D], about [D] (places in `objects`, -1: none), in_crowd [D]."""

    truths: Ints
    objects: Ints
    labels: Ints
    scores: NDArray[np.floating]
    kinds: NDArray[np.uint8]
    about: Ints
    in_crowd: Bools

    def missed(self) -> Bools:
        """Objects that nothing found, and that no class or location error is about: [N]."""
        seen = np.zeros(len(self.objects), np.bool_)
        seen[self.about[self.about >= 0]] = True
        return ~seen

    def wrong(self, kind: ErrorType, least: float = 0.0) -> Bools:
        """Detections of a kind, outside of crowds: [D]; or missed objects: [N].

        Args:
            least: score from which on detections count. What a surer one is about does not depend on those below.
        """
        kept = self.scores >= least
        if kind is ErrorType.MISSED:
            return replace(self, about=np.where(kept, self.about, -1)).missed()
        return is_kind(self.kinds, kind) & kept & ~self.in_crowd

    def count(self, kind: ErrorType, least: float = 0.0) -> int:
        """Of `wrong`."""
        return int(self.wrong(kind, least).sum())

    def best_score(self) -> float:
        """The least score of detections with which F1 (right class, IoU of 0.5 or more, all classes together) is best,
        rounded down to four digits; 0 where no detection is right. The tool counts down to the lowest score, of which
        there are as many as a detector likes to give."""
        kept = np.flatnonzero(~self.in_crowd)
        order = kept[np.argsort(-self.scores[kept], kind="stable")]
        right, scores = is_kind(self.kinds, RIGHT)[order].cumsum(), self.scores[order]
        if not len(order) or not right[-1]:
            return 0.0
        f1 = 2 * right / (np.arange(1, len(order) + 1) + len(self.objects))
        ends = np.append(scores[1:] < scores[:-1], True)  # detections of one score stand or fall together
        best = float(scores[np.where(ends, f1, -1).argmax()])
        return math.floor(best * _SCORE_STEPS) / _SCORE_STEPS


def ap50(errors: Errors) -> float:
    """Mean over classes of AP at IoU 0.5, in points. As in the tool, a class that is found and has no object counts as
    0; NaN without classes."""
    right = is_kind(errors.kinds, RIGHT)
    return _mean_ap(errors.truths, errors.labels, errors.scores, right, ~errors.in_crowd)


def error_costs(errors: Errors) -> dict[ErrorType, float]:
    """By how many points `ap50` would rise if errors of one kind were mended and all others stayed (section 2.2)."""
    before = ap50(errors)
    return {kind: max(0.0, _mended(errors, kind) - before) for kind in ErrorType}


def _mended(errors: Errors, kind: ErrorType) -> float:
    """`ap50` once errors of a kind are mended. Class and location errors become right where they are the surest such
    error about an object that nothing has found, and go otherwise; other detections go; missed objects count no more.
    """
    right = is_kind(errors.kinds, RIGHT)
    labels, truths, hits = errors.labels, errors.truths, right
    kept = ~errors.in_crowd
    if kind is ErrorType.MISSED:
        truths = truths - np.bincount(errors.objects[errors.missed()], minlength=len(truths))
    else:
        wrong = is_kind(errors.kinds, kind)
        mended = wrong & _claims(errors)
        kept = (kept & ~wrong) | mended  # as in the tool, one in a crowd may be mended, too
        hits = right | mended
        if kind is ErrorType.CLASS:
            labels = np.where(mended, errors.objects[errors.about], labels) if len(errors.objects) else labels
    return _mean_ap(truths, labels, errors.scores, hits, kept, last=right)


def _claims(errors: Errors) -> Bools:
    """Of every object that nothing found, the surest class or location error about it: [D]."""
    right = is_kind(errors.kinds, RIGHT)
    taken = np.zeros(len(errors.objects), np.bool_)
    taken[errors.about[right]] = True
    at = np.flatnonzero((errors.about >= 0) & ~right)
    at = at[~taken[errors.about[at]]]
    ranked = at[np.argsort(-errors.scores[at], kind="stable")]
    _, first = np.unique(errors.about[ranked], return_index=True)
    claims = np.zeros(len(errors.kinds), np.bool_)
    claims[ranked[first]] = True
    return claims


def _mean_ap(
    truths: Ints, labels: Ints, scores: NDArray[np.floating], hits: Bools, kept: Bools, last: Bools | None = None
) -> float:
    """In points. last: those that stand behind others of the same score."""
    behind = np.zeros(len(labels), np.bool_) if last is None else last
    at = np.flatnonzero(kept)
    at = at[np.lexsort((behind[at], -scores[at], labels[at]))]
    starts = np.searchsorted(labels[at], np.arange(len(truths) + 1))
    classes: list[ClassMatches] = []
    nothing = 0  # classes that are found and have no object
    for label, objects in enumerate(truths.tolist()):
        own = at[starts[label] : starts[label + 1]]
        if objects > 0:
            classes.append(ClassMatches(np.array([objects]), np.zeros(len(own), np.int64), hits[own][None]))
        else:
            nothing += len(own) > 0
    if not classes and not nothing:
        return float("nan")
    once = np.ones((1, 1), np.int64)  # all images are one here, which is drawn once
    mean = float(resampled_ap(classes, once, _RECALLS)[0][0]) if classes else 0.0
    return 100 * mean * len(classes) / (len(classes) + nothing)


def _best(overlaps: Floats) -> Floats:
    """Of every detection: [D, N] -> [D], 0 without objects."""
    return np.asarray(overlaps.max(axis=1, initial=0.0))


def _in_crowd(found: Labelled, crowds: Labelled) -> Bools:
    """Detections more than half of which lies in a crowd of their class: [D]."""
    low = np.maximum(found.boxes_px[:, None, :2], crowds.boxes_px[None, :, :2])  # [D, C, 2]
    high = np.minimum(found.boxes_px[:, None, 2:], crowds.boxes_px[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(-1)
    area = np.clip(found.boxes_px[:, 2:] - found.boxes_px[:, :2], 0, None).prod(-1)
    share = inside / np.where(area > 0, area, 1)[:, None]
    share = np.where(found.labels[:, None] == crowds.labels[None, :], share, 0.0)
    return _best(share) > FOREGROUND
