"""The evaluation view: what to measure on the left, how far it is and its report on the right. Widgets and wiring."""

from dataclasses import replace
from typing import Any

import gradio as gr

from app.components.forms import read_form
from app.components.html import hint_html
from app.components.messages import Updates
from app.components.path_dialog import PathDialog
from app.engine.studio import Studio
from app.evaluation import handlers
from app.evaluation.form import EvaluationOrder
from app.runs import handlers as shared
from app.runs.jobs import Runs
from app.runs.panel import DETECTOR, MODEL_FOLDER, PanelWords, RunPanel

OPEN = "Open the report"
# The report as a page of its own, from what the frame holds: no file is served.
OPEN_PAGE = """() => {
  const frame = document.querySelector("#eval-page iframe");
  if (frame) window.open(URL.createObjectURL(new Blob([frame.srcdoc], { type: "text/html" })));
}"""


class EvaluationView:
    """The widgets of the tab, and what happens between them."""

    def __init__(self, studio: Studio, trainings: Runs, runs: Runs, paths: PathDialog) -> None:
        self.studio, self.trainings, self.runs = studio, trainings, runs
        self.panel = panel = RunPanel("eval", PanelWords("evaluation", "Evaluations"), studio.models.uses, paths)
        with gr.Row(elem_id="eval-stage", elem_classes="run-stage"):
            with gr.Column(elem_id="eval-order", elem_classes="card order-card"):
                self._order_card()
            with gr.Column(elem_id="eval-run", elem_classes="card run-card"):
                self._run_card()
        panel.states("")
        self.seen = gr.State("")  # which report the page holds: it is large, so it is sent once
        form = [self.model, panel.source, panel.count, panel.folder, self.baselines, self.detectors, self.steps]
        self.form = [*form, self.attribute_guidance, self.one_hard, panel.name]
        self.place = [panel.chosen, self.seen]
        self.shown = [*panel.shown, self.page, self.seen, self.open]
        self.opens: list[Any] = [self.model, self.baselines]
        self.turns: list[Any] = []

    def _order_card(self) -> None:
        known = shared.models(self.studio.models.home, self.trainings)
        first = EvaluationOrder(known[0][1])
        gr.HTML("<h2>New evaluation</h2>", elem_classes="title")
        self.panel.data(first.source, "eval-data", first.layouts, "Unseen layouts", "eval-layouts")
        paths = self.panel.paths
        with paths.line():
            self.model = gr.Dropdown(
                known, value=first.model, label="Model", allow_custom_value=True, elem_id="eval-model"
            )
            paths.button(self.model, MODEL_FOLDER)
        with paths.line():
            self.baselines = gr.Dropdown(
                known,
                value=[],
                label="Baselines, if any",
                multiselect=True,
                allow_custom_value=True,
                elem_id="eval-baselines",
            )
            paths.button(self.baselines, replace(MODEL_FOLDER, several=True))
        with paths.line():
            self.detectors = gr.Textbox(
                label="Detectors", placeholder="the model's own, or paths", max_lines=1, elem_id="eval-detectors"
            )
            paths.button(self.detectors, replace(DETECTOR, several=True))
        with gr.Row(elem_classes="fields"):
            self.steps = gr.Textbox(label="Steps", placeholder="20", max_lines=1, elem_id="eval-steps")
            self.attribute_guidance = gr.Textbox(
                label="Attribute guidance", placeholder="none, or 0,1,2", max_lines=1, elem_id="eval-attribute-guidance"
            )
        self.one_hard = gr.Checkbox(
            first.one_hard, label="Also test one hard object per layout", elem_id="eval-one-hard"
        )
        self.panel.launch()
        self.panel.runs()

    def _run_card(self) -> None:
        with gr.Row(elem_classes="bar"):
            gr.HTML("<h2>Report</h2>", elem_classes="title")
            self.open = gr.Button(OPEN, size="sm", visible=False, elem_id="eval-open")
            self.panel.buttons()
        self.panel.headline(handlers.NO_EVALUATION)
        self.page = gr.HTML(hint_html(handlers.NO_PAGE), elem_id="eval-page", apply_default_css=False)
        self.panel.logbook()

    def wire(self, opened: gr.Tab) -> None:
        """`opened` is this view's tab."""
        self.panel.wire(self, opened)
        self.open.click(None, js=OPEN_PAGE, queue=False)

    def look(self, chosen: str, *place: Any) -> Updates:
        """The evaluations as they are now."""
        screen = handlers.look(self.runs, chosen, place[0])
        page: Updates = {} if screen.page is None else {self.page: screen.page, self.seen: screen.seen}
        return {**self.panel.show(screen.run), **page, self.open: gr.update(visible=screen.may_open)}

    def opened(self, *values: Any) -> Updates:
        """The evaluation that is settled on, and the models that there are now."""
        *_, chosen, seen = values
        known = gr.update(choices=shared.models(self.studio.models.home, self.trainings))
        now = shared.settle(self.runs, chosen)
        return {**self.look(now, seen), self.panel.chosen: now, self.model: known, self.baselines: known}

    def name_of(self, chosen: str) -> str:
        """Of the run that is chosen."""
        return chosen

    def choose(self, name: str, *place: Any) -> Updates:
        """Another evaluation is shown."""
        return {**self.look(name, place[1]), self.panel.chosen: name}

    def begin(self, *values: Any) -> str:
        """Starts what the form says; its name."""
        return handlers.start(self.studio, self.runs, read_form(EvaluationOrder, values[: len(self.form)]))

    def begun(self, chosen: str, *values: Any, started: bool) -> Updates:
        """The evaluation that was started, or the one that was shown."""
        return self.look(chosen, values[-1])

    def stop(self, chosen: str) -> str:
        """What happens now. ConfigError if there is nothing to stop."""
        return shared.stop(self.runs, chosen)

    def resume(self, chosen: str) -> None:
        """ConfigError if there is nothing to resume."""
        shared.resume(self.runs, chosen)
