"""What the model read and saw in its last picture: tokens, masks, attention. Widgets and wiring only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app.components.html import hint_html, made_of
from app.components.messages import QUIET, Messages, Updates
from app.engine.insight import Insight
from app.engine.studio import Studio
from app.studio.results.generate import Single
from app.studio.results.inside import InsideView, show_inside

LOOKING = "Analysing the image."


class InsideTab:
    """The picture with a layer an object; a row and its layer light up together."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.what = gr.Radio(
            [str(what) for what in Insight],
            value=str(Insight.MASKS),
            show_label=False,
            container=False,
            elem_id="insight",
            elem_classes="choice",
        )
        self.shown = gr.HTML(
            InsideView().html(),
            js_on_load=Path(__file__).with_name("inside.js").read_text(encoding="utf-8"),
            elem_id="inside",
            apply_default_css=False,
        )

    def wire(self, opened: gr.Tab, last: gr.State) -> None:
        """`last`: the last single picture (`Single`)."""
        for event in (opened.select, self.what.change):
            event(self._on_show, [last, self.what], self.shown, **QUIET)

    def _on_show(self, last: Single, what: str) -> Iterator[Updates]:
        if last.picture.file is not None:
            yield {self.shown: hint_html(LOOKING)}
        found: Any = InsideView(note="The image was not analysed.")
        with Messages("Not analysed", "The image is unchanged."):
            found = show_inside(self.studio, last.picture.file, Insight(what))
        yield {self.shown: made_of(last.layout, found.html())}
