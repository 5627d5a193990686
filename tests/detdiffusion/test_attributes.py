"""Eq. 2 and the strategies."""

from typing import Any, TypeAlias

import numpy as np
import pytest

from detdiffusion.attributes import AttributeRule, Strategy, apply_strategy, label_attributes
from detdiffusion.detection import Detections
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.layout import Attribute, Box, Layout

EASY, HARD, BACKGROUND = Attribute.EASY, Attribute.HARD, Attribute.BACKGROUND
KNOWN = ("car", "bus")
Row: TypeAlias = tuple[str, float, tuple[float, float, float, float]]  # label, score, box


def found(*rows: Row) -> Detections:
    labels, scores, boxes = zip(*rows, strict=True) if rows else ((), (), np.zeros((0, 4)))
    return Detections(labels, np.array(scores, np.float32), np.array(boxes, np.float32))


@pytest.mark.parametrize(
    ("row", "rule", "expected"),
    [
        (("car", 0.9, (0.0, 0.0, 0.5, 0.5)), AttributeRule(), EASY),
        (("car", 0.51, (0.0, 0.0, 0.5, 0.5)), AttributeRule(), EASY),
        (("car", 0.5, (0.0, 0.0, 0.5, 0.5)), AttributeRule(), HARD),  # the score must be above gamma
        (("car", 0.9, (0.0, 0.0, 0.5, 0.25)), AttributeRule(), HARD),  # the IoU must be above beta: here 0.5
        (("car", 0.9, (0.0, 0.0, 0.5, 0.26)), AttributeRule(), EASY),
        (("bus", 0.9, (0.0, 0.0, 0.5, 0.5)), AttributeRule(), HARD),  # another class
        (("bus", 0.9, (0.0, 0.0, 0.5, 0.5)), AttributeRule(match_class=False), EASY),
        (("car", 0.3, (0.0, 0.0, 0.5, 0.5)), AttributeRule(min_score=0.25), EASY),
        (("car", 0.9, (0.0, 0.0, 0.5, 0.4)), AttributeRule(min_iou=0.85), HARD),
    ],
)
def test_one_object(
    row: tuple[str, float, tuple[float, float, float, float]], rule: AttributeRule, expected: Attribute
) -> None:
    layout = Layout(8, 8, (Box("car", (0.0, 0.0, 0.5, 0.5)),))
    assert label_attributes(layout, found(row), KNOWN, rule).boxes[0].attribute is expected


def test_each_object_on_its_own() -> None:
    boxes = (Box("car", (0.0, 0.0, 0.5, 0.5)), Box("bus", (0.5, 0.5, 1.0, 1.0)), Box("sky", (0.0, 0.0, 1.0, 1.0)))
    rows = (("car", 0.9, (0.0, 0.0, 0.5, 0.5)), ("sky", 0.99, (0.0, 0.0, 1.0, 1.0)))
    labelled = label_attributes(Layout(8, 8, boxes), found(*rows), KNOWN)
    assert [box.attribute for box in labelled.boxes] == [EASY, HARD, BACKGROUND]


def test_nothing_found_is_all_hard() -> None:
    layout = Layout(8, 8, (Box("car", (0.0, 0.0, 0.5, 0.5)), Box("sky", (0.0, 0.0, 1.0, 1.0), EASY)))
    assert [box.attribute for box in label_attributes(layout, found(), KNOWN).boxes] == [HARD, BACKGROUND]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ORIGIN, [EASY, HARD, BACKGROUND]),
        (Strategy.EASY, [EASY, EASY, BACKGROUND]),
        (Strategy.HARD, [HARD, HARD, BACKGROUND]),
    ],
)
def test_strategies_leave_background_alone(strategy: Strategy, expected: list[Attribute]) -> None:
    boxes = tuple(Box("car", (0.0, 0.0, 0.5, 0.5), attribute) for attribute in (EASY, HARD, BACKGROUND))
    assert [box.attribute for box in apply_strategy(Layout(8, 8, boxes), strategy).boxes] == expected


def test_a_strategy_may_be_named_by_its_text() -> None:
    layout = Layout(8, 8, (Box("car", (0.0, 0.0, 0.5, 0.5), EASY),))
    hard: Any = "hard"
    assert apply_strategy(layout, hard).boxes[0].attribute is HARD
    odd: Any = "harder"
    with pytest.raises(ConfigError, match="strategy 'harder' needs to be one of origin, easy, hard"):
        apply_strategy(layout, odd)


def test_strategy_needs_attributes() -> None:
    with pytest.raises(LayoutError, match=r"object 1 \(car\): it has no attribute yet"):
        apply_strategy(Layout(8, 8, (Box("car", (0.0, 0.0, 0.5, 0.5)),)), Strategy.EASY)


@pytest.mark.parametrize("values", [{"min_score": 1.0}, {"min_score": -0.1}, {"min_iou": 1.0}])
def test_rule_is_checked(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        AttributeRule(**values)  # type: ignore[arg-type]


def test_where_all_are_asked_to_be_hard_no_object_has_a_difficulty_of_its_own() -> None:
    layout = Layout(64, 64, (Box("car", (0, 0, 1, 1), Attribute.EASY, 0.3),))
    assert apply_strategy(layout, Strategy.ORIGIN).boxes[0].difficulty == 0.3
    assert apply_strategy(layout, Strategy.HARD).boxes[0] == Box("car", (0, 0, 1, 1), Attribute.HARD)
