"""Values of a page -> forms: what was never drawn on the page arrives as None."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.components.forms import as_shown, read_form
from app.datasets.form import DatasetOrder, make_dataset
from app.engine.studio import Studio
from app.evaluation.form import EvaluationOrder, make_evaluation
from app.gallery.handlers import Form as GalleryForm
from app.runs.jobs import Runs
from app.studio.recipe_form import RecipeForm
from app.studio.results.compare import Sides
from app.studio.results.form import Form as RecipeValues
from app.studio.sides_form import SidesForm
from app.training.form import Order, make_plan, presets
from detdiffusion.sampling_config import DEFAULT_GUIDANCE, SamplingConfig

MODEL = Path(__file__).resolve().parents[3] / "assets/models/papercut"


def untouched(kind: Any, **filled: Any) -> Any:
    return read_form(kind, [filled.get(field.name) for field in fields(kind)])


@pytest.mark.parametrize(
    ("kind", "filled", "make"),
    [
        (Order, {"source": "Papercut", "scenes": "24", "preset": presets()[0]}, make_plan),
        (EvaluationOrder, {"model": str(MODEL)}, make_evaluation),
        (DatasetOrder, {"model": str(MODEL)}, make_dataset),
    ],
)
def test_a_form_of_which_only_the_necessary_was_drawn_makes_a_run(
    kind: Any, filled: dict[str, str], make: Any, tmp_path: Path
) -> None:
    order = untouched(kind, **filled)
    assert make(order, Runs(tmp_path / "runs"), MODEL).commands
    assert None not in [getattr(order, field.name) for field in fields(kind)]


def test_what_was_filled_stays() -> None:
    form = read_form(GalleryForm, ["car", None, 0.5, True, False])
    assert form == GalleryForm("car", "", 0.5, True, False)


def test_another_number_of_values_is_a_fault_of_the_wiring() -> None:
    with pytest.raises(ValueError, match="zip"):
        read_form(GalleryForm, ["car"])


def test_widgets_that_were_never_drawn_have_what_they_were_made_with() -> None:
    with gr.Blocks():
        widgets = [gr.Slider(1, 9, 4), gr.Radio(["a", "b"], value="b"), gr.Textbox()]
    assert as_shown(widgets, [None, None, None]) == [4, "b", None]
    assert as_shown(widgets, [7, "a", "text"]) == [7, "a", "text"]


def test_menus_of_the_studio_that_were_never_opened(studio: Studio) -> None:
    with gr.Blocks():
        recipe, sides = RecipeForm(SamplingConfig(7, 12), studio), SidesForm(studio)
    assert recipe.read("Fixed", 5, *[None] * 7) == RecipeValues(True, 5, 12, DEFAULT_GUIDANCE)
    assert recipe.read("Fixed", None, *[None] * 7).seed is None, "a person has deleted it"
    led = recipe.read("Fixed", 5, *[None] * 4, 1.5, True, None).recipe()
    assert (led.detector_guidance, led.fix_boxes) == (1.5, True)
    assert recipe.show(led)[recipe.detector_guidance] == 1.5 and recipe.show(led)[recipe.fix_boxes] is True
    assert sides.read(*[None] * 9) == Sides()
