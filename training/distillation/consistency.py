"""What the student learns of a batch: to go in one step where its teacher's guided steps lead.

Consistency within phases (Heek et al. 2024, "Multistep Consistency Models", section 3; Wang et al. 2024, "Phased
Consistency Models"): from two neighbouring points of the teacher's path, the student's steps to the end of the phase
have to meet. The later point's answer is the target: it is nearer to the end, where a step is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.models.config import LossConfig
from detdiffusion.models.losses import Losses
from training.distillation.phases import Phases, Step, step_loss
from training.distillation.teacher import GuidedTeacher
from training.generator.batch import Batch


@dataclass(frozen=True, slots=True)
class Consistency:
    """A lesson of `train_generator`."""

    teacher: GuidedTeacher
    phases: Phases

    def __call__(
        self, student: DetDiffusionPipeline, schedule: DDPMScheduler, batch: Batch, config: LossConfig
    ) -> Losses:
        """The student's loss, as one that denoises."""
        alphas_bar, kind = schedule.alphas_cumprod.to(batch.latents.device), self.teacher.kind
        start, next_, end = self.phases.places(batch.timesteps)
        noisy = schedule.add_noise(batch.latents, batch.noise, start)
        with torch.no_grad():  # all but the U-Net is the teacher's, and learns nothing
            shown = self.teacher.show(batch.layouts, start, (noisy.shape[-2], noisy.shape[-1]))
        condition, raw = shown.asked
        whole = Step.between(alphas_bar, start, end, kind)
        prediction = student.denoise(noisy, start, condition, raw)
        with torch.no_grad():
            taught = self.teacher.predict(noisy, start, shown)
            later = Step.between(alphas_bar, start, next_, kind)(noisy, taught.float())
            there = next_ == end  # the teacher has reached the end of the phase
            asked = torch.where(there, start, next_)  # a timestep of the schedule; its answer is not used
            answer = student.denoise(later, asked, condition, raw).float()
            ends = Step.between(alphas_bar, next_, end, kind)(later, answer)
            target = torch.where(there[:, None, None, None], later, ends)
        loss = step_loss(whole, noisy, prediction, target, batch)
        zero = torch.zeros((), device=loss.device)
        return Losses(loss, loss, zero, zero)
