"""The config tree of `python -m training bundle` and its presets: frozen, typed, saved before step 0."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detdiffusion.errors import ConfigError
from detdiffusion.losses import LossConfig

HELD_OUT_SEED = 900_000  # scenes from here up are never trained on


# Little change of colour: an odd colour must stay odd.
_AUGMENTATION = {"mosaic": 0.3, "close_mosaic": 4, "hsv_h": 0.01, "hsv_s": 0.2, "hsv_v": 0.2}


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """One detector, trained from scratch by ultralytics on Papercut scenes."""

    architecture: str  # a built-in model of ultralytics, by name
    scenes: int
    first_scene: int
    difficulty: float  # share of objects made naturally difficult
    epochs: int
    image_size: int = 160
    batch: int = 32
    seed: int = 0
    validation_scenes: int = 200
    augmentation: Mapping[str, Any] = field(default_factory=lambda: dict(_AUGMENTATION))  # of ultralytics


@dataclass(frozen=True, slots=True)
class AutoencoderConfig:
    """The small autoencoder: L1 + gradient loss on crops, noise on the latents (see models/autoencoder.py).

    Latents at half the scale must decode to the picture at half the scale (EQ-VAE, Kouzelis et al. 2025): the
    generator learns smooth latents in fewer steps.
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


@dataclass(frozen=True, slots=True)
class SampleConfig:
    """Scenes that the generator learns from: rendered, labelled by the detector (Eq. 2), encoded, kept as latents."""

    scenes: int = 12_000
    first_scene: int = 100_000
    difficulty: float = 0.45
    chunk: int = 250  # scenes a file, the unit that a killed run loses at most
    min_score: float = 0.5  # gamma
    min_iou: float = 0.5  # beta
    match_class: bool = True


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """The diffusion model and its training."""

    unet: Mapping[str, Any]  # of diffusers' UNet2DConditionModel; in_channels and cross_attention_dim are filled in
    text: Mapping[str, Any]  # of transformers' CLIPTextConfig; the vocabulary's size is filled in
    blueprint: Mapping[str, Any] | None = field(default_factory=dict)  # None: the paper's text-only model
    head: Mapping[str, Any] | None = field(default_factory=dict)
    grid: tuple[int, int] = (32, 32)
    steps: int = 15_000
    batch: int = 16
    learning_rate: float = 7e-4
    text_learning_rate: float = 0.75  # times learning_rate (GeoDiffusion)
    warmup_steps: int = 300
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    prompt_dropout: float = 0.1  # share of prompts emptied (main paper)
    loss: LossConfig = field(default_factory=LossConfig)
    precision: str = "bf16"  # "bf16" (autocast) or "fp32"
    checkpoint_steps: int = 500
    seed: int = 0


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """Everything that `python -m training bundle` trains, in the order of its fields."""

    detector: DetectorConfig
    judge: DetectorConfig
    autoencoder: AutoencoderConfig
    samples: SampleConfig
    generator: GeneratorConfig
    image_size: int = 256

    def __post_init__(self) -> None:
        for name, part in (
            ("detector", self.detector),
            ("judge", self.judge),
            ("autoencoder", self.autoencoder),
            ("samples", self.samples),
        ):
            last = part.first_scene + part.scenes + getattr(part, "validation_scenes", 0)
            if last > HELD_OUT_SEED:
                raise ConfigError(f"{name} would see scene {last - 1}; scenes from {HELD_OUT_SEED} up are held out")

    def to_json(self) -> dict[str, Any]:
        tree: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return tree


def check_same_config(saved: Path, config: BundleConfig) -> None:
    """Refuses to go on with another config (fault 12).

    Raises:
        ConfigError: with the fields that differ.
    """
    old, new = json.loads(saved.read_text()), config.to_json()
    differing = sorted(_differences(old, new))
    if differing:
        raise ConfigError(
            f"{saved.parent} was started with another config; these differ: {'; '.join(differing)}. "
            "Use the old preset, or another --out."
        )


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            d
            for key in old.keys() | new.keys()
            for d in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"{path} was {old!r}, is {new!r}"]


_CPU = BundleConfig(
    detector=DetectorConfig("yolo11n.yaml", scenes=2_500, first_scene=0, difficulty=0.1, epochs=10),
    judge=DetectorConfig("yolov5n.yaml", scenes=4_500, first_scene=20_000, difficulty=0.45, epochs=22, seed=1),
    autoencoder=AutoencoderConfig(),
    samples=SampleConfig(),
    generator=GeneratorConfig(
        unet={
            "sample_size": 32,
            "block_out_channels": (64, 96, 160, 192),
            "down_block_types": ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            "layers_per_block": 1,
            "attention_head_dim": 4,  # diffusers' legacy name: the number of heads
            "norm_num_groups": 16,
        },
        blueprint={"out_channels": 32},
        head={"width": 40},
        text={"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4},
        loss=LossConfig(perception_weight=0.05),
    ),
)

_GPU = dataclasses.replace(
    _CPU,
    detector=dataclasses.replace(_CPU.detector, scenes=6_000, epochs=20, batch=128),
    judge=dataclasses.replace(_CPU.judge, scenes=8_000, epochs=24, batch=128),
    autoencoder=dataclasses.replace(_CPU.autoencoder, scenes=6_000, steps=6_000, batch=32),
    samples=dataclasses.replace(_CPU.samples, scenes=30_000),
    generator=dataclasses.replace(_CPU.generator, steps=16_000, batch=64, warmup_steps=500, ema_decay=0.9995),
)

PRESETS: Mapping[str, BundleConfig] = {"cpu": _CPU, "gpu": _GPU}
