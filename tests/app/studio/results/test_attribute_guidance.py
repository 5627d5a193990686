"""Attribute guidance, harder from image to image."""

from typing import Any

import pytest

from app.engine.studio import Studio
from app.studio.results.attribute_guidance import attribute_guidance_strip
from app.studio.results.form import Form
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.image_record import read_image

FIXED = Form(fixed=True, seed=5.0, steps=3.0, guidance_scale=3.0)


def with_objects(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"width": 64, "height": 64, "objects": list(objects)}


def test_attribute_guidance_rises_from_picture_to_picture(studio: Studio, street: dict[str, Any]) -> None:
    first, *busy, last = attribute_guidance_strip(studio, street, FIXED, 2.0, "me")
    assert first.levels == (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0)
    shares = [view.sheet.progress or 0.0 for view in busy]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert [len(view.tables) for view in (first, last)] == [0, 6] and last.sheet.progress is None
    files = [panel.file for panel in last.sheet.panels]
    records = [read_image(file).to_json() for file in files if file]
    assert [record.get("attribute_guidance", 0.0) for record in records] == list(first.levels)
    assert {record["seed"] for record in records} == {5}
    html = last.html()
    assert html.count("<tr>") == 3, "head, bus and car; no detector knows a road"
    assert 'aria-label="On average at attribute guidance 2: confidence 0.85, found 1"' in html


def test_attribute_guidance_needs_tags_and_things(
    studio: Studio, silent_studio: Studio, street: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="does not know the tags easy and hard"):
        list(attribute_guidance_strip(silent_studio, street, FIXED, 2.0, "me"))
    with pytest.raises(LayoutError, match="all objects are background, which cannot become harder"):
        list(attribute_guidance_strip(studio, with_objects(street["objects"][2]), FIXED, 2.0, "me"))
