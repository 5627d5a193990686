"""What a model read and saw."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.engine.insight import Insight
from app.engine.models import ModelRegistry
from app.engine.studio import Studio
from app.studio.results.form import Form
from app.studio.results.generate import Single, generate
from app.studio.results.inside import show_inside
from detdiffusion.errors import ConfigError, LayoutError

FIXED = Form(fixed=True, seed=5.0, steps=3.0, guidance_scale=3.0)


def single(studio: Studio, value: dict[str, Any], form: Form = FIXED) -> Single:
    *_, last = generate(studio, value, form, "me")
    return last


def test_inside_is_what_the_model_read_and_saw(studio: Studio, street: dict[str, Any]) -> None:
    file = single(studio, street).picture.file
    assert file is not None
    view = show_inside(studio, file, Insight.ATTENTION)
    assert [layer.label for layer in view.layers] == ["bus", "car", "road"]
    html = view.html()
    assert html.count('class="layer"') == 3 and 'class="inside heat"' in html
    assert "from its blueprint" in html
    assert html.count('<span data-object="1"') == 4, "car, two corners, its tag"
    masks = show_inside(studio, file, Insight.MASKS)
    assert "no perception head" in masks.note and 'class="layer"' not in masks.html()
    assert "Generate an image" in show_inside(studio, None, Insight.MASKS).html()


def test_inside_needs_the_model_that_drew_it(
    studio: Studio, street: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = single(studio, street).picture.file
    assert file is not None
    monkeypatch.setattr(ModelRegistry, "folders", lambda _: {"another": tmp_path})
    studio.models.present = replace(studio.model, name="another")
    with pytest.raises(ConfigError, match="there is no model 'tiny'"):
        show_inside(studio, file, Insight.MASKS)
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    with pytest.raises(LayoutError, match="carries no layout"):
        show_inside(studio, tmp_path / "plain.png", Insight.MASKS)
