"""Many noises: how the detector's confidence spreads over the images of one layout. Widgets and wiring only."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from app.components.forms import as_shown
from app.components.messages import QUIET, Messages, Updates
from app.components.queues import ASIDE_QUEUE, run_on_click
from app.engine.generation import PRESSED_EARLY
from app.engine.studio import Studio
from app.studio.results.compare import Sides
from app.studio.results.form import Form
from app.studio.results.noise_table import NoiseTable
from app.studio.results.noises import NOISES_AT_ONCE, many_noises
from app.studio.shown import aside_of

MAX_NOISES = 96

Read = Callable[[tuple[Any, ...]], tuple[Form, Sides]]


class NoisesTab:
    """The comparison again and again, from other noises."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        with gr.Row(elem_id="noises-bar", elem_classes="bar"):
            self.count = gr.Slider(
                NOISES_AT_ONCE,
                MAX_NOISES,
                16,
                step=NOISES_AT_ONCE,
                label="Number of noises",
                buttons=[],
                elem_id="noises-count",
            )
            self.stop = gr.Button("Stop", size="sm", visible=False, elem_id="stop-noises")
            self.run = gr.Button("Run", size="sm", variant="primary", elem_id="run-noises")
        self.table = gr.HTML(NoiseTable().html(), elem_id="noises", apply_default_css=False)

    def wire(self, canvas: Any, inputs: list[Any], read: Read) -> None:
        """`inputs`: what `read` takes, the widgets of the recipe and of the sides."""
        self._read = read
        run_on_click(
            self.run,
            self._on_run,
            [canvas, self.count, *inputs],
            [self.table],
            ASIDE_QUEUE,
            begin=lambda: {self.run: gr.update(interactive=False), self.stop: gr.update(visible=True)},
            end=lambda: {self.run: gr.update(interactive=True), self.stop: gr.update(visible=False)},
            bracket=[self.run, self.stop],
        )
        self.stop.click(self._on_stop, queue=False, **QUIET)

    def _on_run(
        self,
        value: Mapping[str, Any],
        count: float,
        request: gr.Request,
        *values: Any,
    ) -> Iterator[Updates]:
        """What was reached stays there when it is stopped."""
        (form, sides), last = self._read(values), NoiseTable()
        (count,) = map(int, as_shown([self.count], [count]))
        with Messages("Stopped", "Finished images are kept."):
            for last in many_noises(self.studio, value, form, count, aside_of(request, "noises"), sides):
                yield {self.table: last.html()}
        reached = replace(last, progress=None, wanted=last.wanted if last.pairs else 0)
        yield {self.table: reached.html() if last.wanted else gr.skip()}

    def _on_stop(self, request: gr.Request) -> None:
        self.studio.generation.cancel(aside_of(request, "noises"), PRESSED_EARLY)
