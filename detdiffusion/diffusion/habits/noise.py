"""Where sampling starts: seeds of ours, or generators and latents as diffusers' pipelines take them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from detdiffusion.diffusion.request import as_seeds
from detdiffusion.diffusion.sampling import starting_noise
from detdiffusion.errors import ConfigError, quoted

Generators: TypeAlias = torch.Generator | list[torch.Generator] | None


@dataclass(frozen=True)
class NoiseSource:
    """What a call says of its noise, checked: seeds, or else latents, or else generators.

    Attributes:
        seeds: one an image; None: the caller gave none.
        generator: one for all images, or one an image; None: torch's own, which `torch.manual_seed` sets.
        latents: [B, C, h, w] noise to start from, in place of drawn noise; None: it is drawn.

    Raises:
        ConfigError: one of them is of another kind, or seeds and generators are both given.
    """

    seeds: list[int] | None
    generator: Generators
    latents: Tensor | None

    @classmethod
    def of(cls, seeds: Iterable[int] | None, generator: Any, latents: Any) -> NoiseSource:
        """Of the arguments of a call."""
        if seeds is not None and generator is not None:
            raise ConfigError("seeds and generator both say where the noise comes from: give one of them")
        if isinstance(generator, tuple):
            generator = list(generator)
        one_by_one = generator if isinstance(generator, list) else [generator] * (generator is not None)
        if not all(isinstance(one, torch.Generator) for one in one_by_one):
            raise ConfigError(f"generator needs to be a torch.Generator, or a list of them, not {quoted(generator)}")
        if latents is not None and not (isinstance(latents, Tensor) and latents.ndim == 4):
            raise ConfigError(f"latents needs to be a tensor [B, C, h, w] of normal noise, not {quoted(latents)}")
        return cls(None if seeds is None else as_seeds(seeds), generator, latents)

    @property
    def counted(self) -> tuple[int, str] | None:
        """How many images the caller has given noise for, and in which form; None: for any number."""
        if self.seeds is not None:
            return len(self.seeds), "seeds"
        if isinstance(self.generator, list):
            return len(self.generator), "generators"
        return None if self.latents is None else (len(self.latents), "latents")

    def start(self, count: int, shape: tuple[int, int, int], device: torch.device) -> Tensor:
        """Standard normal noise [count, *shape], float32 on the device; latents of the caller as they are.

        Noise without a generator is drawn on the CPU, so that a seed means the same on every device.

        Raises:
            ConfigError: the caller's latents are of another shape, or a generator belongs to another device.
        """
        whole = (count, *shape)
        if self.latents is not None:
            if tuple(self.latents.shape) != whole:
                raise ConfigError(f"latents are {list(self.latents.shape)}; these images need {list(whole)}")
            return self.latents.to(device, torch.float32)
        if self.seeds is not None:
            return starting_noise(self.seeds, shape).to(device)
        where = torch.device("cpu") if self.generator is None else device
        try:
            drawn: Tensor = randn_tensor(whole, generator=self.generator, device=where, dtype=torch.float32)
        except ValueError as error:  # as diffusers says it
            raise ConfigError(f"generator: {error}") from error
        return drawn.to(device)

    def first_seeds(self) -> Sequence[int]:
        """The seeds, or one that stands for none, for what is checked with them."""
        return [0] if self.seeds is None else self.seeds

    def numbers(self, count: int) -> Sequence[int]:
        """One for each of `count` images, from which noise that is drawn later follows."""
        return range(count) if self.seeds is None else self.seeds
