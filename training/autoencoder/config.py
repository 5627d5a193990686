"""The settings of the small autoencoder."""

import math
from dataclasses import asdict, dataclass

from detdiffusion.errors import ConfigError

OF_SCENES = ("scenes", "first_scene")  # fields for Papercut's own pictures
_MAY_BE_ZERO = ("warmup_steps", "gradient_weight", "latent_penalty", "half_scale_weight", "latent_noise", "seed")


@dataclass(frozen=True, slots=True)
class AutoencoderConfig:
    """The small autoencoder: L1 + gradient loss on crops, noise on the latents (see models/autoencoder.py).

    Latents at half the scale must decode to the picture at half the scale (EQ-VAE, Kouzelis et al. 2025): the
    generator learns smooth latents in fewer steps.

    Raises:
        ConfigError: a number is out of range.
    """

    block_out_channels: tuple[int, ...] = (32, 64, 128)
    layers_per_block: tuple[int, ...] = (1, 2, 2)
    latent_channels: int = 8
    scenes: int = 2_000
    first_scene: int = 60_000
    steps: int = 3_000
    batch: int = 16
    crop: int = 128  # pixels
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    clip_norm: float = 0.5
    gradient_weight: float = 1.0
    latent_penalty: float = 1e-3
    half_scale_weight: float = 0.25
    latent_noise: float = 0.4  # largest standard deviation, as a share of the latents' own
    checkpoint_steps: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 0 if name in (*_MAY_BE_ZERO, *OF_SCENES) else 1 if isinstance(value, int) else math.ulp(0.0)
            if isinstance(value, tuple):
                if not all(type(item) is int and item > 0 for item in value):
                    raise ConfigError(f"{name} {value} needs to be whole numbers above 0")
            elif not least <= value < math.inf:
                kind = "of 0 or more" if least == 0 else "above 0"
                raise ConfigError(f"{name} {value} needs to be a number {kind}")
