"""COCO's average precision of detections against layouts, by faster-coco-eval: pycocotools' numbers, faster."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detdiffusion.detection import Detections
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Layout

MAX_DETECTIONS = 100  # of one class in one picture; COCO's rule

Statistics = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """COCO's summary as fractions; NaN where the layouts hold no object of the classes (or of the size) asked for."""

    mAP: float  # mean over IoU 0.50:0.05:0.95
    AP50: float
    AP75: float
    APs: float  # objects under 32x32 pixels of the layout
    APm: float
    APl: float  # 96x96 pixels and more


@dataclass(frozen=True, eq=False, slots=True)
class ClassMatches:
    """Which detections of one class found an object, as COCO matches them: the score of any list of these pictures can
    be added up from it.

    Shapes: truths [P] (objects of the class in each picture), pictures [D] (of each detection, best score first), hits
    [10, D] (whether it found an object, at IoU 0.50:0.05:0.95).
    """

    truths: NDArray[np.int64]
    pictures: NDArray[np.int64]
    hits: NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class BoxesOfClass:
    """Boxes of one class on many images: images [N] (numbers from 0), xywh_px [N, 4] (left, top, width, height),
    values [N]: the score of what is found, whether an object is a crowd of them."""

    images: NDArray[np.int64]
    xywh_px: NDArray[np.float64]
    values: NDArray[Any]


def coco_ap(
    layouts: Sequence[Layout], detections: Sequence[Detections], labels: Collection[str] | None = None
) -> AveragePrecision:
    """AP of the detections on P pictures against the boxes of their layouts.

    Args:
        layouts, detections: one of each a picture.
        labels: classes that count (things, usually); all classes of the layouts by default.
    """
    return coco_scores(layouts, detections, labels)[0]


def coco_scores(
    layouts: Sequence[Layout], detections: Sequence[Detections], labels: Collection[str] | None = None
) -> tuple[AveragePrecision, list[ClassMatches]]:
    """As `coco_ap`, and the matches behind it, one of each class that the layouts hold."""
    index = _category_ids(layouts, labels)
    evaluation = _evaluated(layouts, detections, index)
    if evaluation is None:
        return AveragePrecision(*[float("nan")] * 6), []
    summary = AveragePrecision(*_statistics(evaluation)[:6].tolist())
    return summary, _matches(layouts, detections, index, evaluation.ious, evaluation.params.iouThrs)


def coco_statistics(
    layouts: Sequence[Layout], detections: Sequence[Detections], labels: Collection[str] | None = None
) -> Statistics:
    """COCO's 12 numbers in its order (AP, then average recall): [12], NaN where nothing counts."""
    evaluation = _evaluated(layouts, detections, _category_ids(layouts, labels))
    return np.full(12, np.nan) if evaluation is None else _statistics(evaluation)


def _category_ids(layouts: Sequence[Layout], labels: Collection[str] | None) -> dict[str, int]:
    """Counted classes that the layouts hold -> numbers from 1, by name."""
    counted = {box.label for layout in layouts for box in layout.boxes if labels is None or box.label in labels}
    return {label: number for number, label in enumerate(sorted(counted), start=1)}


def class_statistics(truth: BoxesOfClass, found: BoxesOfClass) -> Statistics:
    """COCO's 12 numbers in its order (AP, then average recall) of one class on many images: [12], NaN where nothing
    counts. Over all classes COCO's number is the mean of those that have one.

    What is found in a crowd counts neither way. Memory is that of this class alone.
    """
    if not len(truth.images):
        return np.full(12, np.nan)
    images = np.union1d(truth.images, found.images)
    annotations = [
        {"id": number, "image_id": image + 1, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
        for number, (image, box, crowd) in enumerate(
            zip(truth.images.tolist(), truth.xywh_px.tolist(), truth.values.astype(int).tolist(), strict=True), start=1
        )
    ]
    results = [
        {"image_id": image + 1, "category_id": 1, "bbox": box, "score": score}
        for image, box, score in zip(found.images.tolist(), found.xywh_px.tolist(), found.values.tolist(), strict=True)
    ]
    listed = [{"id": image + 1, "width": 1, "height": 1} for image in images.tolist()]  # boxes are in pixels already
    categories = [{"id": 1, "name": "it"}]
    whole = {"info": {}, "images": listed, "categories": categories, "annotations": annotations}
    return _statistics(_evaluation(whole, results))


def _evaluated(layouts: Sequence[Layout], detections: Sequence[Detections], index: dict[str, int]) -> Any | None:
    """A finished evaluation of faster-coco-eval; None if the layouts hold no object that counts."""
    if len(layouts) != len(detections):
        raise ConfigError(f"{len(layouts)} layouts, {len(detections)} detections: give one of each an image")
    if not index:
        return None
    return _evaluation(_truth(layouts, index), _results(layouts, detections, index))


def _evaluation(truth: dict[str, Any], results: list[dict[str, Any]]) -> Any:
    """By faster-coco-eval, of a COCO instances file and a results file."""
    from faster_coco_eval import COCO, COCOeval_faster

    whole = COCO(truth)
    evaluation = COCOeval_faster(whole, whole.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def _statistics(evaluation: Any) -> Statistics:
    values = np.asarray(evaluation.stats[:12], np.float64)
    return np.where(values < 0, np.nan, values)  # COCO says -1 where there is nothing to find


def _truth(layouts: Sequence[Layout], index: dict[str, int]) -> dict[str, Any]:
    """The layouts as a COCO instances file."""
    annotations: list[dict[str, Any]] = []
    for image_id, layout in enumerate(layouts, start=1):
        for box in layout.boxes:
            if box.label in index:
                xywh = _xywh(box.xyxy, layout)
                annotation = {"id": len(annotations) + 1, "image_id": image_id, "category_id": index[box.label]}
                annotations.append({**annotation, "bbox": xywh, "area": xywh[2] * xywh[3], "iscrowd": 0})
    return {
        "info": {},
        "images": [{"id": i, "width": layout.width, "height": layout.height} for i, layout in enumerate(layouts, 1)],
        "categories": [{"id": number, "name": label} for label, number in index.items()],
        "annotations": annotations,
    }


def _results(
    layouts: Sequence[Layout], detections: Sequence[Detections], index: dict[str, int]
) -> list[dict[str, Any]]:
    """The detections of counted classes as a COCO results file."""
    return [
        {"image_id": image_id, "category_id": index[label], "bbox": _xywh(box, layout), "score": float(score)}
        for image_id, (layout, found) in enumerate(zip(layouts, detections, strict=True), start=1)
        for label, score, box in zip(found.labels, found.scores, found.boxes_xyxy.tolist(), strict=True)
        if label in index
    ]


def _matches(
    layouts: Sequence[Layout],
    detections: Sequence[Detections],
    index: dict[str, int],
    overlaps: Mapping[tuple[int, int], Any],
    thresholds: NDArray[np.float64],
) -> list[ClassMatches]:
    """The matches of every class, from the overlaps [D, N] that COCO measured by picture and class (ids from 1)."""
    thresholds = np.minimum(thresholds, 1 - 1e-10)  # as COCO: a perfect box passes any threshold
    truths = np.zeros((len(index), len(layouts)), np.int64)
    scores: list[list[NDArray[np.float32]]] = [[] for _ in index]
    owners: list[list[int]] = [[] for _ in index]
    hits: list[list[NDArray[np.bool_]]] = [[np.zeros((len(thresholds), 0), np.bool_)] for _ in index]
    for picture, (layout, found) in enumerate(zip(layouts, detections, strict=True)):
        for label in layout.labels:
            if label in index:
                truths[index[label] - 1, picture] += 1
        ids = np.array([index.get(label, 0) for label in found.labels], np.int64)
        for category in set(ids.tolist()) - {0}:
            best = found.scores[ids == category][:MAX_DETECTIONS]
            measured = np.asarray(overlaps[picture + 1, category])
            hits[category - 1].append(greedy_matches(measured, len(best), thresholds) >= 0)
            scores[category - 1].append(best)
            owners[category - 1] += [picture] * len(best)
    return [
        _ranked(truths[row], scores[row], np.asarray(owners[row], np.int64), np.concatenate(hits[row], axis=1))
        for row in range(len(index))
    ]


def _ranked(
    truths: NDArray[np.int64],
    scores: Sequence[NDArray[np.float32]],
    pictures: NDArray[np.int64],
    hits: NDArray[np.bool_],
) -> ClassMatches:
    order = np.argsort(-np.concatenate([*scores, np.zeros(0, np.float32)]), kind="stable")
    return ClassMatches(truths, pictures[order], hits[:, order])


def greedy_matches(overlaps: NDArray[np.float64], count: int, thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    """COCO's matching in one picture: overlaps [D, N] -> the object of each detection, -1 without one, [T, D]. Each
    detection, best first, takes the free object that it overlaps most, if by the threshold or more; of equals the
    last."""
    owners = np.full((len(thresholds), count), -1, np.int64)
    if overlaps.size == 0:
        return owners
    free = np.ones((len(thresholds), overlaps.shape[1]), np.bool_)
    rows = np.arange(len(thresholds))
    for d in np.flatnonzero(overlaps.max(axis=1) >= thresholds[0]):
        allowed = np.where(free & (overlaps[d] >= thresholds[:, None]), overlaps[d], -1.0)  # [T, N]
        best = allowed.shape[1] - 1 - allowed[:, ::-1].argmax(axis=1)  # [T]
        found = allowed[rows, best] >= 0
        owners[found, d] = best[found]
        free[rows[found], best[found]] = False
    return owners


def _xywh(xyxy: Sequence[float], layout: Layout) -> list[float]:
    """Fractions -> pixels, as COCO writes boxes: left, top, width, height."""
    x1, y1, x2, y2 = xyxy
    return [x1 * layout.width, y1 * layout.height, (x2 - x1) * layout.width, (y2 - y1) * layout.height]
