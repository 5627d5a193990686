"""What a training learns from, made ahead: while the device computes a step, a thread makes the parts of the next ones.

A part is a function of (seed, step, places), and parts come in their order: when a thread runs decides nothing. Our
choice: one thread, not processes. Most of its work is torch's, which lets go of Python's lock, and the drawing, which
is the dear part, is left to the device.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any, TypeVar

import torch
from torch import Tensor

from detdiffusion.core.devices import send
from detdiffusion.diffusion.denoising import Denoiser
from training.core.reading import read_ahead
from training.generator.batch import Batch, SampleStore, make_batch
from training.generator.config import GeneratorConfig

AHEAD = 8  # parts that wait for the device, at most
Value = TypeVar("Value")


def read_batches(
    model: Denoiser,
    store: SampleStore,
    config: GeneratorConfig,
    timesteps: int,
    steps: range,
    parts: Sequence[range],
    device: torch.device,
) -> Generator[Batch, None, None]:
    """The parts of every step in turn, on the device, with what the model is shown of their layouts.

    Args:
        timesteps: how many the noise schedule has.
        parts: places in a step's batch; one Batch each.

    Raises:
        DataError, LayoutError: a sample cannot be read or shown, when its turn comes.
    """
    size = (store.shape[-2], store.shape[-1])

    def load(place: tuple[int, range]) -> Batch:
        batch = make_batch(store, config, place[0], timesteps, place[1])
        batch = batch._replace(shown=model.show_layouts(batch.layouts, size))
        return batch if device.type != "cuda" else _pinned(batch, device)

    places = ((step, part) for step in steps for part in parts)
    with closing(read_ahead(places, load, AHEAD, threads=1)) as read:
        for _, batch in read:
            yield each_tensor(batch, lambda tensor: send(tensor, device))


def _pinned(batch: Batch, device: torch.device) -> Batch:
    """In memory that the device reads by itself: sending it makes nobody wait."""
    with torch.cuda.device(device):  # a thread begins on the first
        return each_tensor(batch, Tensor.pin_memory)


def each_tensor(value: Value, change: Callable[[Tensor], Tensor]) -> Value:
    """The same named tuple with all its tensors changed, those of named tuples inside it, too."""
    if isinstance(value, Tensor):
        changed: Any = change(value)
        return changed  # type: ignore[no-any-return]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(each_tensor(part, change) for part in value))
    return value
