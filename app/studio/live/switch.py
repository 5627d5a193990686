"""The switch of live mode: a `gr.HTML` component whose script sends what the canvas shows."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio import component_meta
from gradio.data_classes import GradioModel

component_meta.create_or_modify_pyi = lambda *_: None  # as in editor.py

_HTML = """
<button type="button" class="live" aria-pressed="false"
  title="Redraw the comparison at every change of the layout, the seed and the sliders"><i></i>Live</button>
"""


class LiveValue(GradioModel):  # type: ignore[misc]  # Gradio is Any to mypy
    """What the page asks for, and what has come of it.

    layout: in its public JSON form. number: of the request; done: of the last one that was answered. fast: whether live
    mode is on where nobody has chosen; hint: what would be quicker. note: why there is no image.
    """

    layout: dict[str, Any] | None = None
    number: int = 0
    done: int = 0
    fast: bool = False
    hint: str = ""
    note: str = ""


class LiveSwitch(gr.HTML):  # type: ignore[misc]  # Gradio is Any to mypy
    """Events: `draw`, with the newest layout; `rest`, a second after the last change was drawn."""

    data_model = LiveValue

    def __init__(self, **options: Any) -> None:
        super().__init__(
            value=LiveValue(),
            html_template=_HTML,
            js_on_load=Path(__file__).with_name("live.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            **options,
        )

    def preprocess(self, payload: LiveValue | None) -> LiveValue:
        """What a handler gets."""
        return payload or LiveValue()

    def postprocess(self, value: LiveValue | None) -> LiveValue:
        """What the page gets."""
        return value or LiveValue()
