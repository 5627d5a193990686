"""Paths are typed, or chosen in a dialog: one for the page, which fills the field whose button opened it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import component_meta
from gradio.data_classes import GradioModel
from pydantic import Field

from app.components.messages import QUIET, Messages, Updates
from app.components.places import Listing, Places

component_meta.create_or_modify_pyi = lambda *_: None  # as in editor.py


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a field takes. suffixes: of files, in lower case; none: it takes no file."""

    title: str
    folder: bool = True
    suffixes: tuple[str, ...] = ()
    several: bool = False  # one more is added: to a list, or behind a comma


class DialogValue(GradioModel):  # type: ignore[misc]  # Gradio is Any to mypy
    """What the dialog shows; `number` tells two openings of the same folder apart."""

    open: bool = False
    number: int = 0
    title: str = ""
    folder: str = ""
    above: str | None = None
    folders: list[str] = Field(default_factory=list)
    files: list[str] = Field(default_factory=list)
    left_out: int = 0
    takes_folder: bool = True
    takes_files: bool = False


class DialogHTML(gr.HTML):  # type: ignore[misc]  # Gradio is Any to mypy
    """A modal list of folders and files. Event `choose`: "open PATH", or "take PATH"."""

    data_model = DialogValue

    def __init__(self, **options: Any) -> None:
        super().__init__(
            value=DialogValue(),
            html_template='<dialog class="paths"></dialog>',
            js_on_load=Path(__file__).with_name("path_dialog.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            **options,
        )

    def preprocess(self, payload: DialogValue | None) -> DialogValue | None:
        """What a handler gets."""
        return payload

    def postprocess(self, value: DialogValue | None) -> DialogValue:
        """What the page gets."""
        return value or DialogValue()


class PathDialog:
    """The dialog, and the fields that it fills. It is made before them, and wired after all of them."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.html = DialogHTML(elem_id="paths")
        self.opener = gr.State(-1)  # which field's button opened it
        self.fields: list[tuple[Any, Wanted]] = []

    def line(self) -> gr.Row:
        """A row for a field and its button."""
        return gr.Row(elem_classes="path-line")

    def button(self, field: Any, wanted: Wanted) -> None:
        """A button that fills a field of text, or a menu that takes other values than its own."""
        number = len(self.fields)
        self.fields.append((field, wanted))
        button = gr.Button("Browse", size="sm", elem_id=f"{field.elem_id}-browse", elem_classes="browse")
        button.click(self._on_browse(number), field, [self.html, self.opener], queue=False, **QUIET)

    def wire(self) -> None:
        """A press in the dialog."""
        fields = [field for field, _ in self.fields]
        self.html.choose(self._on_choose, [self.opener, *fields], [self.html, *fields], queue=False, **QUIET)

    def _on_browse(self, number: int) -> Callable[[Any], Updates]:
        def browsed(typed: Any) -> Updates:
            wanted = self.fields[number][1]
            with Messages("Not opened", "Type the path."):
                present = str(typed or "") if not isinstance(typed, list) else ""
                return {self.html: _value(wanted, self.places.start(present, wanted.suffixes)), self.opener: number}
            return {self.html: gr.skip()}

        return browsed

    def _on_choose(self, event: gr.EventData, opener: int, *values: Any) -> Updates:
        press, _, path = str(event.name).partition(" ")
        with Messages("Not opened", "The field is unchanged."):
            if not 0 <= opener < len(self.fields):
                return {self.html: DialogValue()}
            field, wanted = self.fields[opener]
            if press == "open":
                return {self.html: _value(wanted, self.places.look(path, wanted.suffixes))}
            return {self.html: DialogValue(), field: _taken(wanted, values[opener], path)}
        return {self.html: gr.skip()}


def _taken(wanted: Wanted, present: Any, path: str) -> Any:
    """What the field holds then."""
    if not wanted.several:
        return path
    if isinstance(present, list):
        return [*dict.fromkeys([*present, path])]
    return ", ".join(filter(None, [str(present or "").strip().rstrip(","), path]))


def _value(wanted: Wanted, listing: Listing) -> DialogValue:
    return DialogValue(
        open=True,
        number=time.time_ns() // 1000,
        title=wanted.title,
        folder=str(listing.folder or ""),
        above=listing.above,
        folders=list(listing.folders),
        files=list(listing.files),
        left_out=listing.left_out,
        takes_folder=wanted.folder and listing.folder is not None,
        takes_files=bool(wanted.suffixes),
    )
