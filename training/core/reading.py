"""Reading ahead: while one thing is used, the next ones are loaded on threads."""

from __future__ import annotations

import os
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
    pool = ThreadPoolExecutor(min(threads, os.cpu_count() or 1), thread_name_prefix="read-ahead")
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
