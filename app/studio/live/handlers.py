"""What live mode draws: the comparison of what the canvas shows, for the newest request alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from app.components.messages import QUIET, Updates
from app.components.queues import ASIDE_QUEUE, LIVE_QUEUE
from app.engine.studio import Studio
from app.studio.last_results import LastResults
from app.studio.live.pace import Pace
from app.studio.live.switch import LiveSwitch, LiveValue
from app.studio.results.compare import Pair, Side, Sides, compare_pair, kept_pair
from app.studio.results.form import Form
from app.studio.results.thresholds import Thresholds
from app.studio.shown import aside_of
from detdiffusion.attributes import Strategy
from detdiffusion.errors import Cancelled, DetDiffusionError, sentence
from detdiffusion.layout import Attribute

AGAIN = "() => { document.dispatchEvent(new CustomEvent('live-again')); }"
SOON = "() => { setTimeout(() => document.dispatchEvent(new CustomEvent('live-again')), 300); }"  # once it is set


def as_tagged(sides: Sides, layout: Mapping[str, Any]) -> Sides:
    """All easy beside the layout as it is tagged, where something in it is tagged hard: a tag that is pressed is seen.
    Sides that somebody has chosen stay."""
    hard = any(item.get("attribute") == Attribute.HARD for item in layout.get("objects", ()))
    plain = Sides(second=sides.second)
    return replace(sides, b=Side(Strategy.ORIGIN)) if hard and sides == plain else sides


class Live:
    """The switch in the bar, and its events.

    Args:
        read: of the widgets' values, as the comparison reads them.
        shown: what the page gets of a pair.
        last: what each tab of a browser saw last.
    """

    def __init__(
        self,
        studio: Studio,
        read: Callable[[tuple[Any, ...]], tuple[Form, Sides, Thresholds]],
        shown: Callable[[Pair], Updates],
        last: LastResults,
    ) -> None:
        self.studio, self._read, self._shown, self._last = studio, read, shown, last
        self.switch, self._pace = LiveSwitch(elem_id="live"), Pace(studio)

    def wire(self, inputs: list[Any], drawn: list[Any], last_pair: gr.State, tab: gr.State) -> None:
        """`inputs`: what `read` takes; `drawn`: what `shown` names."""
        self.last_pair, outputs = last_pair, [*drawn, last_pair, self.switch]
        quick: dict[str, Any] = {**QUIET, **LIVE_QUEUE, "trigger_mode": "multiple"}
        self.switch.draw(self._on_draw, [self.switch, *inputs], outputs, **quick)
        self.switch.rest(self._on_rest, [last_pair, tab], last_pair, **QUIET)

    def follow(self, opened: Any) -> None:
        """After an event that may have exchanged the model: what is on the canvas is drawn by the new one."""
        known = opened.then(self.pace_is_known, None, self.switch, **QUIET, **ASIDE_QUEUE)
        known.then(None, None, None, js=AGAIN, **QUIET)

    def redraws(self, widgets: Sequence[Any], buttons: Sequence[gr.Button]) -> None:
        """What a person sets there is drawn at once."""
        for widget in widgets:
            widget.input(None, None, None, js=AGAIN, **QUIET)
        for button in buttons:
            button.click(None, None, None, js=SOON)

    def pace_is_known(self) -> Updates:
        """Whether live mode is on where nobody has chosen, and what would be quicker."""
        return {self.switch: LiveValue(fast=self._pace.is_fast(), hint=self._pace.hint())}

    def _on_draw(self, asked: LiveValue, request: gr.Request, *values: Any) -> Updates:
        """What is drawn for this page stops, after the step that it is at, and leaves the page as it is."""
        user = aside_of(request, "live")
        self.studio.generation.cancel(user)
        done = asked.model_copy(update={"layout": None, "done": asked.number, "note": ""})
        try:
            form, sides, thresholds = self._read(values)
            sides = as_tagged(sides, asked.layout or {})
            *_, pair = compare_pair(self.studio, asked.layout or {}, replace(form, fixed=True), user, sides, kept=False)
        except Cancelled:
            return {self.switch: done}
        except DetDiffusionError as error:
            return {self.switch: done.model_copy(update={"note": sentence(error)})}
        return {**self._shown(pair.read(thresholds)), self.last_pair: pair, self.switch: done}

    def _on_rest(self, pair: Pair, tab: str) -> Updates:
        """A person looks at it for a while: it goes into the gallery."""
        kept = kept_pair(self.studio, pair)
        self._last.keep(tab, kept)
        return {self.last_pair: kept}
