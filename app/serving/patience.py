"""How long a connection may take to say what it wants."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from detdiffusion import bounds


class Impatient(H11Protocol):
    """Closes connections on which the head of a request does not come in within `bounds.HEAD_SECONDS`: each takes the
    place of one of `bounds.CONNECTIONS`. Between two requests uvicorn's own time for keeping alive counts."""

    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client is there."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or more than one request."""
        super().data_received(data)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left, or was sent away."""
        super().connection_lost(exc)
        self._expect_nothing()

    def _expect_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._expect_nothing()
        elif self._end is None:
            self._end = self.loop.call_later(bounds.HEAD_SECONDS, self.transport.close)

    def _expect_nothing(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
