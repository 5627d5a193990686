"""The comparison: a `gr.HTML` component with two pictures of one layout and the table of their objects; and the sheet,
one with the pictures of a figure.

Side by side, under a slider, one after the other, or their difference; both are zoomed as one, and a row and its box
are linked. What they do is `comparer.js` and `sheet.js`, their style `comparer.css`, which the page loads whole.
"""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio import component_meta
from gradio.data_classes import FileData, GradioModel
from pydantic import Field

component_meta.create_or_modify_pyi = lambda *_: None  # as in editor.py

# Name, what it says, and its icon: paths of 16 x 16.
_MODES = (
    ("beside", "Side by side", "Both images side by side", "M1.5 3.5h5v9h-5zM9.5 3.5h5v9h-5z"),
    ("slider", "Slider", "One over the other, with a slider between them", "M1.5 3.5h13v9h-13zM8 1v14M6 8h-2M10 8h2"),
    ("flicker", "Flicker", "Alternate between both: press F or click", "M1.5 5.5h9v8h-9zM5.5 5.5v-3h9v8h-4"),
    ("difference", "Difference", "Bright where they differ", "M8 2v5M5.5 4.5h5M5.5 12.5h5"),
)


_FIGURES_HINT = "The Figures menu generates figures like the paper's: several models, easy and hard, several noises."
_SHEET_HTML = """
<div class="sheet">
  <p class="hint">{hint}</p>
  <div class="panels"></div>
  <div class="meter" hidden><i></i></div>
</div>
"""


class ComparedSide(GradioModel):  # type: ignore[misc]  # Gradio is Any to mypy
    """`preview` is a data address while the picture is made; marks and caption are HTML."""

    image: FileData | None = None
    preview: str = ""
    marks: str = ""
    caption: str = ""


class ComparedObject(GradioModel):  # type: ignore[misc]  # Gradio is Any to mypy
    """A box in fractions: x1, y1, x2, y2."""

    label: str
    box: list[float]


class ComparerValue(GradioModel):  # type: ignore[misc]  # Gradio is Any to mypy
    """`table` is HTML, whose rows name their object by `data-index`; `ratio` is width / height; `progress` runs from 0
    to 1 while the pictures are made."""

    sides: list[ComparedSide] = Field(default_factory=lambda: [ComparedSide(), ComparedSide()])
    objects: list[ComparedObject] = Field(default_factory=list)
    table: str = ""
    ratio: float = 1.0
    progress: float | None = None


class Comparer(gr.HTML):  # type: ignore[misc]  # Gradio is Any to mypy
    """Two pictures and their table. Keys, where it has the focus: F flickers, + / − / 0 zoom, Escape zooms out."""

    data_model = ComparerValue

    def __init__(self, value: ComparerValue | None = None, **options: Any) -> None:
        super().__init__(
            value=value or ComparerValue(),
            html_template=_html(),
            js_on_load=Path(__file__).with_name("comparer.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            **options,
        )

    def preprocess(self, payload: ComparerValue | None) -> ComparerValue | None:
        """What a handler gets."""
        return payload

    def postprocess(self, value: ComparerValue | None) -> ComparerValue:
        """What the page gets."""
        return value or ComparerValue()


class SheetValue(GradioModel):  # type: ignore[misc]  # Gradio is Any to mypy
    """Images of a figure, row by row; `ratio` is width / height of each; `layout`: what they are of, as JSON text."""

    title: str = ""
    panels: list[ComparedSide] = Field(default_factory=list)
    columns: int = 1
    ratio: float = 1.0
    progress: float | None = None
    layout: str = ""


class Sheet(gr.HTML):  # type: ignore[misc]  # Gradio is Any to mypy
    """A figure: pictures in rows, each with its caption; `hint` stands there before there are any."""

    data_model = SheetValue

    def __init__(self, value: SheetValue | None = None, hint: str = _FIGURES_HINT, **options: Any) -> None:
        super().__init__(
            value=value or SheetValue(),
            html_template=_SHEET_HTML.format(hint=hint),
            js_on_load=Path(__file__).with_name("sheet.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            **options,
        )

    def preprocess(self, payload: SheetValue | None) -> SheetValue | None:
        """What a handler gets."""
        return payload

    def postprocess(self, value: SheetValue | None) -> SheetValue:
        """What the page gets."""
        return value or SheetValue()


def _html() -> str:
    modes = "".join(
        f'<button type="button" data-mode="{mode}" title="{name}: {title[0].lower()}{title[1:]}" aria-label="{name}" '
        f'aria-pressed="false"><svg viewBox="0 0 16 16"><path d="{path}"/></svg></button>'
        for mode, name, title, path in _MODES
    )
    side = (
        '<div class="picture side {0}"><div class="frame"><div class="scene"><img alt="{1}" hidden>'
        '<div class="marks"></div><div class="spot" hidden></div></div><div class="progress"><i></i></div></div></div>'
    )
    caption = '<p class="caption {0}"><span></span><a class="download" hidden>Save<i> image</i></a></p>'
    return f"""
<div class="comparer">
  <div class="modes" role="toolbar" aria-label="View mode">{modes}</div>
  <div class="pictures" tabindex="0" role="group" aria-label="Compared images">
    {side.format("a", "first image")}{side.format("b", "second image")}
    <i class="cut"></i>
    <input class="cutter" type="range" min="0" max="1000" value="500" aria-label="Position of the divider">
    <button type="button" class="enlarged" title="Fit to view (0)" hidden></button>
  </div>
  <div class="captions">{caption.format("a")}{caption.format("b")}</div>
  <div class="result"></div>
</div>
"""
