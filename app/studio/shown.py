"""Views as values of the page's components; what the tabs of the studio share."""

from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from app.components.comparer import ComparedObject, ComparedSide, ComparerValue, SheetValue
from app.components.editor import PictureValue
from app.components.views import PairTable, PictureView, SheetView
from app.studio.handlers import Pair

FIXED, RANDOM = "Fixed", "Random"
# The studio itself draws for one after the other: whoever waits sees how many are before, and may cancel.
MODEL_QUEUE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 16}
# Of long runs that let others have the model in between.
ASIDE_QUEUE: dict[str, Any] = {"concurrency_id": "aside", "concurrency_limit": 4}


def sheet_value(view: SheetView) -> SheetValue:
    return SheetValue(
        title=view.title,
        panels=[side_value(panel) for panel in view.panels],
        columns=view.columns,
        ratio=view.ratio,
        progress=view.progress,
    )


def side_value(view: PictureView) -> ComparedSide:
    return ComparedSide(
        image=file_value(view), preview=view.preview, marks=view.marks_html(), caption=view.caption_html()
    )


def comparison_value(view: Pair) -> ComparerValue:
    return ComparerValue(
        sides=[side_value(view.a), side_value(view.b)],
        objects=[ComparedObject(label=one.label, box=list(one.xyxy)) for one in view.objects],
        table=(view.table or PairTable()).html(),
        ratio=view.a.ratio,
        progress=view.a.progress,
    )


def file_value(view: PictureView) -> FileData | None:
    return FileData(path=str(view.file), orig_name=view.file.name) if view.file else None


def picture_value(view: PictureView) -> PictureValue:
    return PictureValue(
        image=file_value(view),
        preview=view.preview,
        marks=view.marks_html(),
        caption=view.caption_html(),
        ratio=view.ratio,
        progress=view.progress,
    )


def user_of(request: gr.Request) -> str:
    return str(request.session_hash)


def aside_of(request: gr.Request, what: str) -> str:
    """A long run beside single pictures is cancelled apart from them."""
    return f"{user_of(request)}/{what}"
