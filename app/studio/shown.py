"""Views of the studio as values of its components, and who asked for them."""

import json

import gradio as gr

from app.components.comparer import ComparedObject, ComparedSide, ComparerValue, SheetValue
from app.components.html import made_of
from app.components.images import ImageView
from app.components.picture import file_value
from app.studio.results.compare import Pair
from app.studio.results.figures import SheetView
from app.studio.results.pair_table import PairTable


def sheet_value(view: SheetView) -> SheetValue:
    """A sheet as its component takes it."""
    return SheetValue(
        title=view.title,
        panels=[side_value(panel) for panel in view.panels],
        columns=view.columns,
        ratio=view.ratio,
        progress=view.progress,
        layout="" if view.layout is None else json.dumps(view.layout),
    )


def side_value(view: ImageView) -> ComparedSide:
    """One side of a figure as its component takes it."""
    return ComparedSide(
        image=file_value(view), preview=view.preview, marks=view.marks_html(), caption=view.caption_html()
    )


def comparison_value(view: Pair) -> ComparerValue:
    """A pair as its component takes it."""
    return ComparerValue(
        sides=[side_value(view.a), side_value(view.b)],
        objects=[ComparedObject(label=one.label, box=list(one.xyxy)) for one in view.objects],
        table=made_of(view.layout, (view.table or PairTable()).html()),
        ratio=view.a.ratio,
        progress=view.a.progress,
    )


def user_of(request: gr.Request) -> str:
    """The session of the page that asks."""
    return str(request.session_hash)


def aside_of(request: gr.Request, what: str) -> str:
    """A long run beside single pictures is cancelled apart from them."""
    return f"{user_of(request)}/{what}"
