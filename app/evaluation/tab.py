"""The evaluation view: what to measure on the left, how far it is and its report on the right. Widgets and wiring."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.components.forms import read_form
from app.components.messages import CHOOSE, LOOK_SECONDS, QUIET, START, Messages, Updates, say
from app.engine.studio import Studio
from app.evaluation import handlers
from app.evaluation.form import EvaluationOrder
from app.evaluation.handlers import EvaluationScreen
from app.runs.jobs import Runs
from app.training.form import Source

OPEN = "Open the report"
# The report as a page of its own, from what the frame holds: no file is served.
OPEN_PAGE = """() => {
  const frame = document.querySelector("#eval-page iframe");
  if (frame) window.open(URL.createObjectURL(new Blob([frame.srcdoc], { type: "text/html" })));
}"""


class EvaluationView:
    """The widgets of the tab, and what happens between them."""

    def __init__(self, studio: Studio, trainings: Runs, runs: Runs) -> None:
        self.studio, self.trainings, self.runs = studio, trainings, runs
        with gr.Row(elem_id="eval-stage", elem_classes="run-stage"):
            with gr.Column(elem_id="eval-order", elem_classes="card order-card"):
                self._order_card()
            with gr.Column(elem_id="eval-run", elem_classes="card run-card"):
                self._run_card()
        self.chosen = gr.State("")
        self.seen = gr.State("")  # which report the page holds: it is large, so it is sent once
        self.clock = gr.Timer(LOOK_SECONDS, active=False)

    def _order_card(self) -> None:
        known = handlers.models(self.studio, self.trainings)
        first = EvaluationOrder(known[0][1])
        gr.HTML("<h2>New evaluation</h2>", elem_classes="title")
        self.source = gr.Radio(
            [source.value for source in Source],
            value=first.source,
            show_label=False,
            container=False,
            elem_id="eval-data",
            elem_classes="choice run-source",
        )
        self.layouts = gr.Textbox(first.layouts, label="Unseen layouts", max_lines=1, elem_id="eval-layouts")
        self.folder = gr.Textbox(
            label="Folder (COCO, YOLO or Pascal VOC)", max_lines=1, visible=False, elem_id="eval-folder"
        )
        self.model = gr.Dropdown(known, value=first.model, label="Model", allow_custom_value=True, elem_id="eval-model")
        self.rivals = gr.Dropdown(
            known, value=[], label="Compare with", multiselect=True, allow_custom_value=True, elem_id="eval-rivals"
        )
        self.detectors = gr.Textbox(
            label="Detectors", placeholder="the model's own, or paths", max_lines=1, elem_id="eval-detectors"
        )
        with gr.Row(elem_classes="fields"):
            self.steps = gr.Textbox(label="Steps", placeholder="20", max_lines=1, elem_id="eval-steps")
            self.difficulties = gr.Textbox(
                label="Difficulties", placeholder="none, or 0,1,2", max_lines=1, elem_id="eval-difficulties"
            )
        self.one_hard = gr.Checkbox(first.one_hard, label="Also one hard object a layout", elem_id="eval-one-hard")
        with gr.Row(elem_id="eval-launch", elem_classes="run-launch"):
            self.name = gr.Textbox(
                label="Name",
                show_label=False,
                container=False,
                placeholder="Name",
                max_lines=1,
                elem_id="eval-name",
                elem_classes="run-name",
            )
            self.start = gr.Button(START, size="sm", variant="primary", elem_id="eval-start", elem_classes="run-start")
        gr.HTML("<h3>Evaluations</h3>", elem_classes="title")
        self.list = gr.HTML(js_on_load=CHOOSE, elem_id="eval-runs", elem_classes="run-list", apply_default_css=False)

    def _run_card(self) -> None:
        with gr.Row(elem_classes="bar"):
            gr.HTML("<h2>Report</h2>", elem_classes="title")
            self.open = gr.Button(OPEN, size="sm", visible=False, elem_id="eval-open")
            self.resume = gr.Button("Resume", size="sm", visible=False, elem_id="eval-resume")
            self.stop = gr.Button("Stop", size="sm", visible=False, elem_id="eval-stop")
        self.head = gr.HTML(elem_id="eval-head", elem_classes="run-head", apply_default_css=False)
        self.page = gr.HTML(elem_id="eval-page", apply_default_css=False)
        self.log = gr.HTML(elem_id="eval-log", elem_classes="run-log", apply_default_css=False)

    # --- wiring ---

    def wire(self, opened: gr.Tab, closed: list[gr.Tab]) -> None:
        """`opened` is this view's tab: the page looks while it is selected, until one of `closed` is."""
        form = [
            self.model,
            self.source,
            self.layouts,
            self.folder,
            self.rivals,
            self.detectors,
            self.steps,
            self.difficulties,
            self.one_hard,
            self.name,
        ]
        shown = [self.list, self.head, self.page, self.log, self.seen, self.stop, self.resume, self.open]
        press: dict[str, Any] = {"inputs": [self.chosen, self.seen], **QUIET}
        look = {**press, "queue": False}  # quick, but cannot show messages
        opened.select(self._on_open, outputs=[*shown, self.chosen, self.model, self.rivals, self.clock], **look)
        for tab in closed:
            tab.select(lambda: gr.update(active=False), None, self.clock, queue=False, **QUIET)
        self.clock.tick(self._look, outputs=shown, **look)
        self.list.choose(self._on_run, outputs=[*shown, self.chosen], **look)
        self.stop.click(self._on_stop, outputs=shown, **press)
        self.resume.click(self._on_resume, outputs=shown, **press)
        self.open.click(None, js=OPEN_PAGE, queue=False)
        self.source.change(self._on_source, self.source, [self.layouts, self.folder], queue=False, **QUIET)
        started = [*shown, self.chosen, self.start, self.name]
        self.start.click(self._on_start, [*form, self.chosen, self.seen], started, **QUIET)

    def _on_open(self, chosen: str, seen: str) -> Updates:
        known = gr.update(choices=handlers.models(self.studio, self.trainings))
        now = handlers.settle(self.runs, chosen)
        here = {self.chosen: now, self.model: known, self.rivals: known, self.clock: gr.update(active=True)}
        return {**self._look(now, seen), **here}

    def _on_run(self, chosen: str, seen: str, event: gr.EventData) -> Updates:
        now = str(event.name)
        return {**self._look(now, seen), self.chosen: now}

    def _on_stop(self, chosen: str, seen: str) -> Updates:
        with Messages("Not stopped", "The evaluation goes on."):
            say("Stopping", handlers.stop(self.runs, chosen))
        return self._look(chosen, seen)

    def _on_resume(self, chosen: str, seen: str) -> Updates:
        with Messages("Not resumed", "The evaluation's files are as they were."):
            handlers.resume(self.runs, chosen)
        return self._look(chosen, seen)

    def _on_source(self, source: str) -> Updates:
        return {
            self.layouts: gr.update(visible=source == Source.PAPERCUT),
            self.folder: gr.update(visible=source == Source.FOLDER),
        }

    def _on_start(self, *values: Any) -> Iterator[Updates]:
        *form, chosen, seen = values
        yield {self.start: gr.update(interactive=False, value="Checking…")}
        with Messages("Not started", "Nothing was written."):
            chosen = handlers.start(self.studio, self.runs, read_form(EvaluationOrder, form))
            yield {self.chosen: chosen, self.name: ""}
        yield {**self._look(chosen, seen), self.start: gr.update(interactive=True, value=START)}

    # --- views -> updates ---

    def _look(self, chosen: str, seen: str) -> Updates:
        screen: EvaluationScreen = handlers.look(self.runs, chosen, seen)
        page: Updates = {} if screen.page is None else {self.page: screen.page, self.seen: screen.seen}
        return {
            self.list: screen.runs,
            self.head: screen.head,
            self.log: screen.log,
            **page,
            self.stop: gr.update(visible=screen.may_stop, value="Stop now" if screen.stopping else "Stop"),
            self.resume: gr.update(visible=screen.may_resume),
            self.open: gr.update(visible=screen.may_open),
        }
