"""The menu of both sides."""

import gradio as gr

from app.components.forms import as_shown
from app.engine.studio import Studio
from app.studio.results.compare import Sides
from app.studio.sides_form import SidesForm


def test_untouched_sides_follow_the_present_model(two_models: Studio) -> None:
    """Whichever it is when they are read: the page may not have heard of another one yet."""
    with gr.Blocks():
        form = SidesForm(two_models)
    untouched = as_shown(form.values, [None] * len(form.values))
    assert form.read(*untouched) == Sides()
    other = next(name for name in two_models.models.folders() if name != two_models.model.name)
    two_models.models.exchange(two_models.models.folders()[other], other)
    assert form.read(*untouched) == Sides()
    chosen = form.follow_model()[form.models[0]]
    (shown, _), *_ = chosen["choices"]
    assert shown == f"{two_models.model.name} (boxes)"
