"""One at a time, first come, first served."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_SECONDS = 0.25  # between two looks whether whoever waits still wants to


def patient(before: int) -> None:
    """Waits without a word."""


class Turns:
    """A lock that is fair, and that tells those who wait how many stand before them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._line: deque[object] = deque()

    @contextmanager
    def take(self, waiting: Callable[[int], None] = patient) -> Iterator[None]:
        """One's turn, until the end of the block.

        Args:
            waiting: called now and then with how many are before; what it raises gives the place in the line up.
        """
        ticket = object()
        with self._changed:
            self._line.append(ticket)
        try:
            self._wait(ticket, waiting)
            yield
        finally:
            with self._changed:
                self._line.remove(ticket)
                self._changed.notify_all()

    def _wait(self, ticket: object, waiting: Callable[[int], None]) -> None:
        while True:
            with self._changed:
                before = self._line.index(ticket)
            if not before:
                return
            waiting(before)
            with self._changed:
                if self._line[0] is not ticket:
                    self._changed.wait(LOOK_SECONDS)
