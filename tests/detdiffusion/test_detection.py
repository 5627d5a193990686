"""Detections and overlaps."""

import numpy as np
import pytest

from detdiffusion.detection import Detections, iou, mask_coverage
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


def corner(side: int, part: int) -> np.ndarray:
    """A square mask whose upper left `part` x `part` pixels are the object's."""
    mask = np.zeros((side, side), np.float32)
    mask[:part, :part] = 0.5
    return mask


@pytest.mark.parametrize(
    ("mask", "xyxy", "expected"),
    [
        (corner(10, 5), (0.0, 0.0, 0.5, 0.5), 1.0),
        (corner(10, 5), (0.0, 0.0, 1.0, 1.0), 0.25),
        (corner(10, 5), (0.99, 0.99, 1.0, 1.0), 0.0),  # within one pixel
        (np.ones((20, 20), np.float32), (0.5, 0.5, 0.501, 0.501), 1.0),
        (np.ones((3, 3), np.float32), (0.5, 0.5, np.nextafter(0.5, 1), np.nextafter(0.5, 1)), 1.0),  # a sliver
        (corner(10, 10) - 0.01, (0.0, 0.0, 1.0, 1.0), 0.0),  # just below what counts
        # The edge cuts a pixel: 5 of the box's 5.6 columns are covered. Whole pixels would say 5/5, or 5/6 = 0.83.
        (np.tile(np.arange(10) < 5, (10, 1)).astype(np.float32), (0.0, 0.0, 0.56, 1.0), 5 / 5.6),
        (np.tile(np.arange(10) < 5, (10, 1)).astype(np.float32), (0.46, 0.0, 0.56, 1.0), 0.4),
        # Other sides: 4 columns by 2 rows, the left column covered; box x 0.5..3.5 columns, y 0.5..2 rows.
        (np.tile(np.array([1, 0, 0, 0], np.float32), (2, 1)), (0.125, 0.25, 0.875, 1.0), 0.5 / 3),
    ],
)
def test_share_of_a_box_that_a_mask_covers(
    mask: np.ndarray, xyxy: tuple[float, float, float, float], expected: float
) -> None:
    assert mask_coverage(mask, xyxy) == pytest.approx(expected, abs=1e-12)
