"""The training view: what to train on the left, how it goes on the right. Widgets and wiring only."""

from typing import Any

import gradio as gr

from app.components.forms import read_form
from app.components.html import hint_html
from app.components.messages import CHOOSE, EACH_CHOICE, Updates
from app.components.path_dialog import PathDialog
from app.engine.studio import Studio
from app.runs import handlers as shared
from app.runs.jobs import Runs
from app.runs.panel import DETECTOR, MODEL_FOLDER, PanelWords, RunPanel
from app.training import handlers
from app.training.form import Order, first_order, presets
from app.training.handlers import Chosen

USE = "Load into the studio"


class TrainingView:
    """The widgets of the tab, and what happens between them."""

    def __init__(self, studio: Studio, runs: Runs, paths: PathDialog) -> None:
        self.studio, self.runs = studio, runs
        self.panel = panel = RunPanel("train", PanelWords("run", "Runs"), studio.models.uses, paths)
        with gr.Row(elem_id="train-stage", elem_classes="run-stage"):
            with gr.Column(elem_id="order-card", elem_classes="card order-card"):
                self._order_card()
            with gr.Column(elem_id="run-card", elem_classes="card run-card"):
                self._run_card()
        panel.states(Chosen())
        self.seen = gr.State("")  # which sample grid the page holds: it is large, so it is sent once
        form = [panel.source, panel.count, panel.folder, self.preset, self.base, self.steps, self.batch, self.rate]
        self.form = [*form, self.seed, self.detector, self.settings, panel.name]
        self.place = [panel.chosen, self.seen]
        self.shown = [*panel.shown, self.charts, self.sample_steps, self.sample, self.seen, self.use]
        self.opens: list[Any] = [self.base, self.back]
        self.turns: list[Any] = []

    def _order_card(self) -> None:
        first = first_order()
        gr.HTML("<h2>New run</h2>", elem_classes="title")
        self.panel.data(first.source, "train-data", first.scenes, "Scenes", "train-scenes")
        self.preset = gr.Dropdown(presets(), value=first.preset, label="Preset", elem_id="train-preset")
        paths = self.panel.paths
        with paths.line():
            self.base = gr.Dropdown(
                handlers.bases(self.studio, self.runs),
                value=first.base,
                label="Base (papercut: its autoencoder)",
                allow_custom_value=True,
                elem_id="train-base",
            )
            paths.button(self.base, MODEL_FOLDER)
        with gr.Row(elem_classes="fields"):
            self.steps = _optional("Steps", "train-steps")
            self.batch = _optional("Batch", "train-batch")
            self.rate = _optional("Learning rate", "train-rate")
            self.seed = _optional("Seed", "train-seed")
        with gr.Accordion("More", open=False, elem_id="train-more", elem_classes="run-more"):
            with paths.line():
                self.detector = gr.Textbox(
                    first.detector, label="Detector that decides easy and hard", max_lines=1, elem_id="train-detector"
                )
                paths.button(self.detector, DETECTOR)
            self.settings = gr.Textbox(
                label="Other settings, one field=value per line", lines=2, max_lines=4, elem_id="train-settings"
            )
        self.panel.launch()
        self.panel.runs()

    def _run_card(self) -> None:
        with gr.Row(elem_classes="bar"):
            gr.HTML("<h2>Progress</h2>", elem_classes="title")
            self.back = gr.Button("Back", size="sm", visible=False, elem_id="train-back")
            self.use = gr.Button(USE, size="sm", visible=False, elem_id="train-use")
            self.panel.buttons()
        self.panel.headline(handlers.NOTHING_SHOWN)
        self.charts = gr.HTML(handlers.charts_html([], []), elem_id="train-charts", apply_default_css=False)
        with gr.Row(elem_id="train-evidence"):
            with gr.Column(elem_id="train-samples"):
                self.sample_steps = gr.HTML(js_on_load=CHOOSE, elem_id="train-sample-steps", apply_default_css=False)
                self.sample = gr.HTML(hint_html(handlers.NO_SAMPLE), elem_id="train-sample", apply_default_css=False)
            self.panel.logbook()

    def wire(self, opened: gr.Tab) -> None:
        """`opened` is this view's tab."""
        self.panel.wire(self, opened)
        changed = [*self.shown, self.panel.chosen]
        self.sample_steps.choose(self._on_sample, self.place, changed, queue=False, **EACH_CHOICE)

    def look(self, chosen: Chosen, *place: Any) -> Updates:
        """The runs as they are now."""
        screen = handlers.look(self.runs, chosen, place[0])
        sample: Updates = {} if screen.sample is None else {self.sample: screen.sample, self.seen: screen.seen}
        return {
            **self.panel.show(screen.run),
            self.charts: screen.charts,
            self.sample_steps: screen.sample_steps,
            **sample,
            self.use: gr.update(visible=screen.may_use),
        }

    def opened(self, *values: Any) -> Updates:
        """The run that is settled on, and the models that there are now."""
        *_, chosen, seen = values
        now = handlers.settle(self.runs, chosen)
        bases = gr.update(choices=handlers.bases(self.studio, self.runs))
        return {**self.look(now, seen), **self.on_model(), self.panel.chosen: now, self.base: bases}

    def name_of(self, chosen: Chosen) -> str:
        """Of the run that is chosen."""
        return chosen.run

    def choose(self, name: str, *place: Any) -> Updates:
        """Another run is shown."""
        now = Chosen(name)
        return {**self.look(now, place[1]), self.panel.chosen: now}

    def begin(self, *values: Any) -> Chosen:
        """Starts what the form says, if the trainer finds that it can work."""
        return handlers.start(self.studio, self.runs, read_form(Order, values[: len(self.form)]))

    def begun(self, chosen: Chosen, *values: Any, started: bool) -> Updates:
        """The run that was started, or the one that was shown."""
        return self.look(chosen, values[-1])

    def stop(self, chosen: Chosen) -> str:
        """What happens now. ConfigError if there is nothing to stop."""
        return handlers.stop(self.runs, chosen)

    def resume(self, chosen: Chosen) -> None:
        """ConfigError if there is nothing to resume."""
        shared.resume(self.runs, chosen.run, handlers.NO_RUN)

    def on_model(self) -> Updates:
        """What depends on the model that the studio works with."""
        return {
            self.back: gr.update(
                visible=not self.studio.models.at_home, value=f"Back to {self.studio.models.home.name}"
            )
        }

    def _on_sample(self, event: gr.EventData, chosen: Chosen, seen: str) -> Updates:
        now = handlers.choose_sample(self.runs, chosen, str(event.name))
        return {**self.look(now, seen), self.panel.chosen: now}


def _optional(label: str, name: str) -> gr.Textbox:
    """A number that is left to the preset while it is empty (Gradio's own field for numbers is never empty)."""
    return gr.Textbox(label=label, placeholder="preset default", max_lines=1, elem_id=name)
