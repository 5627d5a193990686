"""The data set view: which layouts and what to draw of them on the left, layouts, pictures and numbers on the right."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import gradio as gr

from app.components.forms import read_form
from app.components.html import hint_html
from app.components.messages import CHOOSE, QUIET, Messages, Updates
from app.components.pager import Pager
from app.components.path_dialog import PathDialog, Wanted
from app.components.picture import ImagePanel, image_value
from app.datasets import handlers
from app.datasets.form import KEEP, DatasetOrder, Need
from app.datasets.handlers import IMAGES, LAYOUTS, NUMBERS, REFUSED, Browser
from app.engine.studio import Studio
from app.runs import handlers as shared
from app.runs.jobs import Runs
from app.runs.panel import MODEL_FOLDER, PanelWords, RunPanel
from detdiffusion.attributes import Strategy
from detdiffusion.errors import DetDiffusionError
from detdiffusion.layout import Layout
from training.synthesis.store import REFINEMENTS

CONFIG_FILE = Wanted("Choose a config file", folder=False, suffixes=(".yaml", ".yml"))

# Once the link of the hidden button is that of the new file.
CLICK_FILE = """() => setTimeout(() => document.querySelector("#data-file").click(), 300)"""


class DatasetView:
    """The widgets of the tab, and what happens between them."""

    def __init__(self, studio: Studio, trainings: Runs, runs: Runs, paths: PathDialog) -> None:
        self.studio, self.trainings, self.runs = studio, trainings, runs
        self.panel = panel = RunPanel("data", PanelWords("data set", "Data sets"), studio.models.uses, paths)
        with gr.Row(elem_id="data-stage", elem_classes="run-stage"):
            with gr.Column(elem_id="data-order", elem_classes="card order-card"):
                self._order_card()
            with gr.Column(elem_id="data-run", elem_classes="card run-card"):
                self._run_card()
        panel.states("")
        self.page_number = gr.State(0)
        self.label = gr.State("")  # class that layouts are filtered by
        form = [self.model, panel.source, panel.count, panel.folder, self.strategy, self.count, self.steps, self.seed]
        self.form = [*form, self.workers, self.refine, self.augment, self.yolo, self.check, panel.name]
        self.place = [panel.chosen, self.view, self.page_number, self.label]
        self.shown = [*panel.shown, self.page, *self.pager.shown, self.download, self.page_number]
        self.opens: list[Any] = [self.model]
        self.turns: list[Any] = [self.view]

    def _order_card(self) -> None:
        known = shared.models(self.studio.models.home, self.trainings)
        first = DatasetOrder(known[0][1])
        gr.HTML("<h2>New data set</h2>", elem_classes="title")
        self.panel.data(first.source, "data-source", first.layouts, "Layouts", "data-layouts")
        paths = self.panel.paths
        with paths.line():
            self.model = gr.Dropdown(
                known, value=first.model, label="Model", allow_custom_value=True, elem_id="data-model"
            )
            paths.button(self.model, MODEL_FOLDER)
        with gr.Row(elem_classes="fields"):
            self.strategy = gr.Dropdown(
                [str(one) for one in Strategy], value=str(first.strategy), label="Objects", elem_id="data-strategy"
            )
            self.count = _line("Images", "data-count", first.count)
            self.steps = _line("Steps", "data-steps", hint="20")
            self.seed = _line("Seed", "data-seed", hint="0")
            self.workers = _line("Workers", "data-workers", first.workers)
            self.refine = gr.Dropdown(
                [KEEP, *REFINEMENTS], value=first.refine, label="Missing objects", elem_id="data-refine"
            )
        with gr.Row(elem_classes="fields"):
            self.augment = gr.Checkbox(first.augment, label="Mirror and shift", elem_id="data-augment")
            self.yolo = gr.Checkbox(first.yolo, label="YOLO labels", elem_id="data-yolo")
            self.check = gr.Checkbox(first.check, label="Check labels", elem_id="data-check")
        self.panel.launch()
        with gr.Accordion("Closed loop", open=False, elem_id="data-more", elem_classes="run-more"):
            with paths.line():
                self.config = _line("Config file (loop.yaml)", "data-config")
                paths.button(self.config, CONFIG_FILE)
            self.start_loop = gr.Button("Start the loop", size="sm", elem_id="data-start-loop")
        self.panel.runs()

    def _run_card(self) -> None:
        with gr.Row(elem_classes="bar"):
            self.view = gr.Radio(
                [LAYOUTS, IMAGES, REFUSED, NUMBERS],
                value=LAYOUTS,
                show_label=False,
                container=False,
                elem_id="data-view",
                elem_classes="choice",
            )
            self.pager = Pager("data")
            self.download = gr.Button("Download zip", size="sm", visible=False, elem_id="data-download")
            self.file = gr.DownloadButton("", elem_id="data-file")  # never seen: a file has to be there before a click
            self.panel.buttons()
        self.panel.headline(handlers.NO_RUN)
        with gr.Row(elem_id="data-large-row", visible=False) as self.large_row:
            self.large = ImagePanel(elem_id="data-large")
            self.back = gr.Button("All images", size="sm", elem_id="data-back", elem_classes="escape")
        self.page = gr.HTML(
            hint_html(handlers.READING),
            js_on_load=CHOOSE,
            elem_id="data-page",
            elem_classes="tile-page",
            apply_default_css=False,
        )
        self.panel.logbook()

    # --- wiring ---

    def wire(self, opened: gr.Tab) -> None:
        """`opened` is this view's tab."""
        panel, values = self.panel, self.values
        panel.wire(self, opened)
        self.view.change(self._on_view, values, self.shown, **QUIET)
        self.pager.wire(self._turn, values, self.shown)
        packed = self.download.click(self._on_download, panel.chosen, self.file, **QUIET)
        packed.success(None, js=CLICK_FILE, queue=False)
        for widget in (panel.source, panel.count, panel.folder, self.model):
            widget.change(self._on_form, values, self.shown, trigger_mode="always_last", **QUIET)
        self.back.click(lambda: gr.update(visible=False), None, self.large_row, queue=False, **QUIET)
        self.start_loop.click(
            self._on_start_loop, [self.config, *self.place], [*self.shown, panel.chosen, self.view], **QUIET
        )

    @property
    def values(self) -> list[Any]:
        """What the page is of: form and place."""
        return [*self.form, *self.place]

    def layout_at(self, name: str, *values: Any) -> Layout | None:
        """The layout that was clicked, of the page that is shown; None where something else was.

        Args:
            name: of the button.
            values: of `self.values`.

        Raises:
            DetDiffusionError: it is not there any more.
        """
        kind, _, number = name.partition(" ")
        order, _, _, page, label = self._read(values)
        return handlers.browse(order, label, page, self.runs.places).layouts[int(number)] if kind == "layout" else None

    def enlarge(self, name: str, *values: Any) -> Updates:
        """A click on an image of the page. ConfigError where it is not there any more."""
        view = handlers.enlarged(self.runs, self._read(values)[1], int(name.removeprefix("image ")))
        return {self.large: image_value(view), self.large_row: gr.update(visible=True)}

    def on_class(self, name: str, *values: Any) -> Updates:
        """A click on a class: only layouts with it; a second click: all of them."""
        order, chosen, view, _, label = self._read(values)
        wanted = name.removeprefix("class ")
        now = "" if wanted == label else wanted
        return {**self._show(order, chosen, view, 0, now), self.label: now}

    def _read(self, values: tuple[Any, ...]) -> tuple[DatasetOrder, str, str, int, str]:
        count = len(fields(DatasetOrder))
        chosen, view, page, label = values[count:]
        return read_form(DatasetOrder, values[:count]), str(chosen), str(view), int(page), str(label)

    def begin_more(self, model: str, count: str, steps: str, need: Need) -> Updates:
        """Starts a data set for a slice of a diagnosis, and shows it. ConfigError if it cannot work."""
        order = DatasetOrder(model, strategy=Strategy.ORIGIN, count=count, steps=steps, augment=False, check=True)
        name = handlers.start_more(self.studio, self.runs, order, need)
        return {**self.look(name, IMAGES, 0), self.panel.chosen: name, self.view: IMAGES}

    # --- what the panel asks ---

    def look(self, chosen: str, *place: Any) -> Updates:
        """The runs as they are now. Layouts do not change by themselves: their page stays."""
        view, page, *_ = place
        screen = handlers.look(self.runs, chosen, view, page)
        number = min(max(page, 0), max(screen.pages - 1, 0))
        paged: Updates = {}
        if view != LAYOUTS:
            paged = {self.page: screen.page, self.page_number: number, **self.pager.at(number, screen.pages)}
        return {**self.panel.show(screen.run), **paged, self.download: gr.update(visible=screen.may_download)}

    def opened(self, *values: Any) -> Updates:
        """The data set that is settled on, and the models that there are now."""
        order, chosen, view, page, label = self._read(values)
        now = shared.settle(self.runs, chosen)
        known = gr.update(choices=shared.models(self.studio.models.home, self.trainings))
        return {**self._show(order, now, view, page, label), self.panel.chosen: now, self.model: known}

    def name_of(self, chosen: str) -> str:
        """Of the run that is chosen."""
        return chosen

    def choose(self, name: str, *place: Any) -> Updates:
        """Another data set is shown: its pictures, or its numbers."""
        view = IMAGES if place[1] == LAYOUTS else place[1]
        return {**self.look(name, view, 0), self.panel.chosen: name, self.view: view}

    def begin(self, *values: Any) -> str:
        """Starts what the form says; its name."""
        return handlers.start(self.studio, self.runs, self._read(values)[0])

    def begun(self, chosen: str, *values: Any, started: bool) -> Updates:
        """Pictures of the data set that was started, or what was shown."""
        order, _, view, page, label = self._read(values)
        now = IMAGES if started else view
        return {**self._show(order, chosen, now, page, label), self.view: now}

    def stop(self, chosen: str) -> str:
        """What happens now. ConfigError if there is nothing to stop."""
        return shared.stop(self.runs, chosen)

    def resume(self, chosen: str) -> None:
        """ConfigError if there is nothing to resume."""
        shared.resume(self.runs, chosen)

    # --- events of its own ---

    def _on_view(self, *values: Any) -> Updates:
        order, chosen, view, _, label = self._read(values)
        return self._show(order, chosen, view, 0, label)

    def _on_form(self, *values: Any) -> Updates:
        order, chosen, view, _, label = self._read(values)
        return self._show(order, chosen, view, 0, label) if view == LAYOUTS else {self.panel.list: gr.skip()}

    def _turn(self, step: int) -> Callable[..., Updates]:
        def turned(*values: Any) -> Updates:
            order, chosen, view, page, label = self._read(values)
            return self._show(order, chosen, view, page + step, label)

        return turned

    def _on_download(self, chosen: str) -> str:
        try:
            return str(handlers.download(self.runs, chosen, self.studio.pictures.parent / "cache" / "zip"))
        except DetDiffusionError as error:
            raise gr.Error(str(error)) from error

    def _on_start_loop(self, config: str, *place: Any) -> Updates:
        with Messages("Not started", "Nothing was written."):
            chosen = handlers.start_loop(self.runs, config or "")
            return {**self.look(chosen, IMAGES, 0), self.panel.chosen: chosen, self.view: IMAGES}
        return {self.panel.list: gr.skip()}

    def _show(self, order: DatasetOrder, chosen: str, view: str, page: int, label: str) -> Updates:
        if view != LAYOUTS:
            return self.look(chosen, view, page)
        try:
            browser = handlers.browse(order, label, page, self.runs.places)
        except DetDiffusionError as error:
            text = str(error)
            browser = Browser(hint_html(text[:1].upper() + text[1:]), 1)
        number = min(max(page, 0), browser.pages - 1)
        paged = {self.page: browser.html, self.page_number: number, **self.pager.at(number, browser.pages)}
        return {**self.look(chosen, view, page), **paged}


def _line(label: str, name: str, value: str = "", hint: str = "") -> gr.Textbox:
    """A field of one line."""
    return gr.Textbox(value, label=label, placeholder=hint, max_lines=1, elem_id=name)
