"""Layouts: what is refused and how it is said, the JSON form, the place in a PNG."""

import json
import math
from typing import Any

import pytest

from detdiffusion.errors import LayoutError
from detdiffusion.layout import MAX_OBJECTS, Attribute, Box, EmptyLayout, Layout

CAR = {"label": "car", "box": [0.1, 0.2, 0.5, 0.6], "attribute": "hard"}


def layout_json(*objects: Any, **changes: Any) -> dict[str, Any]:
    return {"width": 256, "height": 128, "objects": list(objects), **changes}


def problems(data: Any) -> tuple[str, ...]:
    with pytest.raises(LayoutError) as caught:
        Layout.from_json(data)
    return caught.value.problems


def test_json_goes_round() -> None:
    values = layout_json(CAR, {"label": "road", "box": [0.0, 0.5, 1.0, 1.0]})
    layout = Layout.from_json(json.dumps(values))
    assert layout.to_json() == values
    assert Layout.from_json(layout.to_json()) == layout
    assert [box.attribute for box in layout.boxes] == [Attribute.HARD, None]
    assert layout.boxes[0].area == pytest.approx(0.16)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([0.5, 0.2, 0.1, 0.6], "inverted"),
        ([0.1, 0.6, 0.5, 0.2], "inverted"),
        ([0.1, 0.2, 0.1, 0.6], "empty"),
        ([-0.1, 0.2, 0.5, 0.6], "outside the image"),
        ([0.1, 0.2, 0.5, 1.01], "outside the image"),
        ([0.1, float("nan"), 0.5, 0.6], "not finite"),
        ([0.1, 0.2, float("inf"), 0.6], "not finite"),
        ([0.1, 0.2, 0.5], "four numbers"),
        ([0.1, 0.2, 0.5, "1"], "four numbers"),
        ([0.1, 0.2, 0.5, True], "four numbers"),
        ("0123", "four numbers"),
        (None, "four numbers"),
    ],
)
def test_bad_box_is_named_by_number_and_label(box: Any, message: str) -> None:
    (problem,) = problems(layout_json(CAR, {"label": "bus", "box": box}))
    assert problem.startswith("object 2 (bus): box ")
    assert message in problem


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "this is not JSON"),
        (b"\xff\xfe\x00", "this is not JSON"),
        ("[" * 100_000, "this is not JSON"),
        ("[1]", "JSON object, got list"),
        ({"width": 8}, "height is missing"),
        (layout_json(), "no objects"),
        (layout_json(*[CAR] * (MAX_OBJECTS + 1)), "101 objects; at most 100"),
        (layout_json(CAR, objects="car"), "needs to be a list"),
        (layout_json(CAR, width=0), "width 0 needs to be a positive whole number"),
        (layout_json(CAR, height=12.5), "height 12.5 needs"),
        (layout_json(CAR, height=True), "height True needs"),
        (layout_json(CAR, width=6000, height=6000), "6000x6000 pixels; at most 25,000,000"),
        (layout_json("car"), "object 1 (no label)"),
        (layout_json({**CAR, "label": " "}), "label needs to be a class name"),
        (layout_json({**CAR, "attribute": "tricky"}), "attribute 'tricky' needs to be easy, hard or background"),
        (layout_json({**CAR, "attribute": ["easy"]}), "needs to be easy, hard or background"),
    ],
)
def test_bad_layout_is_refused(data: Any, message: str) -> None:
    assert any(message in problem for problem in problems(data))


def test_all_problems_come_at_once() -> None:
    bad = {"label": "bus", "box": [0.5, 0, 0.1, 1], "attribute": "tricky"}
    found = problems(layout_json(bad, CAR, {"label": "cat", "box": []}, width=-1))
    assert [problem.split(":")[0] for problem in found] == [
        "width -1 needs to be a positive whole number",
        "object 1 (bus)",
        "object 1 (bus)",
        "object 3 (cat)",
    ]


@pytest.mark.parametrize(("label", "xyxy"), [("car", (0.0, 0.0, 0.0, 1.0)), ("", (0.0, 0.0, 1.0, 1.0))])
def test_values_are_checked_at_birth(label: str, xyxy: tuple[float, float, float, float]) -> None:
    with pytest.raises(LayoutError):
        Box(label, xyxy)
    with pytest.raises(LayoutError, match="no objects"):
        Layout(8, 8, ())


def test_a_caption_is_text_of_some_length() -> None:
    values = {"width": 64, "height": 64, "objects": [{"label": "car", "box": [0, 0, 1, 1]}]}
    said = Layout.from_json({**values, "caption": " a harbour\n at dusk "})
    assert said.caption == "a harbour at dusk" and Layout.from_json(said.to_json()) == said
    assert "caption" not in Layout.from_json(values).to_json()
    for caption, message in ((7, "caption 7 needs to be text"), ("x" * 301, "301 characters; at most 300")):
        with pytest.raises(LayoutError, match=message):
            Layout.from_json({**values, "caption": caption})


@pytest.mark.parametrize("attribute", ["hard", "odd", 1])
def test_an_attribute_of_a_box_is_one_of_ours(attribute: Any) -> None:
    with pytest.raises(LayoutError, match=f"car: attribute {attribute!r} needs to be one of Attribute, or None"):
        Box("car", (0, 0, 1, 1), attribute)


@pytest.mark.parametrize("boxes", [None, "car", ("car",), [CAR], 3])
def test_boxes_are_boxes(boxes: Any) -> None:
    with pytest.raises(LayoutError, match="boxes needs to be a tuple of Box, not "):
        Layout(256, 128, boxes)


def test_hundred_objects_are_welcome() -> None:
    assert len(Layout.from_json(layout_json(*[CAR] * MAX_OBJECTS)).boxes) == MAX_OBJECTS


def test_a_picture_of_nothing_has_a_layout_of_its_own() -> None:
    nothing = EmptyLayout(64, 48, ())
    assert (nothing.labels, nothing.mirrored(), nothing.with_attributes(())) == ((), nothing, nothing)
    with pytest.raises(LayoutError, match="no objects"):
        Layout(64, 48, ())
    with pytest.raises(LayoutError, match="1 objects in an image of nothing"):
        EmptyLayout(64, 48, (Box("car", (0, 0, 1, 1)),))
    with pytest.raises(LayoutError, match="width 0"):
        EmptyLayout(0, 48, ())


def test_with_attributes_needs_one_an_object() -> None:
    layout = Layout.from_json(layout_json(CAR))
    assert layout.with_attributes([Attribute.EASY]).boxes[0].attribute is Attribute.EASY
    assert layout.boxes[0].attribute is Attribute.HARD
    with pytest.raises(LayoutError, match="2 attributes for 1 objects"):
        layout.with_attributes([Attribute.EASY] * 2)


def test_a_difficulty_is_optional() -> None:
    item = {"label": "car", "box": [0.1, 0.1, 0.5, 0.5], "attribute": "easy", "difficulty": 0.7}
    form = {"width": 64, "height": 64, "objects": [item, {"label": "car", "box": [0, 0, 1, 1]}]}
    layout = Layout.from_json(form)
    assert [box.difficulty for box in layout.boxes] == [0.7, None]
    assert Layout.from_json(layout.to_json()) == layout and "difficulty" not in layout.to_json()["objects"][1]
    assert layout.mirrored().boxes[0].difficulty == 0.7


@pytest.mark.parametrize("difficulty", [-0.1, 1.5, math.nan, "0.5", True])
def test_a_difficulty_lies_between_0_and_1(difficulty: Any) -> None:
    item = {"label": "car", "box": [0.1, 0.1, 0.5, 0.5], "difficulty": difficulty}
    with pytest.raises(LayoutError, match=r"object 1 \(car\): difficulty .* needs to be a number from 0 to 1"):
        Layout.from_json({"width": 64, "height": 64, "objects": [item]})
    with pytest.raises(LayoutError, match="car: difficulty"):
        Box("car", (0, 0, 1, 1), None, difficulty)
