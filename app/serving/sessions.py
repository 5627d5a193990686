"""What Gradio remembers of sessions, bounded: of each it keeps messages, numbers and times, long after it has gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import LRUCache

from detdiffusion import bounds


class Pending(dict[str, set[str]]):
    """Calls that a session waits for, by session. Those that wait for nothing go when there are many."""

    def __setitem__(self, session: str, calls: set[str]) -> None:
        if len(self) >= bounds.PAGE_SESSIONS:
            for name in [name for name, left in self.items() if not left]:
                del self[name]
        super().__setitem__(session, calls)


class Unkept(dict[int, Any]):
    """Takes everything and keeps nothing."""

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: int) -> dict[str, Any]:
        return {}

    def __setitem__(self, key: int, value: Any) -> None:
        pass


class Session(SessionState):  # type: ignore[misc]  # Gradio is Any to mypy
    """A session that keeps no second form of the page. Gradio makes one of all components for each session, which takes
    a tenth of a second, and keeps every value that was sent in it: for links to a state, which this page has not."""

    def __init__(self, page: gr.Blocks) -> None:
        super().__init__(SimpleNamespace(default_config=page.default_config, blocks=()))
        self.config_values = Unkept()


class Sessions(StateHolder):  # type: ignore[misc]  # Gradio is Any to mypy
    """Those that are remembered, by their hash."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = Session(self.blocks)
        return super().__getitem__(session_id)


def bound_sessions(page: gr.Blocks) -> None:
    """Lets a page remember `bounds.PAGE_SESSIONS` sessions. Its queue has to be there."""
    page.state_session_capacity = bounds.PAGE_SESSIONS
    page._queue.pending_messages_per_session = LRUCache(bounds.PAGE_SESSIONS)
    page._queue.pending_event_ids_session = Pending()
    page._queue.ANALYTICS_MAX_EVENTS = bounds.PAGE_SESSIONS
