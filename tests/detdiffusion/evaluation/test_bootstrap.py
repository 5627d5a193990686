"""Intervals of scores: AP of resampled pictures against computing it anew on the drawn list."""

import numpy as np
import pytest

from detdiffusion.detection import Detections
from detdiffusion.evaluation.bootstrap import (
    estimate_mean,
    estimate_ratio,
    interval,
    resampled_ap,
    resampled_mean,
    resamples,
)
from detdiffusion.evaluation.coco_ap import coco_ap, coco_scores
from detdiffusion.layout import Box, Layout

LABELS = ("bird", "boat", "cup")


def case(pictures: int) -> tuple[list[Layout], list[Detections]]:
    """Found, missed, misnamed and invented objects, and a picture without any detection; no two equal scores."""
    rng = np.random.default_rng(pictures)
    layouts, detections = [], []
    for _ in range(pictures):
        corners = rng.uniform(0, 0.5, (rng.integers(1, 6), 2))
        boxes = np.concatenate([corners, corners + rng.uniform(0.2, 0.5, corners.shape)], axis=1)
        labels = rng.choice(LABELS, len(boxes), p=(0.7, 0.25, 0.05)).tolist()
        layouts.append(Layout(160, 120, tuple(Box(a, tuple(b)) for a, b in zip(labels, boxes.tolist(), strict=True))))
        seen = np.concatenate([boxes, boxes[::-1]]) + rng.normal(0, 0.03, (2 * len(boxes), 4))
        named = np.where(rng.random(len(seen)) < 0.8, [*labels, *labels[::-1]], rng.choice(LABELS, len(seen))).tolist()
        count = 0 if rng.random() < 0.1 else len(seen)
        scores = rng.random(count).astype(np.float32)
        detections.append(Detections(tuple(named[:count]), scores, seen[:count].astype(np.float32)))
    return layouts, detections


@pytest.mark.parametrize("pictures", [1, 2, 12])
def test_resampled_ap_is_that_of_the_drawn_list(pictures: int) -> None:
    layouts, detections = case(pictures)
    drawn = resamples(pictures, count=10)
    ap50, ladder = resampled_ap(coco_scores(layouts, detections)[1], drawn)
    for row, times in enumerate(drawn):
        places = np.repeat(np.arange(pictures), times)
        expected = coco_ap([layouts[place] for place in places], [detections[place] for place in places])
        assert (ap50[row], ladder[row]) == pytest.approx((expected.AP50, expected.mAP), abs=1e-12)


def test_parts_of_the_draws_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    matches, drawn = coco_scores(*case(12))[1], resamples(12, count=9)
    whole = resampled_ap(matches, drawn)
    monkeypatch.setattr("detdiffusion.evaluation.bootstrap._CELLS", 100)
    assert [part.tolist() for part in resampled_ap(matches, drawn)] == [part.tolist() for part in whole]


def test_draws() -> None:
    drawn = resamples(30)
    assert drawn.shape == (400, 30) and (drawn.sum(axis=1) == 30).all()
    assert (resamples(30) == drawn).all() and not (resamples(30, seed=1) == drawn).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(30), abs=0.25)


def test_without_objects_there_is_nothing_to_estimate() -> None:
    drawn = resamples(3)
    assert all(np.isnan(part).all() for part in resampled_ap([], drawn))
    assert np.isnan(interval(np.full(5, np.nan))).all()
    empty = estimate_mean(np.array([np.nan]), [1], drawn)
    assert np.isnan([empty.mean, *empty.ci95]).all()


def test_mean_of_resampled_objects() -> None:
    values, owners = np.array([1.0, 0.0, 0.5, np.nan]), [0, 0, 2, 2]
    drawn = np.array([[1, 1, 1], [2, 0, 0], [0, 1, 2], [0, 3, 0]])
    assert resampled_mean(values, owners, drawn) == pytest.approx([0.5, 0.5, 0.5, np.nan], nan_ok=True)
    assert estimate_mean(values, owners, drawn).mean == pytest.approx(0.5)


def test_interval_covers_the_mean() -> None:
    """Of 200 samples of 50 normal numbers, about 95 % have the true mean in their interval."""
    rng, drawn = np.random.default_rng(0), resamples(50)
    hits = 0
    for _ in range(200):
        low, high = estimate_mean(rng.normal(0.3, 1, 50), range(50), drawn).ci95
        hits += low <= 0.3 <= high
    assert 180 <= hits <= 199


def test_ratio_of_means() -> None:
    values, others = np.array([1.0, 3.0, np.nan, 9.0]), np.array([2.0, 8.0, 1.0, np.nan])
    found = estimate_ratio(values, others, resamples(4))
    assert found.mean == pytest.approx(0.4)  # not (1/2 + 3/8) / 2
    assert found.ci95 == pytest.approx((3 / 8, 1 / 2))  # draws of one picture alone
    same = estimate_ratio(others[:2], others[:2], resamples(2))
    assert (same.mean, *same.ci95) == (1, 1, 1)
