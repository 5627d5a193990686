"""COCO's scores against a plain computation of average precision, and against pycocotools reading files."""

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detdiffusion.detection import Detections, iou
from detdiffusion.errors import ConfigError
from detdiffusion.evaluation.coco_ap import coco_ap, coco_scores, coco_statistics
from detdiffusion.layout import Box, EmptyLayout, Layout

LABELS = ("bird", "boat", "cup")
SIZE = (200, 160)
Look = Callable[[np.random.Generator, Layout], Detections]


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


def crowded(rng: np.random.Generator, layout: Layout) -> Detections:
    """More than a hundred of one class in one picture, many with equal scores."""
    boxes = np.array([some_box(rng).xyxy for _ in range(130)], np.float32)
    return Detections(("bird",) * 130, (rng.integers(1, 9, 130) / 10).astype(np.float32), boxes)


def exact(_: np.random.Generator, layout: Layout) -> Detections:
    boxes = np.array([box.xyxy for box in layout.boxes], np.float32)
    return Detections(layout.labels, np.full(len(boxes), 0.9, np.float32), boxes)


def sized(layouts: list[Layout], width: int) -> list[Layout]:
    """The same boxes in other pixels: COCO's small, medium and large begin elsewhere."""
    return [Layout(width, width * 3 // 4, layout.boxes) for layout in layouts]


@pytest.mark.parametrize("width", [64, 200, 640])
@pytest.mark.parametrize("look", [some_detections, crowded, exact])
def test_the_twelve_numbers_are_those_of_pycocotools(look: Look, width: int, tmp_path: Path) -> None:
    """To the last digit that double precision has: pycocotools reads files with the same boxes. It adds 2e-16 to some
    denominators, which faster-coco-eval leaves out."""
    rng = np.random.default_rng(width)
    layouts = sized(some_layouts(rng, 10), width)
    detections = [look(rng, layout) for layout in layouts]
    expected = by_pycocotools(layouts, detections, tmp_path)
    found = coco_statistics(layouts, detections)
    assert np.where(np.isnan(found), -1, found) == pytest.approx(np.array(expected), rel=0, abs=1e-15)
    assert list(astuple(coco_ap(layouts, detections))) == pytest.approx(found[:6].tolist(), abs=0, nan_ok=True)


def by_pycocotools(layouts: list[Layout], detections: list[Detections], folder: Path) -> list[float]:
    def xywh(xyxy: Sequence[float], layout: Layout) -> list[float]:
        x1, y1, x2, y2 = xyxy
        return [x1 * layout.width, y1 * layout.height, (x2 - x1) * layout.width, (y2 - y1) * layout.height]

    labels = sorted({label for layout in layouts for label in layout.labels})
    images = [{"id": p, "width": one.width, "height": one.height} for p, one in enumerate(layouts)]
    truth = [
        {"image_id": p, "category_id": labels.index(box.label), "bbox": xywh(box.xyxy, one), "iscrowd": 0}
        for p, one in enumerate(layouts)
        for box in one.boxes
    ]
    annotations = [{"id": i + 1, "area": row["bbox"][2] * row["bbox"][3], **row} for i, row in enumerate(truth)]
    categories = [{"id": i, "name": name} for i, name in enumerate(labels)]
    (folder / "truth.json").write_text(
        json.dumps({"images": images, "categories": categories, "annotations": annotations})
    )
    results = [
        {"image_id": p, "category_id": labels.index(label), "bbox": xywh(box, layouts[p]), "score": float(score)}
        for p, one in enumerate(detections)
        for label, score, box in zip(one.labels, one.scores, one.boxes_xyxy.tolist(), strict=True)
        if label in labels
    ]
    (folder / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(folder / "truth.json")
        evaluation = COCOeval(coco, coco.loadRes(str(folder / "results.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return list(evaluation.stats.tolist())


def test_matches_by_hand() -> None:
    """Two of three detections overlap the same box: the surer one has it, at every threshold that it reaches."""
    layouts = [Layout(100, 100, (Box("bird", (0.0, 0.0, 1.0, 1.0)),)), Layout(100, 100, (Box("cup", (0, 0, 1, 1)),))]
    boxes = np.array([(0, 0, 1, 1), (0, 0, 1, 0.72), (0, 0, 0.2, 0.2)], np.float32)
    seen = Detections(("bird",) * 3, np.array([0.3, 0.8, 0.5], np.float32), boxes)
    other = Detections(("bird",), np.array([0.4], np.float32), boxes[:1])
    _, (bird, cup) = coco_scores(layouts, [seen, other])
    assert (bird.truths.tolist(), cup.truths.tolist()) == ([1, 0], [0, 1])
    assert bird.pictures.tolist() == [0, 0, 1, 0]
    assert bird.hits[0].tolist() == [True, False, False, False]
    assert bird.hits[5].tolist() == [False, False, False, True]  # 0.75: 0.72 is too little, and the next one has it
    assert cup.hits.shape == (10, 0)


def test_what_is_found_in_a_picture_of_nothing_counts_against_the_detector() -> None:
    box = Box("cat", (0.1, 0.1, 0.6, 0.6))
    layouts = [Layout(100, 100, (box,)), EmptyLayout(100, 100, ())]
    right, wrong = (Detections(("cat",), np.array([score]), np.array([box.xyxy])) for score in (0.5, 0.9))
    none = Detections((), np.zeros(0), np.zeros((0, 4)))
    assert pytest.approx(1) == coco_ap(layouts, [right, none]).AP50
    assert pytest.approx(0.5) == coco_ap(layouts, [right, wrong]).AP50


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
    assert coco_ap(layouts, nothing).APm == 0 and np.isnan(coco_ap(layouts, nothing).APl)
    assert np.isnan(coco_ap(layouts, perfect, labels=()).mAP)
    assert coco_ap(layouts, perfect, labels=("cup",)).mAP == pytest.approx(1)
    with pytest.raises(ConfigError, match="12 layouts, 0 detections"):
        coco_ap(layouts, [])


def test_only_asked_classes_count(case: tuple[list[Layout], list[Detections]]) -> None:
    layouts, detections = case
    expected = plain_ap(layouts, detections, "cup", 0.5)
    assert pytest.approx(expected, abs=1e-4) == coco_ap(layouts, detections, labels=("cup", "zebra")).AP50
