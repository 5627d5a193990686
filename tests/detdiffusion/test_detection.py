"""Detections and overlaps."""

import numpy as np
import pytest

from detdiffusion.detection import Detections, iou
from detdiffusion.errors import DetectorError


def detections(scores: list[float], labels: tuple[str, ...] | None = None) -> Detections:
    boxes = np.tile(np.array([0.0, 0.0, 0.5, 0.5], np.float32), (len(scores), 1))
    return Detections(labels or tuple("abcdefgh"[: len(scores)]), np.array(scores, np.float32), boxes)


def test_best_score_comes_first() -> None:
    found = detections([0.2, 0.9, 0.5])
    assert found.labels == ("b", "c", "a")
    assert found.scores.tolist() == pytest.approx([0.9, 0.5, 0.2])
    assert found.at_least(0.5).labels == ("b", "c")
    assert len(found.at_least(0.95)) == 0


def test_nothing_found_is_a_result() -> None:
    nothing = Detections((), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))
    assert len(nothing) == 0
    assert nothing.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    ("labels", "scores", "boxes"),
    [
        (("a",), [0.5, 0.5], [[0, 0, 1, 1]]),
        (("a",), [0.5], [[0, 0, 1]]),
        (("a",), [1.5], [[0, 0, 1, 1]]),
        (("a",), [float("nan")], [[0, 0, 1, 1]]),
        (("a",), [0.5], [[0, 0, float("inf"), 1]]),
    ],
)
def test_bad_detections_are_refused(labels: tuple[str, ...], scores: list[float], boxes: list[list[float]]) -> None:
    with pytest.raises(DetectorError):
        Detections(labels, np.array(scores, np.float32), np.array(boxes, np.float32))


def iou_by_counting(a: np.ndarray, b: np.ndarray, cells: int = 200) -> float:
    """Overlap of two boxes on a fine raster: another way to the same number."""
    y, x = (np.mgrid[:cells, :cells] + 0.5) / cells
    inside = [(x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3]) for box in (a, b)]
    return float((inside[0] & inside[1]).sum() / max((inside[0] | inside[1]).sum(), 1))


def test_iou_against_counting() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.6, (12, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.4, (12, 2))], 1)
    found = iou(boxes[:5], boxes[5:])
    assert found.shape == (5, 7)
    expected = [[iou_by_counting(a, b) for b in boxes[5:]] for a in boxes[:5]]
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], 1),
        ([0, 0, 0.5, 1], [0.5, 0, 1, 1], 0),
        ([0, 0, 0.5, 1], [0.25, 0, 0.75, 1], 1 / 3),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0),
    ],
)
def test_iou_of_known_pairs(a: list[float], b: list[float], expected: float) -> None:
    assert iou(np.array([a]), np.array([b]))[0, 0] == pytest.approx(expected)


def test_iou_of_nothing_has_a_shape() -> None:
    assert iou(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
    assert iou(np.zeros((2, 4)), np.zeros((0, 4))).shape == (2, 0)
