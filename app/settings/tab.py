"""What draws and what looks, and what each choice costs here. Widgets and wiring only."""

from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr

from app.components.forms import as_shown
from app.components.messages import QUIET, Messages, Updates, say
from app.components.queues import ASIDE_QUEUE
from app.engine.compute import PRECISIONS, Engine, devices
from app.engine.costs import Costs, measure
from app.engine.detectors import DETECTORS
from app.engine.studio import Studio
from app.settings.views import costs_html
from detdiffusion.detectors import BUNDLED

PRECISION_COST = "float32 is exact; bfloat16 takes half the time where the processor supports it, and longer elsewhere"
SAME = "Nothing has changed."


class SettingsView:
    """Choices of the whole studio, for everybody who uses it."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        with gr.Row(elem_id="settings-cards"):
            with gr.Column(elem_id="settings-card", elem_classes="card"):
                self._choices()
            with gr.Column(elem_id="costs-card", elem_classes="card"):
                with gr.Row(elem_classes="bar"):
                    gr.HTML("<h2>Speed on this machine</h2>", elem_classes="title")
                    self.measure = gr.Button("Measure", size="sm", elem_id="measure")
                self.costs = gr.HTML(costs_html(Costs()), elem_id="costs", apply_default_css=False)

    def _choices(self) -> None:
        studio = self.studio
        gr.HTML("<h2>Model and detector</h2>", elem_classes="title")
        self.model = gr.Dropdown(
            studio.models.choices(),
            value=studio.model.name,
            label="Model",
            info="in brackets: what it can be asked for; larger models are slower; load your own from the Training "
            "tab, or with --model",
            elem_id="settings-model",
        )
        self.detector = gr.Dropdown(
            studio.detectors.names(),
            value=studio.model.detector_name,
            label="Detector",
            info=f"checks every image; to add your own, put its .pt file or folder into {studio.workspace}/"
            f"{DETECTORS} and reload the page",
            elem_id="settings-detector",
        )
        self.device = gr.Radio(
            devices(),
            value=studio.models.engine.place,
            label="Device",
            elem_id="settings-device",
            elem_classes="choice",
        )
        self.precision = gr.Radio(
            list(PRECISIONS),
            value=studio.models.engine.precision,
            label="Precision",
            info=PRECISION_COST,
            elem_id="settings-precision",
            elem_classes="choice",
        )
        gr.HTML(
            "<p>Steps, guidance, attribute guidance and sampler are set per image, under More in the Studio. Time "
            "grows with the steps; guidance 1 takes half of it, attribute guidance other than 0 twice as much.</p>",
            elem_classes="note",
        )
        self.apply = gr.Button("Apply", size="sm", variant="primary", elem_id="use-settings")

    def wire(self) -> None:
        """Connects the widgets that change nothing outside of this tab."""
        self.model.input(self._on_model, self.model, [self.model, self.detector], queue=False, **QUIET)
        self.measure.click(self._on_measure, None, [self.costs, self.measure], **QUIET, **ASIDE_QUEUE)

    @property
    def values(self) -> list[Any]:
        """The widgets that `use` takes the values of, in its order."""
        return [self.model, self.detector, self.device, self.precision]

    def use(self, *values: Any) -> None:
        """Takes the widgets' values.

        Raises:
            DetDiffusionError: something cannot be had: what came before it is in use then, the rest is as it was.
        """
        studio = self.studio
        model, detector, device, precision = as_shown(self.values, values)
        studio.models.set_engine(Engine(device, precision))
        if model != studio.model.name:
            studio.models.exchange(studio.models.folders()[model], model)
        if detector != studio.model.detector_name:
            studio.detectors.use(detector)
        say("Applied", f"{studio.model.name} generates on {device}; {studio.model.detector.name} checks the images.")

    def now(self) -> Updates:
        """What there is to choose from, and what is chosen."""
        studio = self.studio
        return {
            self.model: gr.update(choices=studio.models.choices(), value=studio.model.name),
            self.detector: gr.update(choices=studio.detectors.names(), value=studio.model.detector_name),
            self.device: studio.models.engine.place,
            self.precision: studio.models.engine.precision,
        }

    def _on_model(self, model: str) -> Updates:
        """A model comes with its own detector, until another one is chosen for it. The choice is said once more: `now`,
        asked for when the tab was opened, may have been answered after it."""
        names = self.studio.detectors.names(self.studio.models.folders().get(model))
        chosen = self.studio.model.detector_name if model == self.studio.model.name else BUNDLED
        return {self.model: model, self.detector: gr.update(choices=names, value=chosen)}

    def _on_measure(self) -> Iterator[Mapping[Any, Any]]:
        yield {self.measure: gr.update(interactive=False)}
        with Messages("Not measured", SAME):
            for costs in measure(self.studio):
                yield {self.costs: costs_html(costs)}
        yield {self.measure: gr.update(interactive=True)}
