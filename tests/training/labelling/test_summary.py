"""Counts by class and attribute, as a table, as JSON and as a chart."""

import numpy as np
import pytest

from detdiffusion.drawing import ATTRIBUTE_COLOURS
from detdiffusion.layout import Attribute, Box, Layout
from training.labelling.summary import MAX_BARS, AttributeReport, ClassRow

EASY, HARD, BACKGROUND = Attribute


def layout(*objects: tuple[str, Attribute]) -> Layout:
    return Layout(8, 8, tuple(Box(label, (0, 0, 1, 1), attribute) for label, attribute in objects))


REPORT = AttributeReport.of(
    [
        layout(("cat", HARD), ("car", EASY), ("road", BACKGROUND), ("road", BACKGROUND)),
        layout(("car", HARD), ("car", EASY), ("car", EASY), ("apple", BACKGROUND), ("sky", BACKGROUND)),
    ]
)


def test_counts() -> None:
    assert REPORT.pictures == 2
    assert [row.label for row in REPORT.rows] == ["car", "cat", "road", "apple", "sky"]
    assert REPORT.rows[0] == ClassRow("car", easy=3, hard=1, background=0)
    assert REPORT.total == ClassRow("all", easy=3, hard=2, background=4)
    assert REPORT.hard_share == pytest.approx(0.4)
    assert REPORT.to_json() == {
        "pictures": 2,
        "objects": {
            "apple": {"background": 1},
            "car": {"easy": 3, "hard": 1},
            "cat": {"hard": 1},
            "road": {"background": 2},
            "sky": {"background": 1},
        },
        "easy_share": pytest.approx(0.6),
        "easy_share_by_class": {"car": 0.75, "cat": 0.0},
    }


def test_table() -> None:
    lines = REPORT.lines()
    assert len({len(line) for line in lines}) == 1, "columns stand under each other"
    assert [line.split()[-1] for line in lines] == ["share", "75.0%", "0.0%", "-", "-", "-", "60.0%"]


def test_nothing_is_reported_too() -> None:
    empty = AttributeReport.of([])
    assert (empty.total.objects, empty.total.easy_share, empty.hard_share) == (0, None, 0.0)
    assert len(empty.lines()) == 2 and empty.chart("yolo").height > 0


def area(report: AttributeReport, attribute: Attribute) -> int:
    """Pixels of an attribute's colour on a chart, its square in the legend left out."""
    pixels = np.asarray(report.chart("yolo11n"))
    return int((pixels == ATTRIBUTE_COLOURS[attribute]).all(-1).sum()) - 20 * 20


@pytest.mark.parametrize(("easy", "hard"), [(3, 1), (1, 1), (5, 0), (0, 2)])
def test_bars_are_as_long_as_their_shares(easy: int, hard: int) -> None:
    report = AttributeReport(1, (ClassRow("car", easy, hard, 0),))
    total = area(report, EASY) + area(report, HARD)
    assert area(report, EASY) / total == pytest.approx(easy / (easy + hard), abs=0.005)


def test_a_chart_of_many_classes_stays_within_bounds() -> None:
    rows = tuple(ClassRow(f"a class with a long name {number}", 1, 1, 0) for number in range(MAX_BARS + 40))
    full = AttributeReport(1, rows[:MAX_BARS])
    assert AttributeReport(1, rows).chart("y" * 200).size == full.chart("yolo").size
