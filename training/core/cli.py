"""What long commands share: a progress bar, settings that stay with a run, reading ahead, numbers as arguments."""

from __future__ import annotations

import argparse
import fcntl
import os
import resource
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

from detdiffusion.errors import ConfigError

if TYPE_CHECKING:
    import torch

READERS = 8  # threads that decode pictures, at most

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


@contextmanager
def progress(name: str) -> Iterator[Report]:
    """A progress bar with time left, on standard error; one line every ten seconds where that is not a terminal."""
    bar = tqdm(desc=name, dynamic_ncols=True, mininterval=0.5 if sys.stderr.isatty() else 10.0)
    try:
        yield Report(bar)
    finally:
        bar.close()


class Report:
    """Callable(done, total, metrics); the time left is counted from this run's own first report."""

    def __init__(self, bar: tqdm[None]) -> None:
        self.bar = bar

    def __call__(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        if self.bar.total is None:
            self.bar.reset(total)
            self.bar.initial = done - 1
            self.bar.n = done - 1
        self.bar.set_postfix({k: f"{v:.3g}" for k, v in metrics.items()}, refresh=False)
        self.bar.update(done - self.bar.n)


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Whether what this file stands for is this process's now; it is until the end, or until the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def read_ahead(items: Iterable[Item], load: Callable[[Item], Loaded], ahead: int) -> Iterator[tuple[Item, Loaded]]:
    """Every item with what `load` makes of it, in order; while one is used, up to `ahead` more are loaded on threads.

    What `load` raises is raised here, when its item's turn comes.
    """
    pool = ThreadPoolExecutor(min(READERS, os.cpu_count() or 1), thread_name_prefix="read-ahead")
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


def memory_gb(device: torch.device) -> float:
    """The most that this process has held: of the accelerator, or of the machine's memory."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def device_of(name: str | None) -> torch.device:
    """The device of that name; without one the GPU, else the CPU.

    Raises:
        ConfigError: it is not there.
    """
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: there is no such device") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: no CUDA device here; use cpu")
    return device


def positive(text: str) -> int:
    """A number of 1 or more, as an argument's type."""
    value = natural(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def natural(text: str) -> int:
    """A whole number of 0 or more, as an argument's type."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return int(text)
