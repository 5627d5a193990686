"""What the student learns of a batch of paths: to go in one step where the teacher's path ends its phase.

Knowledge distillation as of Luhman and Luhman 2021 (section 3), within phases. A later phase begins where the student's
own steps have come, as when it draws, and ends where the path does: so its later steps mend what the earlier ones have
missed. The mean over many paths is softer than each of them; an `Adversary` and `detail_loss` see to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.models.config import LossConfig
from detdiffusion.models.losses import Losses
from detdiffusion.text.prompt import TextCondition
from training.distillation.adversary import Adversary, Looked
from training.distillation.detail import detail_loss
from training.distillation.phases import CLEAN, Phases, Step, step_loss
from training.distillation.teacher import GuidedTeacher
from training.generator.batch import Batch
from training.generator.learner import ADVERSARY

HALF = 0.5  # of the samples, which stand where a phase begins (`Phases.drawn`)


@dataclass(frozen=True, slots=True)
class PathLesson:
    """A lesson of `train_generator` on batches of `paths.make_paths`.

    phases: of the paths. adversary: None: there is none. weight: of what the adversary tells. detail: weight of
    `detail_loss`, at the end of the last phase; 0: it is not asked.
    """

    teacher: GuidedTeacher
    phases: Phases
    adversary: Adversary | None = None
    weight: float = 0.0
    detail: float = 0.0

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What learns beside the student."""
        return {} if self.adversary is None else {ADVERSARY: self.adversary}

    def __call__(
        self, student: DetDiffusionPipeline, schedule: DDPMScheduler, batch: Batch, config: LossConfig
    ) -> Losses:
        """The student's loss, as one that denoises, and the adversary's in the total."""
        points = self.phases.points.to(batch.latents.device)
        paths = batch.latents.unflatten(1, (len(points) + 1, -1))
        start, end, place = (one.to(paths.device) for one in self.phases.drawn(batch.timesteps.cpu()))
        there = paths[torch.arange(len(paths), device=paths.device), end]
        size, teacher = (there.shape[-2], there.shape[-1]), self.teacher.pipe
        with torch.no_grad():  # all but the U-Net is the teacher's, and learns nothing
            shown = batch.shown or teacher.show_layouts(batch.layouts, size)
            condition, raw = teacher.encode_shown(shown), teacher.draw_shown(shown, size)
            here = self._reached(student, schedule, paths, start, condition, raw)
        step = Step.between(schedule.alphas_cumprod.to(here.device), points[start], points[end], self.teacher.kind)
        prediction = student.denoise(here, points[start], condition, raw)
        loss = step_loss(step, here, prediction, there, batch)
        zero = torch.zeros((), device=loss.device)
        come = step(here, prediction.float())
        total = loss + batch.share * self._seen(batch, paths, come, (start, end, place), condition, raw)
        return Losses(total, loss, zero, zero)

    def _seen(
        self,
        batch: Batch,
        paths: Tensor,
        come: Tensor,
        drawn: tuple[Tensor, Tensor, Tensor],
        condition: TextCondition,
        raw: Tensor | None,
    ) -> Tensor:
        """What is told by looking at where the student has come. Each part is of some samples alone, and counts by its
        usual share of a batch, so that the parts of a step add up to the whole."""
        start, end, place = drawn
        ends = self.phases.points.to(end.device)[end]
        told = torch.zeros((), device=come.device)
        chosen = (start % self.phases.substeps == 0).nonzero()[:, 0]  # where the student stands when it draws
        if self.adversary is not None and len(chosen):
            noise = batch.noise.unflatten(1, (paths.shape[1], -1))[chosen, :3]
            looked = Looked(come[chosen], paths[chosen, -1], ends[chosen], place[chosen], noise)
            rows = condition.rows(chosen), None if raw is None else raw[chosen]
            judged = self.adversary(self.teacher.pipe, looked, *rows)
            told = told + len(chosen) / (HALF * len(paths)) * (self.weight * judged.student + judged.own)
        last = (ends == CLEAN).nonzero()[:, 0]
        if self.detail and len(last):
            lacking = detail_loss(self.teacher.pipe.vae, come[last], paths[last, end[last]], place[last])
            told = told + len(last) * self.phases.steps / len(paths) * self.detail * lacking
        return told

    def _reached(
        self,
        student: DetDiffusionPipeline,
        schedule: DDPMScheduler,
        paths: Tensor,
        start: Tensor,
        condition: TextCondition,
        raw: Tensor | None,
    ) -> Tensor:
        """Where the samples stand: on their path, and at the beginning of a later phase where the student's own steps
        lead from its noise. [B, C, h, w]."""
        points, each = self.phases.points.to(paths.device), self.phases.substeps
        begins = start % each == 0
        place = torch.where(begins, torch.zeros_like(start), start)
        here = paths[torch.arange(len(paths), device=paths.device), place]
        for phase in range(self.phases.steps - 1):
            rows = (begins & (start > phase * each)).nonzero()[:, 0]
            if not len(rows):
                break
            here_now, (at, to) = here[rows], (points[k * each].expand(len(rows)) for k in (phase, phase + 1))
            step = Step.between(schedule.alphas_cumprod.to(here.device), at, to, self.teacher.kind)
            prediction = student.denoise(here_now, at, condition.rows(rows), None if raw is None else raw[rows])
            here = here.index_copy(0, rows, step(here_now, prediction.float()))
        return here
