"""The settings of the small autoencoder."""

import math
from dataclasses import asdict, dataclass

from detdiffusion.errors import ConfigError

OF_SCENES = ("scenes", "first_scene")  # fields for Papercut's own images
_MAY_BE_ZERO = (
    "full_resolution_channels",
    "steps",
    "decoder_steps",
    "warmup_steps",
    "gradient_weight",
    "latent_penalty",
    "half_scale_weight",
    "latent_noise",
    "decoder_latent_noise",
    "perceptual_pull",
    "critic_pull",
    "seed",
)


@dataclass(frozen=True, slots=True)
class AutoencoderConfig:
    """The small autoencoder, learned in two phases (see models/autoencoder.py).

    First all of it: L1 + gradient loss on crops, much noise on the latents. Latents at half the scale must decode to
    the image at half the scale (EQ-VAE, Kouzelis et al. 2025): the generator learns smooth latents in fewer steps.
    Then the decoder alone, with less noise, towards the same loss, a detector's features and a critic of patches. A
    start (`grow.py`) can take the place of the first phase.

    Raises:
        ConfigError: a number is out of range.
    """

    block_out_channels: tuple[int, ...] = (32, 64, 128)
    layers_per_block: tuple[int, ...] = (1, 2, 2)
    latent_channels: int = 8  # before they are folded
    decoder_channels: tuple[int, ...] = (32, 64, 128)
    decoder_layers: tuple[int, ...] = (2, 4, 5)
    full_resolution_channels: int = 16
    fold: int = 1  # of the finished autoencoder
    scenes: int = 2_000
    first_scene: int = 60_000
    steps: int = 3_000  # of the first phase; 0: there is none
    decoder_steps: int = 2_400  # of the second; 0: there is none
    batch: int = 16
    crop: int = 128  # pixels
    learning_rate: float = 1e-3
    decoder_learning_rate: float = 3e-4
    warmup_steps: int = 100  # of each phase
    clip_norm: float = 0.5
    gradient_weight: float = 1.0
    latent_penalty: float = 1e-3
    half_scale_weight: float = 0.25
    latent_noise: float = 0.4  # largest standard deviation, as a share of the latents' own
    decoder_latent_noise: float = 0.1  # the same in the second phase
    perceptual_pull: float = 0.5  # length of this loss's gradient in the image, as a share of L1 + gradient's
    critic_pull: float = 0.5  # the same of the critic's
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
