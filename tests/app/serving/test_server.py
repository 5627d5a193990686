"""What the server says when it ends."""

import asyncio
import logging

from app.serving.server import is_news


def record(message: str, error: BaseException | None = None) -> logging.LogRecord:
    raised = None if error is None else (type(error), error, None)
    return logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, message, None, raised)


def test_that_somebody_was_still_connected_is_no_news() -> None:
    """uvicorn cancels what is left when its time is over, and logs each with all its frames."""
    assert not is_news(record("Cancel 1 running task(s), timeout graceful shutdown exceeded"))
    assert not is_news(record("Exception in ASGI application", asyncio.CancelledError()))
    assert is_news(record("Exception in ASGI application", ValueError("a fault")))
    assert is_news(record("port in use"))
