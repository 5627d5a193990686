"""The threshold with the best F1, against numbers worked out by hand."""

import numpy as np
import pytest

from detdiffusion.detection import Detections
from detdiffusion.evaluation.threshold import Threshold, best_threshold
from detdiffusion.layout import Box, Layout

LEFT, RIGHT = (0.0, 0.0, 0.4, 0.4), (0.6, 0.6, 1.0, 1.0)
LAYOUT = Layout(64, 64, (Box("cat", LEFT), Box("car", RIGHT)))


def _found(*rows: tuple[str, float, tuple[float, ...]]) -> Detections:
    labels, scores, boxes = zip(*rows, strict=True)
    return Detections(labels, np.array(scores, np.float32), np.array(boxes, np.float32))


def test_between_the_faintest_hit_and_the_false_alarms() -> None:
    seen = _found(("cat", 0.9, LEFT), ("car", 0.4, RIGHT), ("cat", 0.2, RIGHT), ("car", 0.2, LEFT))
    best = best_threshold([LAYOUT], [seen])
    assert 0.2 < best.score <= 0.4 and (best.precision, best.recall, best.f1) == (1, 1, 1)
    assert best.score == pytest.approx(0.3, abs=0.02), "the middle of what is equally good"


def test_a_false_alarm_that_costs_more_than_a_hit_is_worth() -> None:
    alarms = [("cat", 0.5, RIGHT)] * 4
    best = best_threshold([LAYOUT], [_found(("cat", 0.9, LEFT), *alarms, ("car", 0.3, RIGHT))])
    assert best.score > 0.5 and (best.precision, best.recall) == (1, 0.5)
    assert best.f1 == pytest.approx(2 / 3)


def test_nothing_found() -> None:
    assert best_threshold([LAYOUT], [_found(("cat", 0.9, RIGHT))]).f1 == 0
    assert Threshold(0.5, 0.0, 0.0).f1 == 0
