"""Everything that a distillation is asked for."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from detdiffusion.errors import ConfigError
from detdiffusion.models.config import LossConfig
from detdiffusion.sampling_config import DEFAULT_GUIDANCE
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
    learning_rate=1e-4,
    warmup_steps=50,
    weight_decay=0.0,
    ema_length=0.1,
    prompt_dropout=0.0,
    loss=LossConfig(perception_weight=0.0, per_picture=False),
    checkpoint_steps=100,
)


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """A field's name is also what `--set field=value` takes."""

    steps: int = 2  # of the student's sampling
    substeps: int = 10  # of the teacher's, for each of the student's
    guidance_scale: float = DEFAULT_GUIDANCE  # of the teacher: the student has it built in
    lora_rank: int = 0  # above 0: train LoRA weights of this rank beside the teacher's U-Net, not the U-Net itself
    samples: SampleConfig = field(default_factory=lambda: SampleConfig(scenes=4_000, first_scene=200_000))
    training: GeneratorConfig = _TRAINING

    def __post_init__(self) -> None:
        if self.lora_rank < 0:
            raise ConfigError(f"lora_rank is {self.lora_rank}, and needs to be 0 (none) or more")

    def to_json(self) -> dict[str, Any]:
        """Every field, nested, as JSON holds it."""
        tree: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return tree
