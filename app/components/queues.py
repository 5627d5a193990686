"""Who waits for the model, and how."""

from typing import Any

# The studio itself draws for one after the other: whoever waits sees how many are before, and may cancel.
MODEL_QUEUE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 16}
# Of live mode: a page's next request stops the one before, so two of a page are never long on their way.
LIVE_QUEUE: dict[str, Any] = {"concurrency_id": "live", "concurrency_limit": 16}
# Of long runs that let others have the model in between.
ASIDE_QUEUE: dict[str, Any] = {"concurrency_id": "aside", "concurrency_limit": 4}
