"""Confidence of objects, pairs, and the bootstrap against a plain one."""

from typing import TypeAlias

import numpy as np
import pytest

from detdiffusion.detection import Detections
from detdiffusion.errors import ConfigError
from detdiffusion.evaluation.bootstrap import bootstrap_ci
from detdiffusion.evaluation.comparison import compare, mean, object_confidences
from detdiffusion.layout import Attribute, Box, Layout

CAR, BUS, SKY = (0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)
Row: TypeAlias = tuple[str, float, tuple[float, float, float, float]]  # label, score, box
LAYOUT = Layout(
    8, 8, (Box("car", CAR, Attribute.EASY), Box("bus", BUS, Attribute.HARD), Box("sky", SKY, Attribute.BACKGROUND))
)


def found(*rows: Row) -> Detections:
    labels, scores, boxes = zip(*rows, strict=True) if rows else ((), (), np.zeros((0, 4)))
    return Detections(labels, np.array(scores, np.float32), np.array(boxes, np.float32))


@pytest.mark.parametrize(
    ("rows", "car", "bus"),
    [
        ((), 0.0, 0.0),
        ((("car", 0.9, CAR),), 0.9, 0.0),
        ((("car", 0.004, CAR),), 0.004, 0.0),
        ((("car", 0.2, CAR), ("car", 0.7, CAR)), 0.7, 0.0),  # the best one
        ((("bus", 0.9, CAR),), 0.0, 0.0),  # another class
        ((("car", 0.9, (0.0, 0.0, 0.5, 0.25)),), 0.9, 0.0),  # IoU of 0.5 is enough
        ((("car", 0.9, (0.0, 0.0, 0.5, 0.24)),), 0.0, 0.0),
        ((("car", 0.9, CAR), ("bus", 0.6, BUS), ("sky", 0.9, SKY)), 0.9, 0.6),
    ],
)
def test_confidence_of_each_object(rows: tuple[Row, ...], car: float, bus: float) -> None:
    np.testing.assert_allclose(object_confidences(LAYOUT, found(*rows)), [car, bus, np.nan], atol=1e-6)


def test_class_that_the_detector_cannot_know_is_nan() -> None:
    confidences = object_confidences(LAYOUT, found(("car", 0.9, CAR)), known_labels=("car",))
    assert np.isnan(confidences).tolist() == [False, True, True]


def test_pairs_by_hand() -> None:
    nan = float("nan")
    easy = [np.array([0.9, 0.8, nan]), np.array([0.7, 0.3, nan])]
    hard = [np.array([0.2, 0.6, nan]), np.array([0.7, 0.0, nan])]
    result = compare([LAYOUT, LAYOUT], easy, hard, min_score=0.5)
    assert [(row.pair, row.index, row.label) for row in result.rows] == [
        (0, 0, "car"),
        (0, 1, "bus"),
        (1, 0, "car"),
        (1, 1, "bus"),
    ]
    assert [row.drop for row in result.rows] == pytest.approx([0.7, 0.2, 0.0, 0.3])
    assert result.mean_drop == pytest.approx(0.3)
    assert (result.miss_rate_easy, result.miss_rate_hard) == (0.25, 0.5)
    assert result.ci95 == pytest.approx((0.15, 0.45))  # two pairs: the mean of either, twice, is the extreme
    assert result.rows[0].missed_hard
    assert not result.rows[0].missed_easy


def test_nothing_to_compare_has_no_numbers() -> None:
    result = compare([LAYOUT], [np.full(3, np.nan)], [np.full(3, np.nan)], 0.5)
    assert result.rows == ()
    assert np.isnan([result.mean_drop, *result.ci95, result.miss_rate_easy, result.miss_rate_hard]).all()


def plain_bootstrap(groups: list[np.ndarray], n: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    means = []
    for _ in range(n):
        drawn = [groups[i] for i in rng.integers(len(groups), size=len(groups))]
        means.append(np.concatenate(drawn).mean())
    return np.percentile(means, [2.5, 97.5])


def test_bootstrap_against_a_plain_one() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal(rng.normal(0.4, 0.3), 0.1, size=size) for size in rng.integers(1, 6, size=40)]
    member = [i for i, group in enumerate(groups) for _ in group]
    interval = bootstrap_ci(np.concatenate(groups), groups=member, count=4000)
    np.testing.assert_allclose(interval, plain_bootstrap(groups, 4000), atol=0.015)
    alone = bootstrap_ci(np.concatenate(groups), count=4000)
    assert alone[1] - alone[0] < interval[1] - interval[0]  # objects of one picture are not independent


def test_bootstrap_is_repeatable_and_checked() -> None:
    values = np.linspace(0, 1, 30)
    assert bootstrap_ci(values, seed=3) == bootstrap_ci(values, seed=3)
    assert bootstrap_ci([0.25] * 5) == (0.25, 0.25)
    assert np.isnan(bootstrap_ci([])).all()
    with pytest.raises(ConfigError, match="1 groups for 2 values"):
        bootstrap_ci([0.1, 0.2], groups=[0])


def test_mean_of_nothing() -> None:
    assert np.isnan(mean([]))
    assert mean(np.array([True, False])) == 0.5
