"""What the student learns of a batch: to go in one step where its teacher's guided steps lead.

Consistency within phases (Heek et al. 2024, "Multistep Consistency Models", section 3; Wang et al. 2024, "Phased
Consistency Models"): from two neighbouring points of the teacher's path, the student's steps to the end of the phase
have to meet. The later point's answer is the target: it is nearer to the end, where a step is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.diffusion.steering.tag_guidance import opposite
from detdiffusion.layout import Layout
from detdiffusion.models.config import LossConfig
from detdiffusion.models.losses import Losses, denoising_loss
from detdiffusion.sampling_config import TagGuidance, in_interval
from detdiffusion.text.prompt import TextCondition
from training.distillation.phases import Phases, Step
from training.generator.batch import Batch


@dataclass(frozen=True, slots=True)
class Distillation:
    """A lesson of `train_generator`.

    teacher: on the device of the student, in eval mode. guidance_scale: which the student learns to do without.
    """

    teacher: DetDiffusionPipeline
    phases: Phases
    guidance_scale: float

    def __call__(
        self, student: DetDiffusionPipeline, schedule: DDPMScheduler, batch: Batch, config: LossConfig
    ) -> Losses:
        """The student's loss, as one that denoises."""
        alphas_bar = schedule.alphas_cumprod.to(batch.latents.device)
        kind = schedule.config.prediction_type
        start, next_, end = self.phases.places(batch.timesteps)
        noisy = schedule.add_noise(batch.latents, batch.noise, start)
        size = (batch.latents.shape[-2], batch.latents.shape[-1])
        with torch.no_grad():  # all but the U-Net is the teacher's, and learns nothing
            tags = self._tags(start, len(alphas_bar))
            against = self._against(batch.layouts, tags)
            conditions = self.teacher.conditions([*against, *batch.layouts], size, guided=False, contrast=False)
        asked_for = slice(len(batch.layouts), None)  # behind the rows that guidance leads away from
        condition, raw = conditions[0].rows(asked_for), None if conditions[1] is None else conditions[1][asked_for]
        whole = Step.between(alphas_bar, start, end, kind)
        prediction = student.denoise(noisy, start, condition, raw)
        with torch.no_grad():
            taught = self._guided(noisy, start, conditions, self._scales(start, len(alphas_bar), tags))
            later = Step.between(alphas_bar, start, next_, kind)(noisy, taught.float())
            there = next_ == end  # the teacher has reached the end of the phase
            asked = torch.where(there, start, next_)  # a timestep of the schedule; its answer is not used
            answer = student.denoise(later, asked, condition, raw).float()
            ends = Step.between(alphas_bar, next_, end, kind)(later, answer)
            target = whole.leading_to(noisy, torch.where(there[:, None, None, None], later, ends))
        weights = whole.prediction.abs()[:, 0]  # between the error of a prediction and that of where it leads
        if batch.foreground is not None:
            weights = weights * batch.foreground
        loss = denoising_loss(prediction, target, weights) * batch.share
        zero = torch.zeros((), device=loss.device)
        return Losses(loss, loss, zero, zero)

    def _tags(self, t: Tensor, timesteps: int) -> list[TagGuidance | None]:
        """For every timestep, the teacher's guidance away from other tags, where it is on."""
        tags = TagGuidance.from_json(self.teacher.config.get("tag_guidance"))
        return [tags if tags is not None and tags.is_on(int(one), timesteps) else None for one in t]

    def _against(self, layouts: Sequence[Layout | None], tags: Sequence[TagGuidance | None]) -> list[Layout | None]:
        """What guidance leads away from: the same layout with other tags, or the empty prompt (None)."""
        known = self.teacher.vocabulary
        return [
            None if one is None or layout is None else opposite(known.resolve(layout))
            for layout, one in zip(layouts, tags, strict=True)
        ]

    def _scales(self, t: Tensor, timesteps: int, tags: Sequence[TagGuidance | None]) -> Tensor:
        """Of guidance, 1 where the teacher's interval has it off. [B, 1, 1, 1]."""
        more, interval = self.guidance_scale - 1, self.teacher.config.guidance_interval
        scales = [
            1 + more * (1.0 if tag is None else tag.strength) * in_interval(int(one), timesteps, interval)
            for one, tag in zip(t, tags, strict=True)
        ]
        return torch.tensor(scales, device=t.device)[:, None, None, None]

    def _guided(
        self, noisy: Tensor, t: Tensor, conditions: tuple[TextCondition, Tensor | None], scales: Tensor
    ) -> Tensor:
        """The teacher's prediction with guidance. [B, C, h, w]."""
        plain, asked = self.teacher.denoise(torch.cat([noisy, noisy]), torch.cat([t, t]), *conditions).chunk(2)
        return plain + scales * (asked - plain)
