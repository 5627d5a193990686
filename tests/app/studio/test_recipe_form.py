from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr
import pytest

from app.engine.studio import Studio, open_studio
from app.studio.recipe_form import SAMPLERS, RecipeForm
from app.studio.results.compare import Side, Sides, asked_pair
from app.studio.results.generate import generate
from detdiffusion.attributes import Strategy
from detdiffusion.image_record import read_image
from detdiffusion.sampling_config import SAMPLERS as KNOWN
from detdiffusion.sampling_config import SamplingConfig
from training.__main__ import main

RECIPE = SamplingConfig(5, 2)


def test_every_sampler_is_offered() -> None:
    assert sorted(SAMPLERS.values()) == sorted(["", *KNOWN])


@pytest.fixture(scope="module")
def gligen_folder(tmp_path_factory: pytest.TempPathFactory, published: ModuleType) -> Path:
    folder = tmp_path_factory.mktemp("gligen")
    assert main(["convert", str(published.write_gligen(folder / "source", safety=False)), str(folder / "model")]) == 0
    return folder / "model"


@pytest.fixture
def gligen_studio(studio: Studio, gligen_folder: Path, tmp_path: Path) -> Studio:
    return open_studio(gligen_folder, tmp_path / "workspace")


def recipe_form(studio: Studio) -> RecipeForm:
    with gr.Blocks():
        return RecipeForm(RECIPE, studio)


def beta(form: RecipeForm, asked: float | None) -> float | None:
    values = [*[None] * (len(form.values) - 3), asked]
    return form.read("Fixed", 5, *values).recipe().gligen_scheduled_sampling_beta


def test_steps_that_see_the_boxes_are_asked_of_gligens_models(gligen_studio: Studio, street: dict[str, Any]) -> None:
    form = recipe_form(gligen_studio)
    assert form.gligen_beta.visible and form.gligen_beta.value == 0.3
    assert (beta(form, None), beta(form, 0.3), beta(form, 0.8)) == (None, None, 0.8)
    made = form.read("Fixed", 5, *[None] * (len(form.values) - 3), 0.8)
    *_, last = generate(gligen_studio, street, made, "me")
    assert last.picture.file is not None
    how = read_image(last.picture.file).sampling
    assert how.gligen_scheduled_sampling_beta == 0.8
    assert form.show(how)[form.gligen_beta] == 0.8 and form.show(RECIPE)[form.gligen_beta] == 0.3


def test_and_of_no_others(studio: Studio) -> None:
    form = recipe_form(studio)
    assert not form.gligen_beta.visible and beta(form, 0.8) is None
    assert form.follow_model()[form.gligen_beta]["visible"] is False


def test_the_other_side_may_be_of_another_kind(
    gligen_studio: Studio, model_folder: Path, monkeypatch: pytest.MonkeyPatch, street: dict[str, Any]
) -> None:
    monkeypatch.setattr(gligen_studio.models, "_folder", lambda _: model_folder)
    asked = SamplingConfig(5, 2, gligen_scheduled_sampling_beta=0.8)
    sides = Sides(Side(Strategy.ORIGIN), Side(Strategy.ORIGIN, "tiny"))
    a, b = asked_pair(gligen_studio, street, asked, sides)
    assert (a.recipe.gligen_scheduled_sampling_beta, b.recipe.gligen_scheduled_sampling_beta) == (0.8, None)
