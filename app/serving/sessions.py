"""What Gradio remembers of sessions, bounded: of each it keeps messages, numbers and times, long after it has gone."""

from __future__ import annotations

import gradio as gr
from gradio.utils import LRUCache

from detdiffusion import bounds


class Pending(dict[str, set[str]]):
    """Calls that a session waits for, by session. Those that wait for nothing go when there are many."""

    def __setitem__(self, session: str, calls: set[str]) -> None:
        if len(self) >= bounds.PAGE_SESSIONS:
            for name in [name for name, left in self.items() if not left]:
                del self[name]
        super().__setitem__(session, calls)


def bound_sessions(page: gr.Blocks) -> None:
    """Lets a page remember `bounds.PAGE_SESSIONS` sessions. Its queue has to be there."""
    page.state_session_capacity = bounds.PAGE_SESSIONS
    page._queue.pending_messages_per_session = LRUCache(bounds.PAGE_SESSIONS)
    page._queue.pending_event_ids_session = Pending()
    page._queue.ANALYTICS_MAX_EVENTS = bounds.PAGE_SESSIONS
