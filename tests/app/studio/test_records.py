"""What programs get."""

import base64
import io
from typing import Any

import pytest
from PIL import Image

from app.engine.studio import Studio
from app.studio.opening import Opening
from app.studio.records import compare_record, generate_record
from app.studio.results.compare import Pair, Sides, compare_pair
from app.studio.results.form import Form
from app.studio.results.generate import Single, generate
from app.studio.shelf import show_prompt
from detdiffusion.errors import ConfigError
from detdiffusion.sampling_config import SamplingConfig

FIXED = Form(fixed=True, seed=5.0, steps=3.0, guidance_scale=3.0)


def single(studio: Studio, value: dict[str, Any], form: Form = FIXED) -> Single:
    *_, last = generate(studio, value, form, "me")
    return last


def pair(studio: Studio, value: dict[str, Any], form: Form = FIXED, sides: Sides | None = None) -> Pair:
    *_, last = compare_pair(studio, value, form, "me", sides)
    return last


def with_objects(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"width": 64, "height": 64, "objects": list(objects)}


def test_records_for_programs(studio: Studio, street: dict[str, Any]) -> None:
    record = generate_record(studio, street, "easy", SamplingConfig(5, 2))
    assert [item["attribute"] for item in record["objects"]] == ["easy", "easy", "background"]
    assert [item["found"] for item in record["objects"]] == [True, True, None]
    assert Image.open(io.BytesIO(base64.b64decode(record["png_base64"]))).size == (64, 64)
    assert record["model_sha256"] == studio.model.sha256
    both = compare_record(studio, street, SamplingConfig(5, 2))
    assert both["hard"]["objects"][1]["confidence"] == pytest.approx(0.2)
    with pytest.raises(ConfigError, match="origin, easy or hard"):
        generate_record(studio, street, "harder", SamplingConfig(5, 2))


def test_without_words_for_attributes_there_is_nothing_to_tag_or_compare(
    silent_studio: Studio, street: dict[str, Any]
) -> None:
    why = "silent does not know the tags easy and hard, so there is nothing to compare"
    assert silent_studio.model.why_no_tags.startswith(why)
    for objects in (street["objects"], []):
        assert why in show_prompt(silent_studio.model, with_objects(*objects))
    assert single(silent_studio, street).table is not None
    assert generate_record(silent_studio, street, "origin", SamplingConfig(5, 1))["flagged"] is False
    for act in (
        lambda: pair(silent_studio, street),
        lambda: compare_record(silent_studio, street, SamplingConfig(5, 1)),
        lambda: generate_record(silent_studio, street, "hard", SamplingConfig(5, 1)),
    ):
        with pytest.raises(ConfigError, match=why):
            act()
    opening = Opening(silent_studio, street, SamplingConfig(7, 1))
    assert opening.pair is None
    assert opening.single.result(60).table is not None
