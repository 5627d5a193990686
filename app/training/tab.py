"""The training view: what to train on the left, how it goes on the right. Widgets and wiring only."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.components.forms import read_form
from app.components.messages import CHOOSE, LOOK_SECONDS, QUIET, START, USE, Messages, Updates, say
from app.engine.studio import Studio
from app.runs.jobs import Runs
from app.training import handlers
from app.training.form import Order, Source, first_order, presets
from app.training.handlers import Chosen, Screen

# A list of buttons in HTML: pressing one tells which.


class TrainingView:
    """The widgets of the tab, and what happens between them."""

    def __init__(self, studio: Studio, runs: Runs) -> None:
        self.studio, self.runs = studio, runs
        with gr.Row(elem_id="train-stage", elem_classes="run-stage"):
            with gr.Column(elem_id="order-card", elem_classes="card order-card"):
                self._order_card()
            with gr.Column(elem_id="run-card", elem_classes="card run-card"):
                self._run_card()
        self.chosen = gr.State(Chosen())
        self.seen = gr.State("")  # which sample grid the page holds: it is large, so it is sent once
        self.clock = gr.Timer(LOOK_SECONDS, active=False)

    def _order_card(self) -> None:
        first = first_order()
        gr.HTML("<h2>New run</h2>", elem_classes="title")
        self.source = gr.Radio(
            [source.value for source in Source],
            value=first.source,
            show_label=False,
            container=False,
            elem_id="train-data",
            elem_classes="choice run-source",
        )
        self.scenes = gr.Textbox(first.scenes, label="Scenes", max_lines=1, elem_id="train-scenes")
        self.folder = gr.Textbox(
            label="Folder (COCO, YOLO or Pascal VOC)", max_lines=1, visible=False, elem_id="train-folder"
        )
        self.preset = gr.Dropdown(presets(), value=first.preset, label="Preset", elem_id="train-preset")
        self.base = gr.Dropdown(
            handlers.bases(self.studio, self.runs),
            value=first.base,
            label="Base model (papercut presets: its autoencoder)",
            allow_custom_value=True,
            elem_id="train-base",
        )
        with gr.Row(elem_classes="fields"):
            self.steps = _optional("Steps", "train-steps")
            self.batch = _optional("Batch", "train-batch")
            self.rate = _optional("Learning rate", "train-rate")
            self.seed = _optional("Seed", "train-seed")
        with gr.Accordion("More", open=False, elem_id="train-more", elem_classes="run-more"):
            self.detector = gr.Textbox(
                first.detector, label="Detector that gives easy and hard", max_lines=1, elem_id="train-detector"
            )
            self.settings = gr.Textbox(
                label="Other settings, one field=value a line", lines=2, max_lines=4, elem_id="train-settings"
            )
        with gr.Row(elem_id="train-launch", elem_classes="run-launch"):
            self.name = gr.Textbox(
                label="Name",
                show_label=False,
                container=False,
                placeholder="Name",
                max_lines=1,
                elem_id="train-name",
                elem_classes="run-name",
            )
            self.start = gr.Button(START, size="sm", variant="primary", elem_id="train-start", elem_classes="run-start")
        gr.HTML("<h3>Runs</h3>", elem_classes="title")
        self.list = gr.HTML(js_on_load=CHOOSE, elem_id="train-runs", elem_classes="run-list", apply_default_css=False)

    def _run_card(self) -> None:
        with gr.Row(elem_classes="bar"):
            gr.HTML("<h2>Progress</h2>", elem_classes="title")
            self.back = gr.Button("Back", size="sm", visible=False, elem_id="train-back")
            self.use = gr.Button(USE, size="sm", visible=False, elem_id="train-use")
            self.resume = gr.Button("Resume", size="sm", visible=False, elem_id="train-resume")
            self.stop = gr.Button("Stop", size="sm", visible=False, elem_id="train-stop")
        self.head = gr.HTML(elem_id="train-head", elem_classes="run-head", apply_default_css=False)
        self.charts = gr.HTML(elem_id="train-charts", apply_default_css=False)
        with gr.Row(elem_id="train-evidence"):
            with gr.Column(elem_id="train-samples"):
                self.sample_steps = gr.HTML(js_on_load=CHOOSE, elem_id="train-sample-steps", apply_default_css=False)
                self.sample = gr.HTML(elem_id="train-sample", apply_default_css=False)
            self.log = gr.HTML(elem_id="train-log", elem_classes="run-log", apply_default_css=False)

    # --- wiring ---

    def wire(self, opened: gr.Tab, closed: list[gr.Tab]) -> None:
        """`opened` is this view's tab: the page looks at the runs while it is selected, until one of `closed` is."""
        form = [
            self.source,
            self.scenes,
            self.folder,
            self.preset,
            self.base,
            self.steps,
            self.batch,
            self.rate,
            self.seed,
            self.detector,
            self.settings,
            self.name,
        ]
        shown = [
            self.list,
            self.head,
            self.charts,
            self.sample_steps,
            self.sample,
            self.log,
            self.seen,
            self.stop,
            self.resume,
            self.use,
        ]
        press: dict[str, Any] = {"inputs": [self.chosen, self.seen], **QUIET}
        look = {**press, "queue": False}  # quick, but cannot show messages
        opened.select(self._on_open, outputs=[*shown, self.chosen, self.base, self.back, self.clock], **look)
        for tab in closed:
            tab.select(lambda: gr.update(active=False), None, self.clock, queue=False, **QUIET)
        self.clock.tick(self._on_look, outputs=shown, **look)
        self.list.choose(self._on_run, outputs=[*shown, self.chosen], **look)
        self.sample_steps.choose(self._on_sample, outputs=[*shown, self.chosen], **look)
        self.stop.click(self._on_stop, outputs=shown, **press)
        self.resume.click(self._on_resume, outputs=shown, **press)
        self.source.change(self._on_source, self.source, [self.scenes, self.folder], queue=False, **QUIET)
        self.start.click(
            self._on_start, [*form, self.chosen, self.seen], [*shown, self.chosen, self.start, self.name], **QUIET
        )

    def _on_open(self, chosen: Chosen, seen: str) -> Updates:
        now = handlers.settle(self.runs, chosen)
        bases = gr.update(choices=handlers.bases(self.studio, self.runs))
        here = {self.chosen: now, self.base: bases, self.clock: gr.update(active=True)}
        return {**self._look(now, seen), **self.on_model(), **here}

    def _on_look(self, chosen: Chosen, seen: str) -> Updates:
        return self._look(chosen, seen)

    def _on_run(self, chosen: Chosen, seen: str, event: gr.EventData) -> Updates:
        now = Chosen(str(event.name))
        return {**self._look(now, seen), self.chosen: now}

    def _on_sample(self, chosen: Chosen, seen: str, event: gr.EventData) -> Updates:
        now = handlers.choose_sample(self.runs, chosen, str(event.name))
        return {**self._look(now, seen), self.chosen: now}

    def _on_stop(self, chosen: Chosen, seen: str) -> Updates:
        with Messages("Not stopped", "The run goes on."):
            say("Stopping", handlers.stop(self.runs, chosen))
        return self._look(chosen, seen)

    def _on_resume(self, chosen: Chosen, seen: str) -> Updates:
        with Messages("Not resumed", "The run's files are as they were."):
            handlers.resume(self.runs, chosen)
        return self._look(chosen, seen)

    def _on_source(self, source: str) -> Updates:
        return {
            self.scenes: gr.update(visible=source == Source.PAPERCUT),
            self.folder: gr.update(visible=source == Source.FOLDER),
        }

    def _on_start(self, *values: Any) -> Iterator[Updates]:
        *form, chosen, seen = values
        yield {self.start: gr.update(interactive=False, value="Checking…")}
        with Messages("Not started", "Nothing was written."):
            chosen = handlers.start(self.studio, self.runs, read_form(Order, form))
            yield {self.chosen: chosen, self.name: ""}
        yield {**self._look(chosen, seen), self.start: gr.update(interactive=True, value=START)}

    # --- views -> updates ---

    def on_model(self) -> Updates:
        """What depends on the model that the studio works with."""
        return {
            self.back: gr.update(
                visible=not self.studio.models.at_home, value=f"Back to {self.studio.models.home.name}"
            )
        }

    def _look(self, chosen: Chosen, seen: str) -> Updates:
        screen = handlers.look(self.runs, chosen, seen)
        sample: Updates = {} if screen.sample is None else {self.sample: screen.sample, self.seen: screen.seen}
        return {
            self.list: screen.runs,
            self.head: screen.head,
            self.charts: screen.charts,
            self.sample_steps: screen.sample_steps,
            self.log: screen.log,
            **sample,
            **self._buttons(screen),
        }

    def _buttons(self, screen: Screen) -> Updates:
        return {
            self.stop: gr.update(visible=screen.may_stop, value="Stop now" if screen.stopping else "Stop"),
            self.resume: gr.update(visible=screen.may_resume),
            self.use: gr.update(visible=screen.may_use),
        }


def _optional(label: str, name: str) -> gr.Textbox:
    """A number that is left to the preset while it is empty (Gradio's own field for numbers is never empty)."""
    return gr.Textbox(label=label, placeholder="as the preset", max_lines=1, elem_id=name)
