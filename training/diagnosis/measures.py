"""Evidence -> numbers: COCO's, by class, calibration, confusion, and what is hardest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from detdiffusion.detection import iou
from detdiffusion.evaluation.bootstrap import Counts, Estimate, estimate_mean, interval, resampled_ap
from detdiffusion.evaluation.coco_ap import class_statistics
from detdiffusion.evaluation.tide import FOREGROUND, RIGHT, is_kind
from training.core.schedule import OnStep
from training.diagnosis.evidence import Array, Bools, Evidence, pixels, runs
from training.diagnosis.result import Bin, Calibration, ClassRow, Confusion, HardImage, HardObject
from training.diagnosis.slices import Objects

METRICS = ("mAP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")  # COCO's order
BINS = 10
LEAST_SCORE = 0.05  # of detections that calibration looks at: below there are mostly those that nobody would use
HARDEST = 100  # objects and images that are listed


class Scores(NamedTuple):
    """COCO's numbers, over all classes and of each."""

    metrics: Mapping[str, float]
    classes: tuple[ClassRow, ...]


def objects_of(evidence: Evidence, min_score: float) -> Objects:
    """The counted objects: found is at IoU 0.5, by COCO's matching, with the least score or more."""
    counted = evidence.counted
    confidence = evidence.confidence[counted]
    found = ((confidence >= min_score) & (confidence > 0)).astype(np.int64)
    return Objects(evidence.image[counted], found, confidence, len(evidence.ids))


def coco_scores(evidence: Evidence, objects: Objects, on_step: OnStep) -> Scores:
    """Class by class, so that only one class is in memory; COCO's numbers are the means over classes."""
    counted_label = evidence.label[evidence.counted]
    rows, classes = [], []
    for number, label in enumerate(evidence.labels.tolist()):
        mine = counted_label == number
        statistics = class_statistics(*evidence.of_class(number)) if mine.any() else np.full(12, np.nan)
        on_step(number + 1, len(evidence.labels), {})
        if not mine.any():
            continue
        rows.append(statistics)
        recall, confidence = float(objects.found[mine].mean()), float(objects.confidence[mine].mean())
        whole, half = statistics[:2].tolist()
        classes.append(ClassRow(label, int(mine.sum()), whole, half, recall, confidence))
    table = np.array(rows).reshape(-1, len(METRICS))
    known = ~np.isnan(table)
    means = np.where(
        known.any(axis=0), np.where(known, table, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan
    )
    ordered = sorted(classes, key=lambda row: (row.recall, row.label))
    return Scores(dict(zip(METRICS, means.tolist(), strict=True)), tuple(ordered))


def map_interval(evidence: Evidence, drawn: Counts) -> tuple[float, float]:
    """95 % interval of mAP, over images."""
    return interval(resampled_ap(evidence.matches(), drawn)[1])


def overall(values: Array, objects: Objects, drawn: Counts) -> Estimate:
    """Mean over all objects."""
    return estimate_mean(values.astype(np.float64), objects.image, drawn)


def calibration(evidence: Evidence) -> Calibration:
    """How far confidence is from precision (expected calibration error: Guo et al., ICML 2017; of detections: Kueppers
    et al., CVPR workshops 2020)."""
    used = (evidence.score >= LEAST_SCORE) & ~evidence.in_crowd
    score = evidence.score[used].astype(np.float64)
    right = is_kind(evidence.kind[used], RIGHT)
    place = np.minimum((score * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    safe = np.maximum(count, 1)
    confidence = np.bincount(place, score, minlength=BINS) / safe
    precision = np.bincount(place, right, minlength=BINS) / safe
    total = count.sum()
    ece = float((count * np.abs(confidence - precision)).sum() / total) if total else float("nan")
    nan = float("nan")
    bins = [
        Bin(i / BINS, (i + 1) / BINS, n, *((float(confidence[i]), float(precision[i])) if n else (nan, nan)))
        for i, n in enumerate(count.tolist())
    ]
    return Calibration(ece, LEAST_SCORE, tuple(bins))


def confusion(evidence: Evidence, min_score: float) -> Confusion:
    """What detections of `min_score` or more say of every object. Right ones are set first; of the others each, surest
    first, takes the free object that it overlaps most, if by half or more, whatever its class."""
    labels = [label for number, label in enumerate(evidence.labels.tolist()) if _is_known(evidence, number)]
    place = {number: labels.index(label) for number, label in enumerate(evidence.labels.tolist()) if label in labels}
    shift = np.array([place.get(number, -1) for number in range(len(evidence.labels))])
    table = np.zeros((len(labels) + 1, len(labels) + 1), np.int64)
    sure = (evidence.score >= min_score) & ~evidence.in_crowd
    right = sure & is_kind(evidence.kind, RIGHT)
    free = evidence.counted.copy()
    free[evidence.about[right]] = False
    own = shift[evidence.found_label[right]]
    np.add.at(table, (own, own), 1)
    for found, about in _leftovers(evidence, sure & ~right, free):
        row = len(labels) if about is None else shift[evidence.label[about]]
        table[row, shift[evidence.found_label[found]]] += 1
        if about is not None:
            free[about] = False
    table[:, -1] += np.bincount(shift[evidence.label[free]], minlength=len(labels) + 1)
    return Confusion(tuple(labels), tuple(tuple(row) for row in table.tolist()))


def _is_known(evidence: Evidence, number: int) -> bool:
    return bool((evidence.label[evidence.counted] == number).any() or (evidence.found_label == number).any())


def _leftovers(evidence: Evidence, wrong: Bools, free: Bools) -> list[tuple[int, int | None]]:
    """Wrong detections, each with the free object that it lies on."""
    pairs: list[tuple[int, int | None]] = []
    at = np.flatnonzero(wrong)
    starts = np.searchsorted(evidence.image, np.arange(len(evidence.ids) + 1))
    for image, first, last in runs(evidence.found_image[at]):
        boxes = np.arange(starts[image], starts[image + 1])
        boxes = boxes[free[boxes]]
        size = evidence.sizes[image]
        overlaps = iou(pixels(evidence.found_box[at[first:last]], size), pixels(evidence.box[boxes], size)).copy()
        for row, found in zip(overlaps, at[first:last].tolist(), strict=True):
            best = int(row.argmax()) if len(row) else -1
            hit = best >= 0 and row[best] >= FOREGROUND
            pairs.append((found, int(boxes[best]) if hit else None))
            if hit:
                overlaps[:, best] = 0
    return pairs


def hardest(evidence: Evidence, min_score: float) -> tuple[tuple[HardObject, ...], tuple[HardImage, ...]]:
    """The objects and the images that the detector does worst."""
    at = np.flatnonzero(evidence.counted)
    worth = evidence.confidence[at].astype(np.float64) * evidence.overlap[at]
    first = at[np.lexsort((at, worth))[:HARDEST]]
    objects = [
        HardObject(
            str(evidence.ids[evidence.image[i]]),
            str(evidence.labels[evidence.label[i]]),
            tuple(round(float(side), 6) for side in evidence.box[i]),  # type: ignore[arg-type]  # four of them
            float(evidence.confidence[i]),
            float(evidence.overlap[i]),
            1 - float(evidence.confidence[i]) * float(evidence.overlap[i]),
        )
        for i in first.tolist()
    ]
    return tuple(objects), _hardest_images(evidence, at, worth, min_score)


def _hardest_images(evidence: Evidence, at: Array, worth: Array, min_score: float) -> tuple[HardImage, ...]:
    images = len(evidence.ids)
    missed = np.bincount(evidence.image[at], evidence.confidence[at] < min_score, minlength=images).astype(np.int64)
    count = np.bincount(evidence.image[at], minlength=images)
    wrong = (evidence.score >= min_score) & ~is_kind(evidence.kind, RIGHT) & ~evidence.in_crowd
    false = np.bincount(evidence.found_image[wrong], minlength=images)
    good = np.bincount(evidence.image[at], worth, minlength=images)
    whole = count + false
    hardness = np.where(whole > 0, 1 - good / np.maximum(whole, 1), 0.0)
    order = np.argsort(-hardness, kind="stable")[:HARDEST]
    return tuple(
        HardImage(str(evidence.ids[i]), int(count[i]), int(missed[i]), int(false[i]), float(hardness[i]))
        for i in order.tolist()
        if whole[i]
    )
