"""Two small `gr.HTML` components: the canvas on which layouts are drawn, and the picture with what a detector sees.

Neither needs a build step or a network. Their style is `editor.css`, which the page loads whole.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio import component_meta
from gradio.data_classes import FileData, GradioModel
from pydantic import Field

# Gradio writes a stub beside the source of every component, which type checkers would then read in its place.
component_meta.create_or_modify_pyi = lambda *_: None

_KEYS = (
    ("Drag, or N then drag", "draw a box"),
    ("1 / 2 / 3", "easy / hard / background"),
    ("L, or double click", "search a class"),
    ("[ / ]", "previous, next box"),
    ("Arrows", "move (Shift: ten times as far)"),
    ("B", "background box, full canvas"),
    ("Ctrl D", "duplicate"),
    ("Ctrl C / V", "copy, paste"),
    ("Delete", "delete"),
    ("H", "hide the box, show all"),
    ("Ctrl Z / Ctrl Shift Z", "undo, redo"),
    ("Ctrl Enter", "generate"),
    ("C", "compare easy / hard"),
    ("Shift X", "cancel"),
)
_ICONS = {
    "draw": "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5M12 9v6M9 12h6",
    "fill": "M4 5h16v14H4zM4 15l5-5 5 5 2-2 4 4",
    "undo": "M9 7L4 12l5 5M4 12h10a6 6 0 0 1 6 6",
    "redo": "M15 7l5 5-5 5M20 12H10a6 6 0 0 0-6 6",
    "duplicate": "M9 9h11v11H9zM5 15H4V4h11v1",
    "hide": "M3 12s3.5-6 9-6 9 6 9 6-3.5 6-9 6-9-6-9-6zM12 9.5a2.5 2.5 0 1 0 .01 0M4 4l16 16",
    "delete": "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
    "save": "M12 4v11M7 11l5 5 5-5M5 20h14",
    "help": "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 18v.01",
}
_TITLES = {
    "draw": "Draw a box, also on top of others (N)",
    "fill": "Background box, full canvas (B)",
    "undo": "Undo (Ctrl+Z)",
    "redo": "Redo (Ctrl+Shift+Z)",
    "duplicate": "Duplicate (Ctrl+D)",
    "hide": "Hide the box, or show all (H)",
    "delete": "Delete (Delete)",
    "save": "Save the layout as JSON",
    "help": "Keys (?)",
}


class LayoutObject(GradioModel):  # type: ignore[misc]  # Gradio is Any to mypy
    """One object of the public JSON form."""

    label: str
    box: list[float]
    attribute: Literal["easy", "hard", "background"] | None = None


class LayoutValue(GradioModel):  # type: ignore[misc]  # Gradio is Any to mypy
    """The public JSON form of a layout; unlike `Layout` it may be empty, as a canvas may."""

    width: int = 256
    height: int = 256
    objects: list[LayoutObject] = Field(default_factory=list)


class LayoutEditor(gr.HTML):  # type: ignore[misc]  # Gradio is Any to mypy
    """The canvas. `commit` fires after each edit; keys also press the page's `#generate`, `#compare` and `#cancel`, and
    a file dropped on it goes the way of the upload button of `#layout-card`."""

    data_model = LayoutValue

    def __init__(self, things: Sequence[str], stuff: Sequence[str], *, untagged: str = "", **options: Any) -> None:
        """`untagged`: why objects cannot be tagged; empty where they can."""
        super().__init__(
            value=LayoutValue(),
            things=list(things),
            stuff=list(stuff),
            untagged=untagged,
            html_template=_editor_html(),
            js_on_load=Path(__file__).with_name("editor.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            **options,
        )

    def preprocess(self, payload: LayoutValue | None) -> dict[str, Any]:
        value: dict[str, Any] = (payload or LayoutValue()).model_dump()
        return value

    def postprocess(self, value: LayoutValue | Mapping[str, Any] | None) -> LayoutValue:
        return value if isinstance(value, LayoutValue) else LayoutValue(**(value or {}))

    def api_info(self) -> dict[str, Any]:
        schema: dict[str, Any] = LayoutValue.model_json_schema()
        item = schema.pop("$defs")["LayoutObject"]  # clients do not follow references: stand it in its place
        schema["properties"]["objects"]["items"] = item
        return schema


class PictureValue(GradioModel):  # type: ignore[misc]  # Gradio is Any to mypy
    """`image` is a file, so that its PNG metadata reaches the browser; `preview` is a data address; marks and caption
    are HTML; `ratio` is width / height; `progress` runs from 0 to 1 while the picture is made."""

    image: FileData | None = None
    preview: str = ""
    marks: str = ""
    caption: str = ""
    ratio: float = 1.0
    progress: float | None = None


class Picture(gr.HTML):  # type: ignore[misc]  # Gradio is Any to mypy
    """A picture with marks over it (sharp at any pixel ratio, shown or not by the page) and a caption."""

    data_model = PictureValue

    def __init__(self, **options: Any) -> None:
        super().__init__(value=PictureValue(), html_template=_PICTURE_HTML, apply_default_css=False, **options)

    def preprocess(self, payload: PictureValue | None) -> PictureValue | None:
        return payload

    def postprocess(self, value: PictureValue | None) -> PictureValue:
        return value or PictureValue()


_PICTURE_HTML = """
<figure class="picture ${value.progress === null ? '' : 'busy'}">
  <div class="frame" style="--ratio:${value.ratio}">
    ${value.image || value.preview
      ? '<img alt="generated picture" src="' + (value.image ? value.image.url : value.preview) + '">' : ''}
    ${value.marks}
    <div class="progress"><i style="width:${100 * (value.progress || 0)}%"></i></div>
  </div>
  <figcaption>${value.caption}${value.image
    ? '<a class="download" href="' + value.image.url + '" download="' + value.image.orig_name + '">Save picture</a>'
    : ''}</figcaption>
</figure>
"""


def _button(action: str) -> str:
    title = _TITLES[action]
    return (
        f'<button type="button" data-action="{action}" title="{title}" aria-label="{title}">'
        f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{_ICONS[action]}"/></svg></button>'
    )


def _editor_html() -> str:
    groups = (("draw", "fill"), ("undo", "redo"), ("duplicate", "hide", "delete"), ("save", "help"))
    rail = "<hr>".join("".join(_button(action) for action in group) for group in groups)
    tags = "".join(
        f'<button type="button" class="{name}" data-tag="{name}"><i></i>{name.capitalize()}<kbd>{number}</kbd></button>'
        for number, name in enumerate(("easy", "hard", "background"), start=1)
    )
    keys = "".join(f"<dt>{key}</dt><dd>{what}</dd>" for key, what in _KEYS)
    return f"""
<div class="editor">
  <div class="rail" role="toolbar" aria-label="Drawing">{rail}</div>
  <div class="canvas">
    <svg tabindex="0" role="application" aria-label="Layout canvas"></svg>
    <p class="empty" hidden>Drag to draw a box<small>or choose an example, or drop a studio picture here</small></p>
    <div class="popup" hidden>
      <input type="text" placeholder="Class…" aria-label="Box class" autocomplete="off" spellcheck="false">
      <ul role="listbox"></ul><p hidden>No such class</p>
    </div>
    <span class="state" aria-live="polite"></span>
    <div class="help" hidden><h3>Keys</h3><dl>{keys}</dl></div>
  </div>
  <div class="tags" role="toolbar" aria-label="Tag">
    <button type="button" class="class" data-action="class" title="Search a class (L)">
      <span class="class-name"></span><kbd>L</kbd></button>
    <div class="choice">{tags}</div>
  </div>
</div>
"""
