"""The diagnosis view: what to diagnose on the left, slices and errors with their images on the right."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import gradio as gr

from app.components.forms import as_shown, read_form
from app.components.html import hint_html
from app.components.messages import CHOOSE, EACH_CHOICE, QUIET, Updates
from app.components.pager import Pager
from app.components.path_dialog import PathDialog
from app.diagnosis import handlers
from app.diagnosis.form import DiagnosisOrder
from app.diagnosis.handlers import FINDINGS, REPORT, Findings, Place, Sort
from app.engine.studio import Studio
from app.runs import handlers as shared
from app.runs.form import Source
from app.runs.jobs import Runs
from app.runs.panel import DETECTOR, MODEL_FOLDER, PanelWords, RunPanel

MORE = "Make more like this"


class DiagnosisView:
    """The widgets of the tab, and what happens between them."""

    def __init__(self, studio: Studio, trainings: Runs, runs: Runs, paths: PathDialog) -> None:
        self.studio, self.trainings, self.runs = studio, trainings, runs
        self.panel = panel = RunPanel("diag", PanelWords("diagnosis", "Diagnoses"), studio.models.uses, paths)
        with gr.Row(elem_id="diag-stage", elem_classes="run-stage"):
            with gr.Column(elem_id="diag-order", elem_classes="card order-card"):
                self._order_card()
            with gr.Column(elem_id="diag-run", elem_classes="card run-card"):
                self._run_card()
        panel.states("")
        self.picked, self.page_number, self.seen = gr.State(""), gr.State(0), gr.State("")
        # What the menu shows, for the clock: between an answer and the page, the menu still says what it was.
        self.order = gr.State(str(Sort.LEAST))
        self.form = [panel.source, panel.count, panel.folder, self.split, self.detector, panel.name]
        self.place = [panel.chosen, self.picked, self.order, self.page_number, self.view, self.seen]
        parts = [self.hint, self.findings, self.bars, self.title, self.sort, self.images, self.report, self.more_row]
        self.shown = [*panel.shown, *parts, *self.pager.shown, self.picked, self.order, self.page_number, self.seen]
        self.opens: list[Any] = [self.model]
        self.turns: list[Any] = []

    def _order_card(self) -> None:
        first = DiagnosisOrder()
        gr.HTML("<h2>New diagnosis</h2>", elem_classes="title")
        self.panel.data(first.source, "diag-data", first.scenes, "Unseen scenes", "diag-scenes")
        self.split = gr.Textbox(
            label="Split", placeholder="the only one, or train", max_lines=1, visible=False, elem_id="diag-split"
        )
        with self.panel.paths.line():
            self.detector = gr.Textbox(
                first.detector, label="Detector new to these images", max_lines=1, elem_id="diag-detector"
            )
            self.panel.paths.button(self.detector, DETECTOR)
        self.panel.launch()
        self.panel.runs()

    def _run_card(self) -> None:
        with gr.Row(elem_classes="bar"):
            self.view = gr.Radio(
                [FINDINGS, REPORT],
                value=FINDINGS,
                show_label=False,
                container=False,
                elem_id="diag-view",
                elem_classes="choice",
            )
            self.panel.buttons()
        self.panel.headline(handlers.NO_RUN)
        self.hint = gr.HTML(hint_html(handlers.HOW), elem_id="diag-hint", apply_default_css=False)
        self.report = gr.HTML(visible=False, elem_id="diag-report", apply_default_css=False)
        with gr.Row(visible=False, elem_id="diag-findings") as self.findings:
            self.bars = gr.HTML(js_on_load=CHOOSE, elem_id="diag-bars", apply_default_css=False)
            with gr.Column(elem_id="diag-cases"):
                with gr.Row(elem_id="diag-about", elem_classes="bar"):
                    self.title = gr.HTML(elem_id="diag-title", apply_default_css=False)
                    self.sort = gr.Dropdown(
                        [str(one) for one in Sort],
                        value=str(Sort.LEAST),
                        label="Order",
                        show_label=False,
                        container=False,
                        elem_id="diag-sort",
                    )
                    self.pager = Pager("diag")
                self._more()
                self.images = gr.HTML(
                    js_on_load=CHOOSE, elem_id="diag-images", elem_classes="tile-page", apply_default_css=False
                )
        self.panel.logbook()

    def _more(self) -> None:
        """What is made of a slice: a data set, in the tab of data sets."""
        known = shared.models(self.studio.models.home, self.trainings)
        with gr.Row(visible=False, elem_id="diag-more", elem_classes="path-line") as self.more_row:
            self.count = gr.Textbox("64", label="Images", max_lines=1, elem_id="diag-count")
            self.steps = gr.Textbox(label="Steps", placeholder="20", max_lines=1, elem_id="diag-steps")
            self.model = gr.Dropdown(
                known, value=known[0][1], label="Model", allow_custom_value=True, elem_id="diag-model"
            )
            self.panel.paths.button(self.model, MODEL_FOLDER)
            self.more = gr.Button(MORE, size="sm", variant="primary", elem_id="diag-make")

    # --- wiring ---

    def wire(self, opened: gr.Tab) -> None:
        """`opened` is this view's tab."""
        self.panel.wire(self, opened)
        place, shown = self.place, self.shown
        self.bars.choose(self._on_pick, place, shown, **EACH_CHOICE)
        self.sort.input(self._on_sort, [self.sort, *place], shown, trigger_mode="always_last", **QUIET)
        self.view.input(self._turn(0), place, shown, trigger_mode="always_last", **QUIET)
        self.pager.wire(self._turn, place, shown)
        source, split = self.panel.source, self.split
        source.change(lambda of: gr.update(visible=of == Source.FOLDER), source, split, queue=False, **QUIET)

    @property
    def order_of_more(self) -> list[Any]:
        """The widgets that say what is made of a slice: model, images, steps."""
        return [self.model, self.count, self.steps]

    def read_more(self, values: tuple[Any, ...]) -> tuple[str, str, str]:
        """What they say."""
        model, count, steps = as_shown(self.order_of_more, values)
        return model, count, steps or ""

    def read_place(self, values: tuple[Any, ...]) -> Place:
        """Of the widgets of `place`."""
        return read_form(Place, values)

    # --- what the panel asks ---

    def look(self, chosen: str, *place: Any) -> Updates:
        """The diagnoses as they are now."""
        return self._show(self.read_place((chosen, *place)))

    def opened(self, *values: Any) -> Updates:
        """The diagnosis that is settled on, and the models that there are now."""
        place = self._place(values)
        now = shared.settle(self.runs, place.run)
        known = gr.update(choices=shared.models(self.studio.models.home, self.trainings))
        return {**self._show(replace(place, run=now)), self.panel.chosen: now, self.model: known}

    def name_of(self, chosen: str) -> str:
        """Of the run that is chosen."""
        return chosen

    def choose(self, name: str, *place: Any) -> Updates:
        """Another diagnosis is shown, at the same slice if it has that."""
        now = replace(self.read_place(place), run=name, page=0)
        return {**self._show(now), self.panel.chosen: name}

    def begin(self, *values: Any) -> str:
        """Starts what the form says; its name."""
        return handlers.start(self.studio, self.runs, read_form(DiagnosisOrder, values[: len(self.form)]))

    def begun(self, chosen: str, *values: Any, started: bool) -> Updates:
        """The diagnosis that was started, or the one that was shown."""
        return self._show(replace(self._place(values), run=chosen))

    def stop(self, chosen: str) -> str:
        """What happens now. ConfigError if there is nothing to stop."""
        return shared.stop(self.runs, chosen)

    def resume(self, chosen: str) -> None:
        """ConfigError if there is nothing to resume."""
        shared.resume(self.runs, chosen)

    # --- events of its own ---

    def _on_pick(self, event: gr.EventData, *values: Any) -> Updates:
        picked = str(event.name)
        return self._show(replace(self.read_place(values), picked=picked, sort=handlers.natural(picked), page=0))

    def _on_sort(self, sort: str, *values: Any) -> Updates:
        return self._show(replace(self.read_place(values), sort=sort, page=0))

    def _turn(self, step: int) -> Callable[..., Updates]:
        def turned(*values: Any) -> Updates:
            place = self.read_place(values)
            return self._show(replace(place, page=place.page + step))

        return turned

    def _place(self, values: tuple[Any, ...]) -> Place:
        """Of form and place."""
        return self.read_place(values[-len(fields(Place)) :])

    def _show(self, place: Place) -> Updates:
        screen = handlers.look(self.runs, place)
        if screen.findings is None:
            return self.panel.show(screen.run)
        now = screen.place
        kept: Updates = {self.picked: now.picked, self.page_number: now.page, self.seen: now.seen}
        kept |= dict.fromkeys((self.order, self.sort), str(now.sort))
        return {**self.panel.show(screen.run), **self._parts(screen.findings, now.page), **kept}

    def _parts(self, found: Findings, page: int) -> Updates:
        return {
            self.hint: gr.update(value=found.hint, visible=bool(found.hint)),
            self.report: gr.update(value=found.report, visible=bool(found.report)),
            self.findings: gr.update(visible=bool(found.bars)),
            self.bars: found.bars,
            self.title: found.title,
            self.images: found.images,
            self.more_row: gr.update(visible=found.may_more),
            **self.pager.at(page, found.pages),
        }
