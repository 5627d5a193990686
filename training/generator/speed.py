"""How a training computes, not what: settings that change its speed and leave what is learned as it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detdiffusion.core.files import one_line
from detdiffusion.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class SpeedConfig:
    """A field's name is also what `--set speed.field=value` takes."""

    metrics_steps: int = 1  # between two looks at losses and stop signals: on a GPU, each look waits for it
    channels_last: bool = False  # order of the U-Net's weights in memory: faster on a GPU, slower on a CPU
    compile_blocks: bool = False  # the U-Net's repeated blocks by torch.compile: minutes at first, then faster steps

    def __post_init__(self) -> None:
        if self.metrics_steps < 1:
            raise ConfigError(f"speed.metrics_steps is {self.metrics_steps}, and needs to be 1 or more")


ON_GPU = SpeedConfig(metrics_steps=10, channels_last=True)


def lay_out(networks: Sequence[nn.Module], speed: SpeedConfig, device: torch.device) -> None:
    """Networks whose steps are dear, as the settings want them. Where torch cannot compile, a notice says why."""
    import torch

    if speed.channels_last:
        for network in networks:
            network.to(memory_format=torch.channels_last)
    if speed.compile_blocks:
        compile_blocks(networks, device)


def compile_blocks(networks: Sequence[Any], device: torch.device, backend: str = "inductor") -> bool:
    """Regional compilation: the blocks that a network repeats are compiled, once for all of them.

    Whether it was possible; a small function is compiled first, so that a machine without a compiler is seen now.
    """
    import torch

    try:
        torch.compile(lambda x: 2 * x + 1, backend=backend)(torch.ones(2, device=device))
        for network in networks:
            network.compile_repeated_blocks(backend=backend)
    except Exception as error:  # each backend, compiler and driver fails in its own way
        print(f"speed.compile_blocks is on, and nothing is compiled: {one_line(error)[:300]}", file=sys.stderr)
        return False
    return True
