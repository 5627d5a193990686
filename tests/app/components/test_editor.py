"""What crosses the border between Python and the canvas."""

import json
from pathlib import Path
from typing import Any

from app.components import editor
from app.components.editor import LayoutEditor, LayoutValue
from app.components.picture import ImagePanel, ImageValue
from detdiffusion.layout import Layout


def editor_of(things: list[str], stuff: list[str]) -> LayoutEditor:
    return LayoutEditor(things, stuff, sizes=[("Square", 256, 256)], multiple=64)


def test_value_is_the_public_json_form(street: dict[str, Any]) -> None:
    canvas = editor_of(["bus", "car"], ["road"])
    payload = json.loads(canvas.postprocess(street).model_dump_json())
    back = canvas.preprocess(LayoutValue(**payload))
    assert back == street
    assert Layout.from_json(back).to_json() == street


def test_a_caption_goes_both_ways(street: dict[str, Any]) -> None:
    canvas, told = editor_of(["bus", "car"], ["road"]), {**street, "caption": "a harbour"}
    assert canvas.preprocess(canvas.postprocess(told)) == told


def test_canvas_may_be_empty_where_a_layout_may_not() -> None:
    canvas = editor_of(["bus"], [])
    assert canvas.preprocess(None) == {"width": 256, "height": 256, "objects": []}


def test_schema_needs_no_references() -> None:
    assert "$ref" not in json.dumps(editor_of(["bus"], []).api_info())


def test_picture_takes_views() -> None:
    shown = ImagePanel()
    assert shown.postprocess(None) == ImageValue()
    assert shown.preprocess(ImageValue(caption="x")) == ImageValue(caption="x")


def test_nothing_is_written_beside_the_sources() -> None:
    assert list(Path(editor.__file__).parent.rglob("*.pyi")) == []


def test_a_difficulty_comes_back_where_there_is_one() -> None:
    canvas = editor_of(["car"], [])
    car = {"label": "car", "box": [0.0, 0.0, 0.5, 0.5], "attribute": "easy"}
    told = {"width": 64, "height": 64, "objects": [car, {**car, "difficulty": 0.7}]}
    assert canvas.preprocess(canvas.postprocess(told)) == told
