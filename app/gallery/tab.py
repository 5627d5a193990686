"""The gallery view: a filter and the chosen picture on the left, tiles of the history on the right. Widgets and wiring
only."""

from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from app.components.clock import new_clock
from app.components.forms import read_form
from app.components.html import hint_html
from app.components.messages import EACH_CHOICE, QUIET, Messages, Updates, say
from app.components.pager import Pager
from app.components.picture import ImagePanel, image_value
from app.engine.studio import Studio
from app.gallery import handlers
from app.gallery.handlers import Deletion, Form
from app.store.entries import Entry

# Once the link of the hidden button is that of the new file.
CLICK_FILE = """() => setTimeout(() => document.querySelector("#gallery-file").click(), 300)"""
FOCUS_KEEP = """() => setTimeout(() => document.querySelector("#gallery-keep")?.focus(), 100)"""
UNCHANGED = "The gallery is unchanged."
LOOKING = "Looking for images."
CHOOSE_ONE = "Select an image to see its details."


class GalleryView:
    """The widgets of the tab, and what happens between them."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        with gr.Row(elem_id="gallery-stage", elem_classes="run-stage"):
            with gr.Column(elem_id="gallery-order", elem_classes="card order-card"):
                self._order_card()
            with gr.Column(elem_id="gallery-run", elem_classes="card run-card"):
                self._run_card()
        self.page_number = gr.State(0)
        self.selected = gr.State(())
        self.newest = gr.State(0)  # picture that is known here
        self.asked = gr.State("")  # which deletion waits for its answer
        self.clock = new_clock()
        self.form = [self.label, self.model, self.drop, self.missed, self.starred]  # as Form has them
        self.place = [*self.form, self.page_number, self.selected]
        chosen = [self.picture, self.facts, self.restore, self.delete, self.select]
        paged = [self.head, self.tiles, *self.pager.shown]
        thrown = [self.trash, self.thrown]
        self.shown = [*paged, *chosen, self.storage, self.clean, *thrown, self.page_number, self.selected, self.newest]

    def _order_card(self) -> None:
        gr.HTML("<h2>Show</h2>", elem_classes="title")
        with gr.Row(elem_classes="fields"):
            self.label = gr.Dropdown([("Any", "")], value="", label="Class", elem_id="gallery-label")
            self.model = gr.Dropdown([("Any", "")], value="", label="Model", elem_id="gallery-model")
        self.drop = gr.Slider(0, 1, 0, step=0.05, label="Minimum drop, easy-hard", buttons=[], elem_id="gallery-drop")
        with gr.Row(elem_classes="fields"):
            self.missed = gr.Checkbox(False, label="With missed objects", elem_id="gallery-missed")
            self.starred = gr.Checkbox(False, label="Starred", elem_id="gallery-starred")
        self.picture = ImagePanel(elem_id="gallery-picture")
        self.facts = gr.HTML(hint_html(CHOOSE_ONE), elem_id="gallery-facts", apply_default_css=False)
        self.restore = gr.Button("Restore to canvas", size="sm", variant="primary", elem_id="gallery-restore")
        with gr.Row(elem_id="gallery-store"):
            self.storage = gr.HTML(elem_id="gallery-storage", apply_default_css=False)
            self.clean = gr.Button("Clean up", size="sm", elem_id="gallery-clean")
        with gr.Row(elem_id="gallery-trash", visible=False) as self.trash:
            self.thrown = gr.HTML(elem_id="gallery-thrown", apply_default_css=False)
            self.undo = gr.Button("Undo", size="sm", elem_id="gallery-undo")
            self.empty = gr.Button("Empty", size="sm", elem_id="gallery-empty")

    def _run_card(self) -> None:
        with gr.Row(elem_classes="bar"):
            self.head = gr.HTML("<h2>Gallery</h2>", elem_classes="title", elem_id="gallery-head")
            self.pager = Pager("gallery")
            self.select = gr.Button("Select all", size="sm", elem_id="gallery-select")
            self.export = gr.Button("Export COCO", size="sm", elem_id="gallery-export")
            self.file = gr.DownloadButton("", elem_id="gallery-file")  # never seen: a file must be there before a click
            self.delete = gr.Button("Delete", size="sm", elem_id="gallery-delete")
        with gr.Row(elem_id="gallery-ask", visible=False) as self.ask:
            self.question = gr.HTML(elem_id="gallery-question", apply_default_css=False)
            self.keep = gr.Button("Keep", size="sm", elem_id="gallery-keep")
            self.sure = gr.Button("Delete", size="sm", variant="primary", elem_id="gallery-sure")
        self.tiles = gr.HTML(
            hint_html(LOOKING),
            js_on_load=Path(__file__).with_name("gallery.js").read_text(encoding="utf-8"),
            elem_id="gallery-tiles",
            apply_default_css=False,
        )

    # --- wiring ---

    def wire(self, opened: gr.Tab) -> None:
        """`opened` is this view's tab."""
        place, shown, asking = self.place, self.shown, [self.ask, self.question, self.asked]
        filters = [self.label, self.model]
        opened.select(self._on_open, place, [*shown, *filters, *asking], queue=False, **QUIET)
        self.clock.tick(self._on_tick, [*place, self.newest], [*shown, *filters], queue=False, **QUIET)
        for widget in self.form:
            widget.change(self._on_filter, place, shown, trigger_mode="always_last", **QUIET)
        self.pager.wire(self._turn, place, shown)
        self.tiles.choose(self._on_tile, place, shown, **EACH_CHOICE)
        self.select.click(self._on_select, place, shown, **QUIET)
        packed = self.export.click(self._on_export, place, self.file, **QUIET)
        packed.success(None, js=CLICK_FILE, queue=False)
        for button, what in ((self.delete, Deletion.SELECTED), (self.clean, Deletion.UNSTARRED)):
            asked = button.click(self._ask(what), self.selected, asking, **QUIET)
            asked.success(None, js=FOCUS_KEEP, queue=False)
        self.keep.click(self._not_asked, None, asking, queue=False, **QUIET)
        self.undo.click(self._on_undo, place, [*shown, *filters, *asking], **QUIET)
        self.empty.click(self._on_empty, place, [*shown, *filters, *asking], **QUIET)
        self.sure.click(self._on_sure, [*place, self.asked], [*shown, *filters, *asking], **QUIET)

    def chosen(self, selected: tuple[int, ...]) -> Entry:
        """The picture that was chosen last. ConfigError or DataError where there is none."""
        return handlers.chosen_last(self.studio.history, selected)

    def _read(self, values: tuple[Any, ...]) -> tuple[Form, int, tuple[int, ...]]:
        *form, page, selected = values
        return read_form(Form, form), int(page), tuple(selected)

    def _on_open(self, *values: Any) -> Updates:
        shown = self._show(*self._read(values), choices=True)
        return {**shown, **self._not_asked()}

    def _on_tick(self, *values: Any) -> Updates:
        *place, newest = values
        if not handlers.has_news(self.studio.history, newest):
            return {self.newest: gr.skip()}
        return self._show(*self._read(tuple(place)), choices=True)

    def _on_filter(self, *values: Any) -> Updates:
        form, _, selected = self._read(values)
        return self._show(form, 0, selected)

    def _turn(self, step: int) -> Any:
        def turned(*values: Any) -> Updates:
            form, page, selected = self._read(values)
            return self._show(form, page + step, selected)

        return turned

    def _on_tile(self, event: gr.EventData, *values: Any) -> Updates:
        form, page, selected = self._read(values)
        with Messages("Not changed", UNCHANGED):
            selected = handlers.click(self.studio.history, str(event.name), selected)
        return self._show(form, page, selected)

    def _on_select(self, *values: Any) -> Updates:
        form, page, selected = self._read(values)
        with Messages("Not selected", UNCHANGED):
            selected = handlers.select_all(self.studio.history, form, selected)
        return self._show(form, page, selected)

    def _on_export(self, *values: Any) -> str:
        form, _, selected = self._read(values)
        with Messages("Not exported", UNCHANGED):
            folder = self.studio.workspace / "cache" / "gallery"
            return str(handlers.export(self.studio.history, form, selected, folder))
        raise gr.Error("", visible=False)

    def _ask(self, what: Deletion) -> Any:
        def asked(selected: tuple[int, ...]) -> Updates:
            with Messages("Nothing to delete", UNCHANGED):
                text = handlers.question(self.studio.history, what, selected)
                question = Markup("<p>{}</p>").format(text)
                return {self.ask: gr.update(visible=True), self.question: question, self.asked: what.value}
            return self._not_asked()

        return asked

    def _not_asked(self) -> Updates:
        return {self.ask: gr.update(visible=False), self.asked: ""}

    def _on_sure(self, *values: Any) -> Updates:
        *rest, asked = values
        form, page, selected = self._read(tuple(rest))
        with Messages("Not deleted", UNCHANGED):
            say("Deleted", handlers.delete(self.studio.history, Deletion(asked), selected))
        return {**self._show(form, page, selected, choices=True), **self._not_asked()}

    def _on_undo(self, *values: Any) -> Updates:
        form, page, selected = self._read(values)
        with Messages("Not brought back", UNCHANGED):
            say("Brought back", handlers.undo(self.studio.history))
        return {**self._show(form, page, selected, choices=True), **self._not_asked()}

    def _on_empty(self, *values: Any) -> Updates:
        form, page, selected = self._read(values)
        with Messages("Not emptied", "The trash is as it was."):
            say("Deleted for good", handlers.empty_trash(self.studio.history))
        return {**self._show(form, page, selected, choices=True), **self._not_asked()}

    # --- views -> updates ---

    def _show(self, form: Form, page: int, selected: tuple[int, ...], *, choices: bool = False) -> Updates:
        """`choices`: what the filter offers is renewed too."""
        screen = handlers.look(self.studio.history, form, page, selected)
        some = bool(screen.selected)
        offered: Updates = {}
        if choices:
            offered = {
                self.label: gr.update(choices=_choices(screen.labels, form.label)),
                self.model: gr.update(choices=_choices(screen.models, form.model)),
            }
        return {
            self.head: screen.head or "<h2>Gallery</h2>",
            self.tiles: screen.tiles,
            **self.pager.at(screen.page, screen.pages),
            self.picture: image_value(screen.shown),
            self.facts: screen.facts or hint_html(CHOOSE_ONE),
            self.restore: gr.update(interactive=some),
            self.delete: gr.update(interactive=some),
            self.select: gr.update(value="Select none" if some else "Select all", interactive=some or screen.count > 0),
            self.storage: screen.storage,
            self.trash: gr.update(visible=bool(screen.trash)),
            self.thrown: screen.trash,
            self.clean: gr.update(interactive=bool(screen.storage)),
            self.page_number: screen.page,
            self.selected: screen.selected,
            self.newest: screen.newest,
            **offered,
        }


def _choices(names: tuple[str, ...], now: str | None) -> list[tuple[str, str]]:
    """What is chosen now may be gone; it stays what it is until another is chosen."""
    return [("Any", ""), *((name, name) for name in sorted({*names, *([now] if now else [])}))]
