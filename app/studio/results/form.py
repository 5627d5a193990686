"""How an image shall be made, as the page holds it."""

import secrets
from dataclasses import dataclass, replace

from detdiffusion.errors import ConfigError
from detdiffusion.sampling_config import MAX_SEED, SamplingConfig


@dataclass(frozen=True, slots=True)
class Form:
    """The settings beside the canvas, as the page holds them."""

    fixed: bool
    seed: float | None
    steps: float
    guidance_scale: float
    attribute_guidance: float = 0.0
    sampler: str = ""

    def recipe(self) -> SamplingConfig:
        """ConfigError for a seed that is no whole number, or a value out of range."""
        if not self.fixed:
            return replace(self.settings, seed=new_seed())
        if self.seed is None or not float(self.seed).is_integer():
            raise ConfigError(f"fixed noise needs a seed: a whole number from 0 to {MAX_SEED}")
        return replace(self.settings, seed=int(self.seed))

    @property
    def settings(self) -> SamplingConfig:
        """Without the seed, whatever it is."""
        return SamplingConfig(0, int(self.steps), self.guidance_scale, self.attribute_guidance, self.sampler)


def new_seed() -> int:
    """A seed short enough to read out."""
    return secrets.randbelow(1_000_000)
