"""COCO's average precision of detections against layouts, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from detdiffusion.detection import Detections
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Layout


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """COCO's summary as fractions; NaN where the layouts hold no object of the classes asked for."""

    mAP: float  # mean over IoU 0.50:0.05:0.95
    AP50: float
    AP75: float


def coco_ap(
    layouts: Sequence[Layout], detections: Sequence[Detections], labels: Collection[str] | None = None
) -> AveragePrecision:
    """AP of the detections on P pictures against the boxes of their layouts.

    Args:
        layouts, detections: one of each a picture.
        labels: classes that count (things, usually); all classes of the layouts by default.
    """
    if len(layouts) != len(detections):
        raise ConfigError(f"{len(layouts)} layouts, {len(detections)} detections: give one of each a picture")
    counted = sorted({box.label for layout in layouts for box in layout.boxes if labels is None or box.label in labels})
    index = {label: i + 1 for i, label in enumerate(counted)}
    truth = _truth(layouts, index)
    if not truth["annotations"]:
        return AveragePrecision(float("nan"), float("nan"), float("nan"))
    return _summarise(truth, _results(layouts, detections, index))


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


def _summarise(truth: dict[str, Any], results: list[dict[str, Any]]) -> AveragePrecision:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not results:
        return AveragePrecision(0.0, 0.0, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return AveragePrecision(*(float(value) for value in evaluation.stats[:3]))


def _xywh(xyxy: Sequence[float], layout: Layout) -> list[float]:
    """Fractions -> pixels, as COCO writes boxes: left, top, width, height."""
    x1, y1, x2, y2 = xyxy
    return [x1 * layout.width, y1 * layout.height, (x2 - x1) * layout.width, (y2 - y1) * layout.height]
