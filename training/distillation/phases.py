"""The noise schedule in phases, one for each step of the student, and steps inside them, which the teacher takes.

A step of DDIM (Song et al. 2021) from timestep t to t' < t is linear in the latents x and in what the U-Net predicts,
p: x' = a x + b p. Everything here is made of that: where a prediction leads, and which prediction leads somewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from detdiffusion.errors import ConfigError
from detdiffusion.models.losses import denoising_loss
from training.generator.batch import Batch

CLEAN = -1  # timestep of latents without noise


@dataclass(frozen=True, slots=True)
class Phases:
    """Timesteps from pure noise to `CLEAN`, `substeps` for each of the student's `steps`.

    The first of each phase are those of diffusers' DDIM with as many steps and "trailing" spacing.
    """

    steps: int
    substeps: int
    timesteps: int  # of the noise schedule

    def __post_init__(self) -> None:
        if min(self.steps, self.substeps) < 1 or self.steps * self.substeps > self.timesteps:
            raise ConfigError(
                f"{self.steps} steps of {self.substeps} of the teacher's do not fit a schedule of {self.timesteps} "
                "timesteps: both need to be 1 or more, and their product no more than that"
            )

    @property
    def points(self) -> Tensor:
        """[steps * substeps + 1] timesteps, falling."""
        count = self.steps * self.substeps
        return torch.tensor([round(self.timesteps * (1 - i / count)) - 1 for i in range(count + 1)])

    def places(self, timesteps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each sample, by its timestep (0 .. timesteps - 1): where it stands, where the teacher's next step leads,
        and where its phase ends. [B] each."""
        points, count = self.points.to(timesteps.device), self.steps * self.substeps
        place = (self.timesteps - 1 - timesteps) * count // self.timesteps
        return points[place], points[place + 1], points[(place // self.substeps + 1) * self.substeps]

    def drawn(self, timesteps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each sample, by its timestep: its place in `points`, that where its phase ends, and a number from 0 to 1
        for what else is drawn. [B] each.

        Half of them stand where a phase begins, as a student does that draws; the others anywhere.
        """
        doubled, count = 2 * timesteps, self.steps * self.substeps
        first = doubled * self.steps
        anywhere = (doubled - self.timesteps) * count // self.timesteps
        start = torch.where(doubled < self.timesteps, first // self.timesteps * self.substeps, anywhere)
        return start, (start // self.substeps + 1) * self.substeps, first % self.timesteps / self.timesteps


@dataclass(frozen=True, slots=True)
class Step:
    """x' = `latents` x + `prediction` p: a step of DDIM between two timesteps of each sample. Both [B, 1, 1, 1]."""

    latents: Tensor
    prediction: Tensor

    @classmethod
    def between(cls, alphas_bar: Tensor, start: Tensor, end: Tensor, prediction_type: str) -> Step:
        """Args:
        alphas_bar: [T] of the noise schedule.
        start, end: timesteps [B], end <= start; `CLEAN` is without noise.
        prediction_type: epsilon or v_prediction, as diffusers names it.
        """
        (signal, noise), (signal_then, noise_then) = (levels(alphas_bar, t) for t in (start, end))
        if prediction_type == "v_prediction":  # rotated by the angle between the two
            return cls(signal_then * signal + noise_then * noise, noise_then * signal - signal_then * noise)
        return cls(signal_then / signal, noise_then - signal_then * noise / signal)

    def __call__(self, latents: Tensor, prediction: Tensor) -> Tensor:
        """Where a prediction leads. [B, C, h, w]."""
        return self.latents * latents + self.prediction * prediction

    def leading_to(self, latents: Tensor, there: Tensor) -> Tensor:
        """The prediction that leads there. [B, C, h, w]."""
        return (there - self.latents * latents) / self.prediction


def step_loss(step: Step, latents: Tensor, prediction: Tensor, there: Tensor, batch: Batch) -> Tensor:
    """The error of a prediction for `latents`, whose step has to lead `there`; this batch's part of the whole step's.
    Weighted between the error of a prediction and that of where it leads, and by the batch's foreground."""
    weights = step.prediction.abs()[:, 0]
    if batch.foreground is not None:
        weights = weights * batch.foreground
    return denoising_loss(prediction, step.leading_to(latents, there), weights) * batch.share


def noise_schedule(scheduler: Any) -> dict[str, Any]:
    """Of a diffusers scheduler's config, what another one needs to have the same noise, and the same prediction."""
    names = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type")
    return {name: scheduler.config[name] for name in names if name in scheduler.config}


def levels(alphas_bar: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of signal and noise in the latents of timesteps [B]: [B, 1, 1, 1] each."""
    clean = timesteps == CLEAN
    kept = torch.where(clean, torch.ones_like(alphas_bar[:1]), alphas_bar[timesteps.clamp(min=0)])[:, None, None, None]
    return kept.sqrt(), (1 - kept).sqrt()
