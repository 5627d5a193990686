"""The teacher with its guidance, as a student learns it: at one scale, where the teacher's folder has it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.diffusion.steering.tag_guidance import opposite
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import TagGuidance, in_interval
from detdiffusion.text.prompt import TextCondition


class Conditions(NamedTuple):
    """What a teacher is shown of B layouts at B timesteps, in 2 B rows: first what guidance leads away from."""

    condition: TextCondition
    raw: Tensor | None
    rows: int  # B

    @property
    def asked(self) -> tuple[TextCondition, Tensor | None]:
        """The rows of the layouts themselves."""
        second = slice(self.rows, None)
        return self.condition.rows(second), None if self.raw is None else self.raw[second]


@dataclass(frozen=True, slots=True)
class GuidedTeacher:
    """pipe: on the device of the student, in eval mode. scale: of guidance."""

    pipe: DetDiffusionPipeline
    scale: float

    @property
    def timesteps(self) -> int:
        """Of the noise schedule."""
        return int(self.pipe.scheduler.config.num_train_timesteps)

    def show(self, layouts: Sequence[Layout | None], t: Tensor, size: tuple[int, int]) -> Conditions:
        """What `predict` needs at timesteps [B]. size: (height, width) of the latents."""
        against = self._against(layouts, t)
        rows = self.pipe.conditions([*against, *layouts], size, guided=False, contrast=False)
        return Conditions(*rows, len(layouts))

    @property
    def kind(self) -> str:
        """What it predicts: epsilon or v_prediction, as diffusers names it."""
        return str(self.pipe.scheduler.config.prediction_type)

    def predict(self, noisy: Tensor, t: Tensor, shown: Conditions) -> Tensor:
        """The prediction with guidance. [B, C, h, w]."""
        scales = self._scales(t)
        if bool((scales == 1).all()):
            return self.pipe.denoise(noisy, t, *shown.asked)
        twice = torch.cat([noisy, noisy]), torch.cat([t, t])
        plain, asked = self.pipe.denoise(*twice, shown.condition, shown.raw).chunk(2)
        return plain + scales * (asked - plain)

    def tags(self, t: int) -> TagGuidance | None:
        """The teacher's guidance away from other tags, where it is on at this timestep."""
        tags = TagGuidance.from_json(self.pipe.config.get("tag_guidance"))
        return tags if tags is not None and tags.is_on(t, self.timesteps) else None

    def _against(self, layouts: Sequence[Layout | None], t: Tensor) -> list[Layout | None]:
        """What guidance leads away from: the same layout with other tags, or the empty prompt (None)."""
        known = self.pipe.vocabulary
        return [
            None if layout is None or self.tags(one) is None else opposite(known.resolve(layout))
            for layout, one in zip(layouts, t.tolist(), strict=True)
        ]

    def _scales(self, t: Tensor) -> Tensor:
        """Of guidance, 1 where the teacher's interval has it off. [B, 1, 1, 1]."""
        return torch.tensor([self._scale(one) for one in t.tolist()], device=t.device)[:, None, None, None]

    def _scale(self, t: int) -> float:
        tags, on = self.tags(t), in_interval(t, self.timesteps, self.pipe.config.guidance_interval)
        return 1 + (self.scale - 1) * (1.0 if tags is None else tags.strength) * on
