"""Attribute guidance at work: one layout and noise, harder from picture to picture. Widgets and wiring only."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from app.components.comparer import Sheet
from app.components.forms import as_shown
from app.components.messages import QUIET, Messages, Updates
from app.components.queues import ASIDE_QUEUE, run_on_click
from app.engine.generation import PRESSED_EARLY
from app.engine.limits import MAX_ATTRIBUTE_GUIDANCE
from app.engine.studio import Studio
from app.studio.recipe_form import RecipeForm
from app.studio.results.attribute_guidance import AttributeGuidanceView, attribute_guidance_strip
from app.studio.shown import aside_of, sheet_value


class AttributeGuidanceTab:
    """A strip of pictures, and the detector's confidence as attribute guidance rises."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        with gr.Row(elem_id="attribute-guidance-bar", elem_classes="bar"):
            self.highest = gr.Slider(
                0.5,
                MAX_ATTRIBUTE_GUIDANCE,
                2,
                step=0.5,
                label="Attribute guidance up to (from 2 on, images look less real)",
                buttons=[],
                elem_id="attribute-guidance-highest",
            )
            self.stop = gr.Button("Stop", size="sm", visible=False, elem_id="stop-attribute-guidance")
            self.run = gr.Button("Run", size="sm", variant="primary", elem_id="run-attribute-guidance")
        self.strip = Sheet(hint="", elem_id="strip")
        self.curve = gr.HTML(
            AttributeGuidanceView().html(), elem_id="attribute-guidance-curve", apply_default_css=False
        )

    def wire(self, canvas: Any, recipe: RecipeForm) -> None:
        """Connects the tab's widgets with the layout and the recipe."""
        self.recipe = recipe
        run_on_click(
            self.run,
            self._on_run,
            [canvas, self.highest, *recipe.values],
            [self.strip, self.curve],
            ASIDE_QUEUE,
            begin=lambda: {self.run: gr.update(interactive=False), self.stop: gr.update(visible=True)},
            end=lambda: {self.run: gr.update(interactive=True), self.stop: gr.update(visible=False)},
            bracket=[self.run, self.stop],
        )
        self.stop.click(self._on_stop, queue=False, **QUIET)

    def _on_run(
        self,
        value: Mapping[str, Any],
        highest: float,
        request: gr.Request,
        *recipe: Any,
    ) -> Iterator[Updates]:
        """What was reached stays there when it is stopped."""
        form, user, view = self.recipe.read(*recipe), aside_of(request, "attribute-guidance"), None
        (highest,) = as_shown([self.highest], [highest])
        with Messages("Stopped", "Finished images are kept."):
            for view in attribute_guidance_strip(self.studio, value, form, highest, user):
                yield self._shown(view)
        if view is not None:
            yield self._shown(replace(view, sheet=replace(view.sheet, progress=None)))

    def _on_stop(self, request: gr.Request) -> None:
        self.studio.generation.cancel(aside_of(request, "attribute-guidance"), PRESSED_EARLY)

    def _shown(self, view: AttributeGuidanceView) -> Updates:
        return {self.strip: sheet_value(view.sheet), self.curve: view.html()}
