"""Thresholds and scores of causes, by hand."""

import math

import numpy as np
import pytest

from training.causes.scores import find_thresholds, score_causes

OUTPUTS = ("none", "colour", "blur")


def column(*rows: tuple[float, int]) -> tuple[np.ndarray, np.ndarray]:
    """(probability, truth) of one cause -> what `find_thresholds` takes; "none" and blur stay out of it."""
    found, truth = (np.zeros((len(rows), 3), np.float32) for _ in range(2))
    found[:, 1], truth[:, 1] = zip(*rows, strict=True)
    return found, truth


@pytest.mark.parametrize(
    ("rows", "precision", "threshold"),
    [
        ([(0.9, 1), (0.8, 1), (0.7, 1), (0.6, 0), (0.5, 1)], 0.75, 0.7),  # 3 of 3 + 1
        ([(0.9, 1), (0.8, 1), (0.7, 0), (0.6, 1), (0.5, 1)], 0.66, 0.5),  # 4 of 5 + 1, though the third is wrong
        ([(0.9, 1), (0.8, 1)], 0.75, None),  # too few to say so
        ([(0.9, 0), (0.8, 0)], 0.5, None),
    ],
)
def test_thresholds(rows: list[tuple[float, int]], precision: float, threshold: float | None) -> None:
    found = find_thresholds(OUTPUTS, *column(*rows), precision)
    assert found == ({} if threshold is None else {"colour": pytest.approx(threshold)})


def test_scores() -> None:
    found = np.array([[0.9, 0.1, 0.2], [0.2, 0.8, 0.6], [0.1, 0.7, 0.9], [0.1, 0.4, 0.3]], np.float32)
    truth = np.array([[1, 0, 0], [0, 1, 1], [0, 1, 0], [0, 0, 1]], np.float32)
    scores = score_causes(OUTPUTS, found, truth, {"colour": 0.75})
    assert (scores.objects, scores.accuracy, scores.shown_precision) == (4, 0.5, 1.0)
    assert scores.first == pytest.approx(1 / 3)  # colour; blur, which is not; colour, which is not
    colour, blur = scores.by_cause["colour"], scores.by_cause["blur"]
    assert (colour.objects, colour.counted, colour.precision, colour.recall) == (2, 2, 1.0, 1.0)
    assert (colour.threshold, colour.shown, colour.shown_precision) == (0.75, 1, 1.0)
    assert (blur.objects, blur.counted, blur.precision, blur.recall) == (2, 2, 0.5, 0.5)
    assert blur.threshold is None and blur.shown == 0 and math.isnan(blur.shown_precision)


def test_ordinary_objects_alone() -> None:
    scores = score_causes(OUTPUTS, np.array([[0.9, 0.1, 0.1]], np.float32), np.array([[1, 0, 0]], np.float32), {})
    assert scores.accuracy == 1.0 and math.isnan(scores.first) and math.isnan(scores.by_cause["blur"].recall)
