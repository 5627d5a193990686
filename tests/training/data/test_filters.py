"""Which pictures and objects make a layout."""

import argparse
import shlex
from dataclasses import replace

import pytest

from detdiffusion.errors import ConfigError
from detdiffusion.layout import MAX_OBJECTS
from training.data.checks import Reason
from training.data.filters import (
    EVERYTHING,
    NO_FILTER,
    LayoutFilter,
    add_filter_arguments,
    filter_of,
    filter_words,
)
from training.data.index import Entry

SMALL = "box of 0.02 of the image or less"


def entries(*sides: float, label: str = "cat", crowd: bool = False) -> list[Entry]:
    """Boxes of these widths and half the picture's height."""
    return [Entry(label, (0.0, 0.0, side, 0.5), crowd) for side in sides]


@pytest.mark.parametrize(
    ("layout_filter", "objects", "kept", "why", "gone"),
    [
        (LayoutFilter(), entries(0.5, 0.6, 0.7), 3, None, {}),
        (LayoutFilter(), entries(0.5, 0.6), 0, "fewer than 3 objects left", {Reason.IN_DROPPED: 2}),
        (LayoutFilter(), entries(*[0.5] * 8), 8, None, {}),
        (LayoutFilter(), entries(*[0.5] * 9), 0, "more than 8 objects left", {Reason.IN_DROPPED: 9}),
        (LayoutFilter(), entries(0.5, 0.6, 0.7, 0.04, 0.03), 3, None, {SMALL: 2}),  # exactly 2 % goes, too
        (LayoutFilter(), entries(0.5, 0.6, 0.04001), 3, None, {}),
        (
            LayoutFilter(),
            [*entries(0.5, 0.5, 0.5), *entries(0.5, crowd=True), *entries(0.5, label="other")],
            3,
            None,
            {"crowd": 1, "class other is ignored": 1},
        ),
        (
            LayoutFilter(crowds=True, ignored=()),
            [*entries(0.5, 0.5, crowd=True), *entries(0.5, label="other")],
            3,
            None,
            {},
        ),
        (LayoutFilter(min_objects=1), [], 0, "fewer than 1 object left", {}),
        (LayoutFilter(), entries(0.01, crowd=True), 0, "fewer than 3 objects left", {"crowd": 1}),
        (NO_FILTER, entries(1e-6, crowd=True, label="other"), 1, None, {}),
        (NO_FILTER, entries(*[0.5] * MAX_OBJECTS), MAX_OBJECTS, None, {}),
        (NO_FILTER, entries(*[0.5] * 101), 0, "more than 100 objects left", {Reason.IN_DROPPED: 101}),
        (NO_FILTER, [], 0, "fewer than 1 object left", {}),
    ],
)
def test_what_stays(
    layout_filter: LayoutFilter, objects: list[Entry], kept: int, why: str | None, gone: dict[str, int]
) -> None:
    selection = layout_filter.select(objects)
    assert (len(selection.kept), selection.dropped, dict(selection.dropped_objects)) == (kept, why, gone)
    assert len(selection.kept) + sum(selection.dropped_objects.values()) == len(objects)


def test_the_order_stays() -> None:
    objects = [*entries(0.9), *entries(0.01), *entries(0.3), *entries(0.6)]
    assert LayoutFilter().select(objects).kept == (objects[0], objects[2], objects[3])


@pytest.mark.parametrize(
    "bounds",
    [
        {"min_area": -0.1},
        {"min_area": 1.0},
        {"min_area": float("nan")},
        {"min_objects": -1},
        {"min_objects": 0, "max_objects": 0},
        {"min_objects": 9},
        {"max_objects": 101},
    ],
)
def test_bounds_are_checked(bounds: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bounds))):
        LayoutFilter(**bounds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("objects", "lost", "dropped"),
    [
        ([], 0, None),
        ([], 1, Reason.ALL_LOST),
        (entries(0.5, crowd=True), 0, Reason.ALL_LOST),
        (entries(0.5), 3, None),
    ],
)
def test_what_lost_its_objects_is_no_picture_of_nothing(objects: list[Entry], lost: int, dropped: str | None) -> None:
    assert replace(EVERYTHING, crowds=False).select(objects, lost).dropped == dropped


def test_nothing_can_be_drawn_of_pictures_of_nothing() -> None:
    parser = argparse.ArgumentParser()
    add_filter_arguments(parser, NO_FILTER)
    asked = parser.parse_args(["--min-objects", "0"])
    with pytest.raises(ConfigError, match="no layout can be made"):
        filter_of(asked)
    assert filter_of(asked, negatives=True) == EVERYTHING


@pytest.mark.parametrize(
    "bounds", [NO_FILTER, LayoutFilter(), LayoutFilter(0.05, 2, 9, crowds=True, ignored=("other", "sky other"))]
)
def test_a_filter_can_be_typed_again(bounds: LayoutFilter) -> None:
    for defaults in (NO_FILTER, LayoutFilter()):
        parser = argparse.ArgumentParser()
        add_filter_arguments(parser, defaults)
        assert filter_of(parser.parse_args(shlex.split(" ".join(filter_words(bounds))))) == bounds
