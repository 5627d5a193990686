"""One image of a layout, and what a bad input says."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.engine import generation
from app.engine.studio import Studio, open_studio
from app.page import header_html
from app.studio.records import generate_record
from app.studio.results.compare import Pair, Sides, compare_pair
from app.studio.results.form import Form
from app.studio.results.generate import Single, generate
from app.studio.shelf import show_prompt
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.image_record import read_image
from detdiffusion.layout import Attribute
from detdiffusion.sampling_config import SamplingConfig

FIXED = Form(fixed=True, seed=5.0, steps=3.0, guidance_scale=3.0)
BOX = [0.1, 0.1, 0.5, 0.5]


def single(studio: Studio, value: dict[str, Any], form: Form = FIXED) -> Single:
    *_, last = generate(studio, value, form, "me")
    return last


def pair(studio: Studio, value: dict[str, Any], form: Form = FIXED, sides: Sides | None = None) -> Pair:
    *_, last = compare_pair(studio, value, form, "me", sides)
    return last


def with_objects(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"width": 64, "height": 64, "objects": list(objects)}


def test_generate_shows_noise_becoming_a_picture(
    studio: Studio, street: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "PREVIEW_SECONDS", 0.0)
    *busy, last = generate(studio, street, Form(True, 5, 6, 3.0), "me")
    assert [view.picture.progress for view in busy] == [pytest.approx(step / 6) for step in range(7)]
    assert [view.picture.caption for view in busy[:2]] == ["Starting", "Step 1 of 6"]
    assert busy[-1].picture.preview.startswith("data:image/jpeg;base64,")
    assert last.picture.progress is None
    assert last.picture.file is not None
    assert last.table is not None
    found = [(row.label, row.found) for row in last.table.rows]
    assert found == [("bus", True), ("car", True), ("road", False)]
    assert last.table.rows[2].confidence is None  # the detector cannot know a road


def test_fixed_noise_keeps_the_seed_and_random_noise_draws_one(studio: Studio, street: dict[str, Any]) -> None:
    assert single(studio, street).seed == 5
    seeds = {single(studio, street, form=Form(False, 5, 1, 3.0)).seed for _ in range(3)}
    assert len(seeds) > 1


def test_flipping_a_tag_keeps_the_noise(studio: Studio, street: dict[str, Any]) -> None:
    flipped = json.loads(json.dumps(street))
    flipped["objects"][0]["attribute"] = "hard"
    first, second = single(studio, street), single(studio, flipped)
    assert first.picture.file is not None
    assert second.picture.file is not None
    records = [read_image(view.picture.file) for view in (first, second) if view.picture.file]
    assert [record.sampling and record.sampling.seed for record in records] == [5, 5]
    assert [box.attribute for box in records[1].layout.boxes] == [Attribute.HARD, Attribute.HARD, Attribute.BACKGROUND]


def test_a_run_that_waits_says_for_how_many(studio: Studio, street: dict[str, Any]) -> None:
    with studio.models.lend(None):
        news = generate(studio, street, FIXED, "me")
        assert next(news).picture.caption == "Waiting: 1 request ahead"
    *_, last = news
    assert last.table is not None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (with_objects(), "no objects: draw a box"),
        (with_objects({"label": "bus", "box": [0.5, 0.1, 0.1, 0.5]}), "object 1 .bus.: .*inverted"),
        (with_objects({"label": "bus", "box": [0.1, 0.1, 0.1, 0.5]}), "empty"),
        (with_objects({"label": "bus", "box": [0.1, 0.1, 1.2, 0.5]}), "outside"),
        (with_objects({"label": "bus", "box": [0.1, 0.1, float("nan"), 0.5]}), "not finite"),
        (with_objects({"label": "buss", "box": BOX}), "nearest first: bus"),
        (with_objects(*[{"label": "bus", "box": BOX}] * 101), "101 objects; at most 100"),
    ],
)
def test_bad_layouts_are_named(studio: Studio, value: dict[str, Any], message: str) -> None:
    for act in (single, pair):
        with pytest.raises(LayoutError, match=message):
            act(studio, value)
    assert 'class="hint"' in show_prompt(studio.model, value)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (Form(True, None, 3, 3.0), "needs a seed"),
        (Form(True, 1.5, 3, 3.0), "whole number"),
        (Form(True, -4, 3, 3.0), "seed -4"),
        (Form(True, 1, 0, 3.0), "0 steps"),
    ],
)
def test_bad_settings_are_named(studio: Studio, street: dict[str, Any], form: Form, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        single(studio, street, form=form)


@pytest.mark.usefixtures("_last_is_flagged")
def test_a_flagged_picture_says_so(studio: Studio, street: dict[str, Any]) -> None:
    alone, both = single(studio, street), pair(studio, street)
    for picture in (alone.picture, both.b):
        assert "blacked out by the model's safety checker: try another seed" in picture.caption
        assert picture.marks == ()
    assert "safety checker" not in both.a.caption
    assert alone.table is not None and both.table is not None
    for table in (alone.table, both.table):
        assert "Not checked" in table.html()
        assert "the safety checker blacked out the image" in table.html()
    assert generate_record(studio, street, "origin", SamplingConfig(5, 1))["flagged"] is True


def test_a_model_that_no_detector_knows_says_so(model_folder: Path, tmp_path: Path, street: dict[str, Any]) -> None:
    studio = open_studio(model_folder, tmp_path / "workspace", bundled=tmp_path)
    assert ">tiny · 2 things, 1 stuff · no detector</p>" in header_html(studio.model)
    alone, both = single(studio, street), pair(studio, street)
    assert alone.table is not None and both.table is not None
    for table in (alone.table, both.table):
        assert "Not checked" in table.html()
        assert "no available detector knows these classes" in table.html()
    road = single(studio, with_objects(street["objects"][2])).table
    assert road is not None
    assert "Background only" in road.html()
