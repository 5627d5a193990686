"""The data set view: which layouts and what to draw of them on the left, layouts, pictures and numbers on the right."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import gradio as gr

from app.components.forms import read_form
from app.components.messages import CHOOSE, LOOK_SECONDS, QUIET, START, Messages, Updates, say
from app.components.views import hint_html
from app.datasets import handlers
from app.datasets.form import KEEP, DatasetOrder
from app.datasets.handlers import LAYOUTS, NUMBERS, PICTURES, Browser
from app.engine.studio import Studio
from app.evaluation.handlers import models, resume, settle, stop
from app.runs.jobs import Runs
from app.training.form import Source
from detdiffusion.attributes import Strategy
from detdiffusion.errors import DetDiffusionError
from detdiffusion.layout import Layout
from training.synthesis.store import REFINEMENTS

# Once the link of the hidden button is that of the new file.
CLICK_FILE = """() => setTimeout(() => document.querySelector("#data-file").click(), 300)"""
NOT_STARTED = "Nothing was written."


class DatasetView:
    """The widgets of the tab, and what happens between them."""

    def __init__(self, studio: Studio, trainings: Runs, runs: Runs) -> None:
        self.studio, self.trainings, self.runs = studio, trainings, runs
        with gr.Row(elem_id="data-stage", elem_classes="run-stage"):
            with gr.Column(elem_id="data-order", elem_classes="card order-card"):
                self._order_card()
            with gr.Column(elem_id="data-run", elem_classes="card run-card"):
                self._run_card()
        self.chosen = gr.State("")
        self.page_number = gr.State(0)
        self.label = gr.State("")  # class that layouts are filtered by
        self.clock = gr.Timer(LOOK_SECONDS, active=False)
        form = [self.model, self.source, self.layouts, self.folder, self.strategy, self.count, self.steps, self.seed]
        self.form = [*form, self.workers, self.refine, self.augment, self.yolo, self.name]  # as DatasetOrder has them
        self.place = [*self.form, self.view, self.chosen, self.page_number, self.label]
        looks = [self.list, self.head, self.page, self.log, self.stop, self.resume, self.download]
        self.shown = [*looks, self.page_number]

    def _order_card(self) -> None:
        known = models(self.studio, self.trainings)
        first = DatasetOrder(known[0][1])
        gr.HTML("<h2>New data set</h2>", elem_classes="title")
        self.source = gr.Radio(
            [source.value for source in Source],
            value=first.source,
            show_label=False,
            container=False,
            elem_id="data-source",
            elem_classes="choice run-source",
        )
        self.layouts = _line("Layouts", "data-layouts", first.layouts)
        self.folder = _line("Folder (COCO, YOLO or Pascal VOC)", "data-folder", visible=False)
        self.model = gr.Dropdown(known, value=first.model, label="Model", allow_custom_value=True, elem_id="data-model")
        with gr.Row(elem_classes="fields"):
            self.strategy = gr.Dropdown(
                [str(one) for one in Strategy], value=str(first.strategy), label="Objects", elem_id="data-strategy"
            )
            self.count = _line("Pictures", "data-count", first.count)
            self.steps = _line("Steps", "data-steps", hint="20")
            self.seed = _line("Seed", "data-seed", hint="0")
            self.workers = _line("Workers", "data-workers", first.workers)
            self.refine = gr.Dropdown(
                [KEEP, *REFINEMENTS], value=first.refine, label="Objects not drawn", elem_id="data-refine"
            )
        with gr.Row(elem_classes="fields"):
            self.augment = gr.Checkbox(first.augment, label="Mirror, shift", elem_id="data-augment")
            self.yolo = gr.Checkbox(first.yolo, label="YOLO labels", elem_id="data-yolo")
        with gr.Row(elem_id="data-launch", elem_classes="run-launch"):
            self.name = _line("Name", "data-name", hint="Name", bare=True)
            self.start = gr.Button(START, size="sm", variant="primary", elem_id="data-start", elem_classes="run-start")
        with gr.Accordion("Closed loop", open=False, elem_id="data-more", elem_classes="run-more"):
            self.config = _line("Config file (loop.yaml)", "data-config")
            self.start_loop = gr.Button("Start the loop", size="sm", elem_id="data-start-loop")
        gr.HTML("<h3>Data sets</h3>", elem_classes="title")
        self.list = gr.HTML(js_on_load=CHOOSE, elem_id="data-runs", elem_classes="run-list", apply_default_css=False)

    def _run_card(self) -> None:
        with gr.Row(elem_classes="bar"):
            self.view = gr.Radio(
                [LAYOUTS, PICTURES, NUMBERS],
                value=LAYOUTS,
                show_label=False,
                container=False,
                elem_id="data-view",
                elem_classes="choice",
            )
            self.before = gr.Button("‹", size="sm", elem_id="data-before")
            self.after = gr.Button("›", size="sm", elem_id="data-after")
            self.download = gr.Button("Download zip", size="sm", visible=False, elem_id="data-download")
            self.file = gr.DownloadButton("", elem_id="data-file")  # never seen: a file has to be there before a click
            self.resume = gr.Button("Resume", size="sm", visible=False, elem_id="data-resume")
            self.stop = gr.Button("Stop", size="sm", visible=False, elem_id="data-stop")
        self.head = gr.HTML(elem_id="data-head", elem_classes="run-head", apply_default_css=False)
        self.page = gr.HTML(js_on_load=CHOOSE, elem_id="data-page", apply_default_css=False)
        self.log = gr.HTML(elem_id="data-log", elem_classes="run-log", apply_default_css=False)

    # --- wiring ---

    def wire(self, opened: gr.Tab, closed: list[gr.Tab]) -> None:
        """`opened` is this view's tab: the page looks while it is selected, until one of `closed` is."""
        place, shown = [self.view, self.chosen, self.page_number, self.label], self.shown
        quick: dict[str, Any] = {"queue": False, **QUIET}
        opened.select(self._on_open, self.place, [*shown, self.chosen, self.model, self.clock], **quick)
        for tab in closed:
            tab.select(lambda: gr.update(active=False), None, self.clock, **quick)
        self.clock.tick(self._on_tick, place, shown, **quick)
        self.view.change(self._on_view, self.place, shown, **QUIET)
        for button, step in ((self.before, -1), (self.after, 1)):
            button.click(self._turn(step), self.place, shown, **QUIET)
        self.list.choose(self._on_run, place, [*shown, self.chosen, self.view], **quick)
        self.stop.click(self._on_stop, place, shown, **QUIET)
        self.resume.click(self._on_resume, place, shown, **QUIET)
        packed = self.download.click(self._on_download, self.chosen, self.file, **QUIET)
        packed.success(None, js=CLICK_FILE, queue=False)
        self.source.change(self._on_source, self.source, [self.layouts, self.folder], **quick)
        for widget in (self.source, self.layouts, self.folder):
            widget.change(self._on_form, self.place, shown, trigger_mode="always_last", **QUIET)
        started = [*shown, self.chosen, self.view, self.start, self.name]
        self.start.click(self._on_start, self.place, started, **QUIET)
        self.start_loop.click(self._on_start_loop, [self.config, *place], [*shown, self.chosen, self.view], **QUIET)

    def layout_at(self, name: str, *values: Any) -> Layout | None:
        """The layout that was clicked, of the page that is shown; None where something else was.

        Args:
            name: of the button.
            values: of `place`: form and page.

        Raises:
            DetDiffusionError: it is not there any more.
        """
        kind, _, number = name.partition(" ")
        order, _, page, label = self._read(values)
        return handlers.browse(order, label, page).layouts[int(number)] if kind == "layout" else None

    def on_class(self, name: str, *values: Any) -> Updates:
        """A click on a class: only layouts with it; a second click: all of them."""
        order, view, _, label = self._read(values)
        chosen = name.removeprefix("class ")
        now = "" if chosen == label else chosen
        return {**self._show(order, view, str(values[-3]), 0, now), self.label: now}

    def _read(self, values: tuple[Any, ...]) -> tuple[DatasetOrder, str, int, str]:
        count = len(fields(DatasetOrder))
        view, _, page, label = values[count:]
        return read_form(DatasetOrder, values[:count]), str(view), int(page), str(label)

    def _on_open(self, *values: Any) -> Updates:
        order, view, page, label = self._read(values)
        known = gr.update(choices=models(self.studio, self.trainings))
        chosen = settle(self.runs, str(values[-3]))
        here = {self.chosen: chosen, self.model: known, self.clock: gr.update(active=True)}
        return {**self._show(order, view, chosen, page, label), **here}

    def _on_tick(self, view: str, chosen: str, page: int, label: str) -> Updates:
        return self._look(view, chosen, page)

    def _on_view(self, *values: Any) -> Updates:
        order, view, _, label = self._read(values)
        return self._show(order, view, str(values[-3]), 0, label)

    def _on_form(self, *values: Any) -> Updates:
        order, view, _, label = self._read(values)
        return self._show(order, view, str(values[-3]), 0, label) if view == LAYOUTS else {self.list: gr.skip()}

    def _turn(self, step: int) -> Any:
        def turned(*values: Any) -> Updates:
            order, view, page, label = self._read(values)
            return self._show(order, view, str(values[-3]), page + step, label)

        return turned

    def _on_run(self, view: str, chosen: str, page: int, label: str, event: gr.EventData) -> Updates:
        now, shown = str(event.name), PICTURES if view == LAYOUTS else view
        return {**self._look(shown, now, 0), self.chosen: now, self.view: shown}

    def _on_stop(self, view: str, chosen: str, page: int, label: str) -> Updates:
        with Messages("Not stopped", "The data set goes on."):
            say("Stopping", stop(self.runs, chosen))
        return self._on_tick(view, chosen, page, label)

    def _on_resume(self, view: str, chosen: str, page: int, label: str) -> Updates:
        with Messages("Not resumed", "The data set's files are as they were."):
            resume(self.runs, chosen)
        return self._on_tick(view, chosen, page, label)

    def _on_download(self, chosen: str) -> str:
        try:
            return str(handlers.download(self.runs, chosen, self.studio.pictures.parent / "cache" / "zip"))
        except DetDiffusionError as error:
            raise gr.Error(str(error)) from error

    def _on_source(self, source: str) -> Updates:
        return {
            self.layouts: gr.update(visible=source == Source.PAPERCUT),
            self.folder: gr.update(visible=source == Source.FOLDER),
        }

    def _on_start(self, *values: Any) -> Iterator[Updates]:
        order, view, page, label = self._read(values)
        chosen = str(values[-3])
        yield {self.start: gr.update(interactive=False, value="Checking…")}
        with Messages("Not started", NOT_STARTED):
            chosen, view = handlers.start(self.studio, self.runs, order), PICTURES
            yield {self.chosen: chosen, self.view: view, self.name: ""}
        shown = self._show(order, view, chosen, page, label)
        yield {**shown, self.start: gr.update(interactive=True, value=START)}

    def _on_start_loop(self, config: str, view: str, chosen: str, page: int, label: str) -> Updates:
        with Messages("Not started", NOT_STARTED):
            chosen = handlers.start_loop(self.runs, config or "")
            return {**self._look(PICTURES, chosen, 0), self.chosen: chosen, self.view: PICTURES}
        return {self.list: gr.skip()}

    # --- views -> updates ---

    def _show(self, order: DatasetOrder, view: str, chosen: str, page: int, label: str) -> Updates:
        if view != LAYOUTS:
            return self._look(view, chosen, page)
        try:
            browser = handlers.browse(order, label, page)
        except DetDiffusionError as error:
            browser = Browser(hint_html(str(error)), 1)
        number = min(max(page, 0), browser.pages - 1)
        return {**self._look(view, chosen, page), self.page: browser.html, self.page_number: number}

    def _look(self, view: str, chosen: str, page: int) -> Updates:
        """Layouts do not change by themselves: their page stays."""
        screen = handlers.look(self.runs, chosen, view, page)
        number = min(max(page, 0), max(screen.pages - 1, 0))
        paged: Updates = {} if view == LAYOUTS else {self.page: screen.page, self.page_number: number}
        return {
            self.list: screen.runs,
            self.head: screen.head,
            self.log: screen.log,
            **paged,
            self.stop: gr.update(visible=screen.may_stop, value="Stop now" if screen.stopping else "Stop"),
            self.resume: gr.update(visible=screen.may_resume),
            self.download: gr.update(visible=screen.may_download),
        }


def _line(label: str, name: str, value: str = "", hint: str = "", *, bare: bool = False, visible: bool = True) -> Any:
    """A field of one line."""
    look: dict[str, Any] = {"show_label": False, "container": False, "elem_classes": "run-name"} if bare else {}
    return gr.Textbox(value, label=label, placeholder=hint, max_lines=1, elem_id=name, visible=visible, **look)
