"""The settings and presets of `ablation` and `trainability`."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detdiffusion.errors import ConfigError
from training.data.papercut.classes import HELD_OUT_SEED
from training.generator.config import _PAPERCUT_CPU, _PAPERCUT_GPU, GeneratorConfig, SampleConfig


@dataclass(frozen=True, slots=True)
class AblationConfig:
    """What every row of `python -m training ablation` learns, from what, and how it is looked at."""

    generator: GeneratorConfig
    samples: SampleConfig
    layouts: int  # unseen ones, from HELD_OUT_SEED up
    sampler_steps: int = 20

    def __post_init__(self) -> None:
        if self.samples.first_scene + self.samples.scenes > HELD_OUT_SEED:
            raise ConfigError(f"the ablation would learn from scenes from {HELD_OUT_SEED} up, which are held out")

    def to_json(self) -> dict[str, Any]:
        """Every field, nested, as JSON holds it."""
        tree: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return tree


@dataclass(frozen=True, slots=True)
class TrainabilityConfig:
    """How every detector of `python -m training trainability` learns. ConfigError if a number is out of range."""

    image_size: int  # pixels, the side of the squares that it sees
    updates: int  # the same for every row
    batch: int = 16
    learning_rate: float | None = None  # at its peak; None: the library's own choice

    def __post_init__(self) -> None:
        for name in ("image_size", "updates", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} needs to be 1 or more")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise ConfigError(f"learning_rate {self.learning_rate} needs to be above 0")


TRAINABILITY: Mapping[str, TrainabilityConfig] = {
    "small": TrainabilityConfig(image_size=160, updates=1_000),
    # The usual schedule on COCO, "1x": 90,000 updates of 16 (DetDiffusion, A.2, names none).
    "coco": TrainabilityConfig(image_size=800, updates=90_000, learning_rate=0.02),
}


# 128 pixels: the bundled autoencoder keeps 74 % of the detector's confidence there (98 % at 256).
_ABLATION_SMALL = dataclasses.replace(
    _PAPERCUT_CPU,
    unet={
        **(_PAPERCUT_CPU.unet or {}),
        "sample_size": 16,
        "block_out_channels": (64, 96, 128),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    },
    size=(128, 128),
    steps=700,
    batch=8,
    micro_batch=8,
    warmup_steps=100,
    ema_decay=0.99,
    sample_steps=0,
)


ABLATIONS: Mapping[str, AblationConfig] = {
    "small": AblationConfig(_ABLATION_SMALL, SampleConfig(scenes=3_000), layouts=48, sampler_steps=10),
    "full": AblationConfig(
        dataclasses.replace(_PAPERCUT_GPU, sample_steps=0), SampleConfig(scenes=30_000), layouts=500
    ),
}
"""Of `python -m training ablation`: two cores and some hours; an accelerator."""
