"""What the student learns of a batch of paths: to go in one step where the teacher's path ends its phase.

Knowledge distillation as of Luhman and Luhman 2021 (section 3), within phases. The mean over many paths is softer than
each of them; an `Adversary` sees to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import nn

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.models.config import LossConfig
from detdiffusion.models.losses import Losses
from training.distillation.adversary import Adversary, Looked
from training.distillation.phases import Phases, Step, step_loss
from training.distillation.teacher import GuidedTeacher
from training.generator.batch import Batch
from training.generator.learner import ADVERSARY

HALF = 0.5  # of the samples, which stand where a phase begins (`Phases.drawn`)


@dataclass(frozen=True, slots=True)
class PathLesson:
    """A lesson of `train_generator` on batches of `paths.make_paths`.

    phases: of the paths. adversary: None: there is none. weight: of what the adversary tells.
    """

    teacher: GuidedTeacher
    phases: Phases
    adversary: Adversary | None = None
    weight: float = 0.0

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What learns beside the student."""
        return {} if self.adversary is None else {ADVERSARY: self.adversary}

    def __call__(
        self, student: DetDiffusionPipeline, schedule: DDPMScheduler, batch: Batch, config: LossConfig
    ) -> Losses:
        """The student's loss, as one that denoises, and the adversary's in the total."""
        points = self.phases.points
        paths = batch.latents.unflatten(1, (len(points) + 1, -1))
        start, end, place = (one.to(paths.device) for one in self.phases.drawn(batch.timesteps.cpu()))
        rows, points = torch.arange(len(paths), device=paths.device), points.to(paths.device)
        here, there = paths[rows, start], paths[rows, end]
        size, teacher = (here.shape[-2], here.shape[-1]), self.teacher.pipe
        with torch.no_grad():  # all but the U-Net is the teacher's, and learns nothing
            shown = batch.shown or teacher.show_layouts(batch.layouts, size)
            condition, raw = teacher.encode_shown(shown), teacher.draw_shown(shown, size)
        step = Step.between(schedule.alphas_cumprod.to(here.device), points[start], points[end], self.teacher.kind)
        prediction = student.denoise(here, points[start], condition, raw)
        loss = step_loss(step, here, prediction, there, batch)
        total, zero = loss, torch.zeros((), device=loss.device)
        chosen = (start % self.phases.substeps == 0).nonzero()[:, 0]  # where the student stands when it draws
        if self.adversary is not None and len(chosen):
            come = step(here, prediction.float())[chosen]
            noise = batch.noise.unflatten(1, (len(points) + 1, -1))[chosen, :3]
            looked = Looked(come, paths[chosen, -1], points[end][chosen], place[chosen], noise)
            told = self.adversary(teacher, looked, condition.rows(chosen), None if raw is None else raw[chosen])
            share = batch.share * len(chosen) / (HALF * len(paths))  # so that the parts of a step add up to the whole
            total = loss + share * (self.weight * told.student + told.own)
        return Losses(total, loss, zero, zero)
