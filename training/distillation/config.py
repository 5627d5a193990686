"""Everything that a distillation is asked for."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from detdiffusion.errors import ConfigError
from detdiffusion.models.config import LossConfig
from training.generator.config import GeneratorConfig, SampleConfig

# The perception head is the teacher's: nothing draws masks meanwhile.
_TRAINING = GeneratorConfig(
    unet=None,
    text=None,
    head=None,
    unet_only=True,
    steps=2_000,
    batch=32,
    micro_batch=32,
    learning_rate=2e-4,
    warmup_steps=50,
    weight_decay=0.0,
    ema_length=0.1,
    prompt_dropout=0.0,
    loss=LossConfig(perception_weight=0.0, per_picture=False, use_foreground=False),
    checkpoint_steps=100,
)

_SAMPLES = SampleConfig(scenes=4_000, first_scene=204_000, hard_share=0.5)  # that the bundled model has not seen


class Method(StrEnum):
    """What a student learns from."""

    PATHS = "paths"  # of the teacher, drawn once (`path_lesson.py`)
    CONSISTENCY = "consistency"  # of its own steps from neighbouring points of such a path (`consistency.py`)


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """A field's name is also what `--set field=value` takes."""

    steps: int = 2  # of the student's sampling
    method: str = Method.PATHS.value
    substeps: int = 8  # of the teacher's, for each of the student's
    guidance_scale: float = 0.0  # of the teacher: the student has it built in; 0: what its folder says
    paths: int = 4_000  # of the teacher's, where the method is that
    adversary: float = 0.05  # weight of what the adversary tells; 0: there is none
    detail: float = 0.3  # weight of how much fine structure there is; 0: it is not asked for
    lora_rank: int = 0  # above 0: train LoRA weights of this rank beside the teacher's U-Net, not the U-Net itself
    samples: SampleConfig = _SAMPLES
    training: GeneratorConfig = _TRAINING

    def __post_init__(self) -> None:
        if self.method not in list(Method):
            raise ConfigError(f"method is {self.method!r}; there are {', '.join(Method)}")
        if self.paths < 1 or not all(0 <= weight < float("inf") for weight in (self.adversary, self.detail)):
            raise ConfigError(
                f"{self.paths} paths, an adversary of {self.adversary} and detail of {self.detail}: choose 1 or more, "
                "and 0 or more"
            )
        if not 0 <= self.guidance_scale < float("inf"):
            raise ConfigError(f"guidance_scale is {self.guidance_scale}, and needs to be 0 (the teacher's own) or more")
        if self.lora_rank < 0:
            raise ConfigError(f"lora_rank is {self.lora_rank}, and needs to be 0 (none) or more")

    def to_json(self) -> dict[str, Any]:
        """Every field, nested, as JSON holds it."""
        tree: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return tree
