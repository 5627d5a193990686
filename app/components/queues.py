"""Who waits for the model, and how."""

from collections.abc import Callable
from typing import Any

from gradio.context import LocalContext

# The studio itself draws for one after the other: whoever waits sees how many are before, and may cancel.
MODEL_QUEUE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 16}
# Of live mode: a page's next request stops the one before, so two of a page are never long on their way.
LIVE_QUEUE: dict[str, Any] = {"concurrency_id": "live", "concurrency_limit": 16}
# Of long runs that let others have the model in between.
ASIDE_QUEUE: dict[str, Any] = {"concurrency_id": "aside", "concurrency_limit": 4}


def client_stays() -> Callable[[], bool]:
    """Of the call that this thread answers: whether its client still waits. Gradio ends generators of clients that have
    left; a plain function has to ask. True where the call is in no queue."""
    blocks, number = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = None if blocks is None or number is None else blocks._queue.event_ids_to_events.get(number)
    return lambda: event is None or bool(event.alive and not event.closed)
