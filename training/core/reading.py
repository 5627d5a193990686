"""Reading ahead: while one thing is used, the next ones are loaded on threads."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

READERS = 8  # threads that decode pictures, at most


def read_ahead(
    items: Iterable[Item], load: Callable[[Item], Loaded], ahead: int, threads: int = READERS
) -> Generator[tuple[Item, Loaded], None, None]:
    """Every item with what `load` makes of it, in order; while one is used, up to `ahead` more are loaded on threads.

    What `load` raises is raised here, when its item's turn comes.
    """
    pool = ThreadPoolExecutor(min(threads, os.cpu_count() or 1), "read-ahead", _by_itself)
    waiting: deque[tuple[Item, Future[Loaded]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(load, item)))
            if len(waiting) > ahead:
                first, loaded = waiting.popleft()
                yield first, loaded.result()
        while waiting:
            first, loaded = waiting.popleft()
            yield first, loaded.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _by_itself() -> None:
    """torch computes in this thread without helpers. Else OpenMP kept a team for it, as large as the machine. Together
    with the team of whoever uses what is read, these are more threads than cores, and no longer wait awake for each
    other: a training step took 1.7 times as long."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # of this thread, and of those that are not begun yet
