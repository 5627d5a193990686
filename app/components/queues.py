"""Who waits for the model, and how."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.context import LocalContext

from app.components.messages import QUIET, Updates

# The studio itself draws for one after the other: whoever waits sees how many are before, and may cancel.
MODEL_QUEUE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 16}
# Of live mode: a page's next request stops the one before, so two of a page are never long on their way.
LIVE_QUEUE: dict[str, Any] = {"concurrency_id": "live", "concurrency_limit": 16}
# Of long runs that let others have the model in between.
ASIDE_QUEUE: dict[str, Any] = {"concurrency_id": "aside", "concurrency_limit": 4}


def run_on_click(
    button: gr.Button,
    run: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    queue: dict[str, Any],
    *,
    begin: Callable[[], Updates],
    end: Callable[[], Updates],
    bracket: Sequence[Any],
    js: str | None = None,
) -> None:
    """A click changes `bracket` by `begin`, runs, and changes it by `end`, however the run ended.

    Three events, because two updates of one stream may reach the page together, and Gradio then forgets what only the
    first of them said: a button that stops the run would never appear.
    """
    quick: dict[str, Any] = {"queue": False, **QUIET}
    ran = button.click(begin, None, bracket, js=js, **quick).then(run, inputs, outputs, **QUIET, **queue)
    ran.then(end, None, bracket, **quick)


def client_stays() -> Callable[[], bool]:
    """Of the call that this thread answers: whether its client still waits. Gradio ends generators of clients that have
    left; a plain function has to ask. True where the call is in no queue."""
    blocks, number = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = None if blocks is None or number is None else blocks._queue.event_ids_to_events.get(number)
    return lambda: event is None or bool(event.alive and not event.closed)
