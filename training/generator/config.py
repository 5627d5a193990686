"""The configs of `python -m training train` and `bundle`, and their presets: frozen, typed, saved before step 0."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from detdiffusion.errors import ConfigError
from detdiffusion.models.config import LossConfig
from detdiffusion.sampling_config import WHOLE_SCHEDULE, Recommended, SamplingConfig, TagGuidance, check_interval
from training.autoencoder.config import AutoencoderConfig
from training.causes.config import CauseTrainingConfig
from training.data.papercut.causes import Cause
from training.data.papercut.classes import HELD_OUT_SEED
from training.generator.detector_config import DetectorConfig
from training.generator.speed import ON_GPU, SpeedConfig

# The held-out detector stands for a person, to whom shapes name a class, and colours do not.
_ANY_COLOUR = {
    "mosaic": 0.3, "close_mosaic": 2, "hsv_h": 0.5, "hsv_s": 0.7, "hsv_v": 0.4, "bgr": 0.2, "flipud": 0.3,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SampleConfig:
    """Scenes that the generator learns from: rendered, labelled by the detector (Eq. 2), encoded, kept as latents."""

    scenes: int = 12_000
    first_scene: int = 100_000
    hard_share: float = 0.45
    chunk: int = 250  # scenes a file, the unit that a killed run loses at most
    mask_scale: int = 1  # cells of a mask for one latent cell, on each side: a multiple of the head's `scale`
    min_score: float = 0.5  # gamma
    min_iou: float = 0.5  # beta
    match_class: bool = True


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """The diffusion model and its training. A field's name is also what `--set field=value` takes.

    unet, text: None where a Stable Diffusion folder brings them.
    """

    unet: Mapping[str, Any] | None  # of diffusers' UNet2DConditionModel; in_channels and cross_attention_dim filled in
    text: Mapping[str, Any] | None  # of transformers' CLIPTextConfig; the vocabulary's size is filled in
    blueprint: Mapping[str, Any] | None = field(default_factory=dict)  # None: the paper's text-only model
    head: Mapping[str, Any] | None = field(default_factory=dict)  # None: no perception head, so no perception loss
    controlnet: Mapping[str, Any] | None = None  # of `new_controlnet`; None: no ControlNet
    control_only: bool = False  # train the ControlNet alone, as its paper does with a U-Net that can draw already
    unet_only: bool = False  # train the U-Net alone: of a student, which shares the rest with its teacher
    size: tuple[int, int] = (256, 256)  # (height, width) of the pictures, in pixels
    grid: tuple[int, int] = (32, 32)  # (columns, rows) of location words
    location_text: str = "<{}>"  # empty: prompts name classes alone
    attributes: bool = True  # False: no easy / hard / background words (GeoDiffusion)
    start: str = ""  # model folder to begin as (`start.py`); empty: from nothing, and a student as its teacher
    steps: int = 15_000
    batch: int = 16  # pictures a step, over all processes
    micro_batch: int = 16  # at most so many pictures a forward; the gradients of a step are added up
    learning_rate: float = 7e-4
    text_learning_rate: float = 0.75  # times learning_rate (GeoDiffusion)
    text_layer_decay: float = 1.0  # a text layer's rate, as a share of the layer above it (GeoDiffusion: 0.95)
    text_words_only: bool = False  # of the text encoder, train the added words alone
    warmup_steps: int = 300
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    optimizer: str = "adamw"  # "adamw", or "muon": Muon for hidden matrices and convolutions, AdamW for the rest
    muon_learning_rate: float = 1.0  # times learning_rate, of what Muon moves
    adversary_learning_rate: float = 10.0  # times learning_rate, where a student has an adversary
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    ema_length: float = 0.0  # above 0, in place of ema_decay: see `MovingAverage`
    guidance_interval: tuple[float, float] = WHOLE_SCHEDULE  # kept in the model: see `in_interval`
    tag_guidance: Mapping[str, float] = field(default_factory=dict)  # kept in the model: see `TagGuidance`; {}: none
    sampler: str = ""  # kept in the model: of `SAMPLERS`; empty: the usual kind
    sampling: Mapping[str, Any] = field(default_factory=dict)  # kept in the model: see `Recommended`
    prompt_dropout: float = 0.1  # share of prompts emptied (main paper)
    flip: float = 0.0  # share of pictures that are mirrored
    timestep_shift: float = 1.0  # above 1, noisy timesteps are drawn more often (Esser et al. 2024, equation 23)
    loss: LossConfig = field(default_factory=LossConfig)
    precision: str = "bf16"  # "bf16" (autocast, on devices that compute in it; others compute in fp32) or "fp32"
    gradient_checkpointing: bool = False
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    checkpoint_steps: int = 500
    keep: int = 2  # checkpoints
    sample_steps: int = 0  # steps between sample grids and probes; 0: none
    sample_layouts: int = 8  # of the grid and the probe
    sampler_steps: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "micro_batch", "checkpoint_steps", "keep", "sample_layouts", "sampler_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, and needs to be 1 or more")
        for name in ("text_learning_rate", "warmup_steps", "weight_decay", "sample_steps", "seed"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, and needs to be 0 or more")
        for name in ("size", "grid"):
            if min(getattr(self, name)) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, and needs a height and a width of 1 or more")
        for name in ("prompt_dropout", "flip", "text_layer_decay", "ema_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, and needs to be between 0 and 1")
        for name in ("learning_rate", "muon_learning_rate", "adversary_learning_rate", "clip_norm", "timestep_shift"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, and needs to be above 0")
        check_interval(self.guidance_interval)
        TagGuidance.from_json(self.tag_guidance or None)
        SamplingConfig(0, sampler=self.sampler)
        Recommended.from_json(self.sampling)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas are {self.betas}, and need to be 0 or more and below 1")
        if self.optimizer not in ("adamw", "muon"):
            raise ConfigError(f"optimizer is {self.optimizer!r}; there are adamw and muon")
        if not 0 <= self.ema_length <= 0.28:
            raise ConfigError(f"ema_length is {self.ema_length}, and needs to be between 0 and 0.28 (a plain average)")
        if self.precision not in ("bf16", "fp32"):
            raise ConfigError(f"precision is {self.precision!r}; there are bf16 and fp32")
        if self.loss.perception_weight > 0 and self.head is None:
            raise ConfigError("loss.perception_weight needs a perception head: set it to 0, or give a head")
        if self.controlnet is not None and self.blueprint is not None:
            raise ConfigError("a ControlNet takes the place of the blueprint: set blueprint=null, or controlnet=null")
        if self.control_only and self.controlnet is None:
            raise ConfigError("control_only needs a controlnet")

    @property
    def mask_scale(self) -> int:
        """Cells of a mask for one latent cell, on each side, as the perception head draws them."""
        return int((self.head or {}).get("scale", 1))

    def to_json(self) -> dict[str, Any]:
        """Every field, nested, as JSON holds it."""
        tree: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return tree


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """Everything that `python -m training bundle` trains, in the order of its fields."""

    detector: DetectorConfig
    held_out: DetectorConfig  # detector that gives no attributes
    autoencoder: AutoencoderConfig
    samples: SampleConfig
    causes: CauseTrainingConfig  # classifier that looks at images, for people and reports
    generator: GeneratorConfig

    def __post_init__(self) -> None:
        if len(set(self.generator.size)) > 1:
            raise ConfigError(f"scenes are square, and generator.size is {self.generator.size}")
        kept, drawn = self.samples.mask_scale, self.generator.mask_scale
        if kept < 1 or kept % drawn:
            raise ConfigError(f"samples.mask_scale is {kept}, and needs to be a multiple of the head's scale {drawn}")
        for name, part in (
            ("detector", self.detector),
            ("held_out", self.held_out),
            ("autoencoder", self.autoencoder),
            ("samples", self.samples),
        ):
            alone = getattr(part, "alone_scenes", 0) * len(Cause)
            last = part.first_scene + part.scenes + alone + getattr(part, "validation_scenes", 0)
            if last > HELD_OUT_SEED:
                raise ConfigError(f"{name} would see scene {last - 1}; scenes from {HELD_OUT_SEED} up are held out")

    @property
    def image_size(self) -> int:
        """Side of the scenes, in pixels."""
        return self.generator.size[0]

    def kept(self) -> dict[str, Any]:
        """What stays with the run: not the causes, whose stage keeps them, so that runs from before them go on."""
        settings = self.to_json()
        del settings["causes"]
        return settings

    def to_json(self) -> dict[str, Any]:
        """Every field, nested, as JSON holds it."""
        tree: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return tree


_PAPERCUT_CPU = GeneratorConfig(
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
    guidance_interval=(0.0, 0.8),  # edges as sharp as real ones, and more causes (model card)
    head={"width": 40},
    text={"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4},
    loss=LossConfig(perception_weight=0.05, per_picture=False),
    sample_steps=500,
)

# For latent cells of 16 pixels, a quarter as many: a fifth more weights in four fifths of the time. Edges stay exact by
# a blueprint of four cells a latent cell, and masks by two.
_PAPERCUT_CPU_16 = dataclasses.replace(
    _PAPERCUT_CPU,
    unet={
        **(_PAPERCUT_CPU.unet or {}),
        "sample_size": 16,
        "block_out_channels": (128, 160, 208),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    },
    blueprint={"out_channels": 64, "scale": 4},
    head={"width": 40, "scale": 2},
)

# Channels of a U-Net -> of the one beside a ControlNet, which then has as many weights in all (13.6M for 13.5M, 15.8M
# for 15.9M).
_CONTROL_CHANNELS = {(64, 96, 160, 192): (64, 80, 128, 160), (128, 160, 208): (96, 128, 176)}
_CONTROL_EMBEDDING = (16, 32, 64, 96, 128)  # of the layers that bring its image down, each to half the size

_PAPERCUT_GPU = dataclasses.replace(
    _PAPERCUT_CPU, steps=16_000, batch=64, micro_batch=64, warmup_steps=500, ema_decay=0.9995, speed=ON_GPU
)

# GeoDiffusion's recipe on COCO-Stuff (60 epochs of 118,287 pictures are 27,720 steps), in pieces that fit one GPU.
_SD15 = GeneratorConfig(
    unet=None,
    text=None,
    head={"width": 256},
    size=(512, 512),
    grid=(256, 256),
    location_text="<l{}>",
    steps=27_720,
    batch=256,
    micro_batch=8,
    learning_rate=1.5e-4,
    text_layer_decay=0.95,
    warmup_steps=3_000,
    betas=(0.9, 0.999),
    ema_decay=0.9999,
    flip=0.5,
    gradient_checkpointing=True,
    speed=ON_GPU,
    sample_steps=1_000,
)

_BASES: Mapping[str, GeneratorConfig] = {
    "papercut-cpu": _PAPERCUT_CPU,
    "papercut-cpu-16": _PAPERCUT_CPU_16,
    "papercut-gpu": _PAPERCUT_GPU,
    "sd15-256": dataclasses.replace(_SD15, size=(256, 256), micro_batch=32),
    "sd15-512": _SD15,
    "sd15-800x456": dataclasses.replace(_SD15, size=(456, 800), micro_batch=4),
}


def _with_loss(**changes: Any) -> Callable[[GeneratorConfig], GeneratorConfig]:
    return lambda config: dataclasses.replace(config, loss=dataclasses.replace(config.loss, **changes))


def _no_perception(config: GeneratorConfig) -> GeneratorConfig:
    return dataclasses.replace(_with_loss(perception_weight=0.0)(config), head=None)


def _geodiffusion(config: GeneratorConfig) -> GeneratorConfig:
    """The parent: no attributes, no perception-aware loss. Its blueprint stays as the preset has it."""
    return _no_attributes(_no_perception(config))


def _no_attributes(config: GeneratorConfig) -> GeneratorConfig:
    """Without words for tags there is no guidance away from them, and others take its part of the schedule."""
    interval = _PAPERCUT_CPU.guidance_interval if config.tag_guidance else config.guidance_interval
    return dataclasses.replace(config, attributes=False, tag_guidance={}, guidance_interval=interval)


def _no_blueprint(config: GeneratorConfig) -> GeneratorConfig:
    """The paper's own condition: words alone."""
    return dataclasses.replace(config, blueprint=None)


def _controlnet(config: GeneratorConfig) -> GeneratorConfig:
    """The layout as a picture for a ControlNet, class names alone as words.

    On Stable Diffusion the U-Net stays as it is. From nothing both learn together, and the U-Net is narrower: as many
    parameters in all as the other models have, so that size decides nothing.
    """
    plain = dataclasses.replace(_no_blueprint(_geodiffusion(config)), location_text="")
    if config.unet is None:
        return dataclasses.replace(plain, controlnet={}, control_only=True)
    channels, cell = tuple(config.unet["block_out_channels"]), config.size[0] // config.unet["sample_size"]  # pixels
    return dataclasses.replace(
        plain,
        controlnet={"embedding_channels": _CONTROL_EMBEDDING[: cell.bit_length()]},
        unet={**config.unet, "block_out_channels": _CONTROL_CHANNELS.get(channels, channels)},
    )


VARIANTS: Mapping[str, Callable[[GeneratorConfig], GeneratorConfig]] = {
    "geodiffusion": _geodiffusion,
    "controlnet": _controlnet,
    "geodiffusion-no-blueprint": lambda config: _no_blueprint(_geodiffusion(config)),
    "no-blueprint": _no_blueprint,
    "no-attributes": _no_attributes,
    "no-alpha-bar": _with_loss(use_alpha_bar=False),
    "no-dice": _with_loss(use_dice=False),
    "no-perception": _no_perception,
}
FINE_TUNE = "fine-tune"
TRAIN_PRESETS: Mapping[str, GeneratorConfig] = {
    # A trained model goes on (`going_on.py`): something to look at within minutes on two cores.
    FINE_TUNE: dataclasses.replace(
        _PAPERCUT_CPU,
        steps=160,
        batch=4,
        micro_batch=4,
        learning_rate=1e-4,
        warmup_steps=10,
        ema_length=0.1,
        checkpoint_steps=80,
        sample_steps=40,
        sample_layouts=2,
    ),
    **_BASES,
    **{f"{name}-{variant}": change(base) for name, base in _BASES.items() for variant, change in VARIANTS.items()},
}
"""Of `python -m training train`: every preset, and each as GeoDiffusion and as the paper's ablations (Table 1)."""


# How Papercut is drawn, as was measured (docs/EVALUATION.md#tag-guidance).
_TAGS, _STEPS = {"strength": 0.15, "noisiest": 0.3}, {"steps": 10, "guidance_scale": 2.5}
_DRAWN: Mapping[str, Any] = {"guidance_interval": WHOLE_SCHEDULE, "tag_guidance": _TAGS, "sampling": _STEPS}

_CPU = BundleConfig(
    detector=DetectorConfig("yolo11n.yaml", scenes=2_500, first_scene=0, hard_share=0.04, epochs=10),
    held_out=DetectorConfig(
        "yolov8n.yaml",
        scenes=14_000,
        first_scene=20_000,
        hard_share=0.8,
        epochs=16,
        alone_scenes=500,
        image_size=192,
        seed=1,
        augmentation=_ANY_COLOUR,
        centred=True,
    ),
    autoencoder=AutoencoderConfig(),
    samples=SampleConfig(),
    causes=CauseTrainingConfig(),
    generator=dataclasses.replace(_PAPERCUT_CPU, sampler="sde-dpm++", **_DRAWN),
)

_CPU_16 = dataclasses.replace(_CPU, samples=dataclasses.replace(_CPU.samples, mask_scale=4), generator=_PAPERCUT_CPU_16)

_GPU = dataclasses.replace(
    _CPU,
    detector=dataclasses.replace(_CPU.detector, scenes=6_000, epochs=20, batch=128),
    held_out=dataclasses.replace(_CPU.held_out, scenes=8_000, epochs=24, batch=128),
    autoencoder=dataclasses.replace(_CPU.autoencoder, scenes=6_000, steps=6_000, batch=32),
    samples=dataclasses.replace(_CPU.samples, scenes=30_000),
    generator=dataclasses.replace(_PAPERCUT_GPU, sampler="sde-dpm++", **_DRAWN),
)


OLD_NAMES: Mapping[str, str] = {"judge": "held_out", "difficulty": "hard_share"}
"""Fields of `BundleConfig` as version 0.1 kept them in a run -> as they are called now."""

ADDED: Mapping[str, Any] = {
    "mask_scale": 1,
    "optimizer": "adamw",
    "muon_learning_rate": 1.0,
    "ema_length": 0.0,
    "min_snr_gamma": 0.0,
    "start": "",
    "timestep_shift": 1.0,
    "guidance_interval": [0.0, 1.0],
    "tag_guidance": {},
    "sampler": "",
    "sampling": {},
    "unet_only": False,
    "speed": {"metrics_steps": 1, "channels_last": False, "compile_blocks": False},
    "alone_scenes": 0,
    "centred": False,
}
"""Fields of configs that older runs lack -> what they were then."""

PRESETS: Mapping[str, BundleConfig] = {"cpu": _CPU, "cpu-16": _CPU_16, "gpu": _GPU}
"""Of `python -m training bundle`."""


class Stage(StrEnum):
    """What `bundle` makes, in this order."""

    DETECTOR = "detector"
    HELD_OUT = "judge"  # its folder in a run, as version 0.1 named it
    AUTOENCODER = "autoencoder"
    ATTRIBUTES = "attributes"
    CAUSES = "causes"
    GENERATOR = "generator"
