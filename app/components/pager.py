"""Pages of tiles: where one is, and a step back or on."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from app.components.messages import QUIET, Updates


class Pager:
    """Two arrows and "2 / 5", shown where there is more than one page. tab: the prefix of the element ids."""

    def __init__(self, tab: str) -> None:
        self.where = gr.HTML(elem_id=f"{tab}-where", elem_classes="page-number", apply_default_css=False)
        self.before = gr.Button("‹", size="sm", visible=False, elem_id=f"{tab}-before", elem_classes="page-turn")
        self.after = gr.Button("›", size="sm", visible=False, elem_id=f"{tab}-after", elem_classes="page-turn")
        self.shown = [self.where, self.before, self.after]

    def wire(self, turn: Callable[[int], Callable[..., Updates]], place: Sequence[Any], shown: Sequence[Any]) -> None:
        """`turn(1)` is the handler of a step on, `turn(-1)` of one back."""
        for button, step in ((self.before, -1), (self.after, 1)):
            button.click(turn(step), place, shown, **QUIET)

    def at(self, page: int, pages: int) -> Updates:
        """Page `page` (from 0) of `pages`."""
        several = pages > 1
        return {
            self.where: Markup("<p>{} / {}</p>").format(page + 1, pages) if several else "",
            self.before: gr.update(visible=several, interactive=page > 0),
            self.after: gr.update(visible=several, interactive=page < pages - 1),
        }
