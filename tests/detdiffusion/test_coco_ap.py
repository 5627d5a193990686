"""COCO's scores against a plain computation of average precision, and against pycocotools reading files."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detdiffusion.detection import Detections, iou
from detdiffusion.errors import ConfigError
from detdiffusion.evaluation.coco_ap import coco_ap
from detdiffusion.layout import Box, Layout

LABELS = ("bird", "boat", "cup")
SIZE = (200, 160)


def some_layouts(rng: np.random.Generator, count: int) -> list[Layout]:
    return [Layout(*SIZE, tuple(some_box(rng) for _ in range(rng.integers(1, 6)))) for _ in range(count)]


def some_box(rng: np.random.Generator) -> Box:
    x, y = rng.uniform(0, 0.6, 2).tolist()
    width, height = rng.uniform(0.15, 0.4, 2).tolist()
    return Box(str(rng.choice(LABELS)), (x, y, min(x + width, 1.0), min(y + height, 1.0)))


def some_detections(rng: np.random.Generator, layout: Layout) -> Detections:
    """Every object found more or less well, some under another name, and some that are not there."""
    boxes = np.array([box.xyxy for box in layout.boxes] + [some_box(rng).xyxy for _ in range(2)])
    boxes[:, 2:] = np.clip(boxes[:, 2:] + rng.normal(0, 0.03, (len(boxes), 2)), 0, 1)
    labels = [box.label if rng.uniform() < 0.8 else str(rng.choice(LABELS)) for box in layout.boxes]
    scores = rng.permutation(np.linspace(0.05, 0.95, len(boxes))) + rng.uniform(-0.02, 0.02, len(boxes))
    return Detections((*labels, *rng.choice(LABELS, 2).tolist()), scores.astype(np.float32), boxes.astype(np.float32))


def plain_ap(layouts: list[Layout], detections: list[Detections], label: str, threshold: float) -> float:
    """Average precision of one class, from its definition: greedy matching, 101 recall points."""
    rows = [(p, *row) for p, d in enumerate(detections) for row in zip(d.labels, d.scores, d.boxes_xyxy, strict=True)]
    ranked = sorted((row for row in rows if row[1] == label), key=lambda row: -row[2])
    truth = [[box.xyxy for box in layout.boxes if box.label == label] for layout in layouts]
    taken = [[False] * len(boxes) for boxes in truth]
    hits = []
    for picture, _, _, box in ranked:
        overlaps = iou(np.array([box]), np.array(truth[picture]))[0]
        free = [(value, i) for i, value in enumerate(overlaps) if value >= threshold and not taken[picture][i]]
        hits.append(bool(free))
        if free:
            taken[picture][max(free)[1]] = True
    recall = np.cumsum(hits) / sum(map(len, truth))
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(np.mean([precision[recall >= point].max(initial=0) for point in np.linspace(0, 1, 101)]))


@pytest.fixture(scope="module")
def case() -> tuple[list[Layout], list[Detections]]:
    rng = np.random.default_rng(5)
    layouts = some_layouts(rng, 12)
    return layouts, [some_detections(rng, layout) for layout in layouts]


def test_against_the_definition(case: tuple[list[Layout], list[Detections]]) -> None:
    found = coco_ap(*case)
    for threshold, value in ((0.5, found.AP50), (0.75, found.AP75)):
        expected = np.mean([plain_ap(*case, label, threshold) for label in LABELS])
        assert value == pytest.approx(expected, abs=1e-4)
    ladder = [plain_ap(*case, label, t) for label in LABELS for t in np.arange(0.5, 1, 0.05)]
    assert found.mAP == pytest.approx(np.mean(ladder), abs=2e-3)


def test_against_pycocotools_on_files(case: tuple[list[Layout], list[Detections]], tmp_path: Path) -> None:
    layouts, detections = case
    scale = np.array([*SIZE, *SIZE])

    def xywh(xyxy: np.ndarray) -> list[float]:
        x1, y1, x2, y2 = (xyxy * scale).tolist()
        return [x1, y1, x2 - x1, y2 - y1]

    truth = [
        (p, LABELS.index(box.label), xywh(np.array(box.xyxy))) for p, one in enumerate(layouts) for box in one.boxes
    ]
    (tmp_path / "truth.json").write_text(
        json.dumps(
            {
                "images": [{"id": p, "width": SIZE[0], "height": SIZE[1]} for p in range(len(layouts))],
                "categories": [{"id": i, "name": name} for i, name in enumerate(LABELS)],
                "annotations": [
                    {"id": i + 1, "image_id": p, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
                    for i, (p, c, b) in enumerate(truth)
                ],
            }
        )
    )
    results = [
        {"image_id": p, "category_id": LABELS.index(label), "bbox": xywh(box), "score": float(score)}
        for p, one in enumerate(detections)
        for label, score, box in zip(one.labels, one.scores, one.boxes_xyxy, strict=True)
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(tmp_path / "truth.json")
        evaluation = COCOeval(coco, coco.loadRes(str(tmp_path / "results.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    found = coco_ap(layouts, detections)
    assert [found.mAP, found.AP50, found.AP75] == pytest.approx(evaluation.stats[:3].tolist(), abs=1e-9)


def test_perfect_absent_and_nothing(case: tuple[list[Layout], list[Detections]]) -> None:
    layouts, _ = case
    perfect = [
        Detections(
            one.labels, np.full(len(one.boxes), 0.9, np.float32), np.array([b.xyxy for b in one.boxes], np.float32)
        )
        for one in layouts
    ]
    nothing = [Detections((), np.zeros(0, np.float32), np.zeros((0, 4), np.float32)) for _ in layouts]
    assert coco_ap(layouts, perfect).mAP == pytest.approx(1)
    assert coco_ap(layouts, nothing).AP50 == 0
    assert np.isnan(coco_ap(layouts, perfect, labels=()).mAP)
    assert coco_ap(layouts, perfect, labels=("cup",)).mAP == pytest.approx(1)
    with pytest.raises(ConfigError, match="12 layouts, 0 detections"):
        coco_ap(layouts, [])


def test_only_asked_classes_count(case: tuple[list[Layout], list[Detections]]) -> None:
    layouts, detections = case
    expected = plain_ap(layouts, detections, "cup", 0.5)
    assert pytest.approx(expected, abs=1e-4) == coco_ap(layouts, detections, labels=("cup", "zebra")).AP50
