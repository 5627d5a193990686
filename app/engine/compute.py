"""What computes: a device, the precision of its arithmetic, and one thread."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import ParamSpec, TypeVar

import torch

from detdiffusion.core.devices import OPENVINO, device_of, has_openvino
from detdiffusion.errors import ConfigError

AUTOMATIC = "automatic"
THREAD = "computing"
P = ParamSpec("P")
T = TypeVar("T")
PRECISIONS = {AUTOMATIC: None, "float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Engine:
    """What computes. device: as torch names it (cpu, cuda:1), or openvino; None: an accelerator where there is one.

    Raises:
        ConfigError: there is no such device or precision.
    """

    device: str | None = None
    precision: str = AUTOMATIC

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(f"there is no precision {self.precision!r}; choose one of {', '.join(PRECISIONS)}")
        device_of(self.device, draws=True)

    @property
    def torch_device(self) -> torch.device:
        """With its number, as the page lists devices and as a moved model names its own."""
        device = device_of(self.device, draws=True)
        return torch.device(device.type, device.index or 0) if device.type == "cuda" else device

    @property
    def place(self) -> str:
        """`device`, chosen: of `devices`."""
        return OPENVINO if self.device == OPENVINO else str(self.torch_device)

    @property
    def dtype(self) -> torch.dtype | None:
        """Of the arithmetic; None: what the device is fast in."""
        return PRECISIONS[self.precision]


def devices() -> list[str]:
    """What this machine can draw on."""
    openvino = [OPENVINO] if has_openvino() else []
    return ["cpu", *openvino, *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]


def computing(work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """What `work` returns or raises, run in the one thread of this process that computes; whoever calls waits.

    OpenMP gives every thread that computes a team of its own, with as many threads as there are cores. Two teams have
    more threads than cores, and then they no longer wait awake for each other: a pair took nearly twice as long.
    """
    if threading.current_thread().name.startswith(THREAD):
        return work(*arguments, **options)
    return _worker(os.getpid()).submit(work, *arguments, **options).result()


@cache
def _worker(process: int) -> ThreadPoolExecutor:
    """Of a process: a fork has none of its parent's threads. With as many threads of torch's as whoever asks first."""
    return ThreadPoolExecutor(1, THREAD, torch.set_num_threads, (torch.get_num_threads(),))
