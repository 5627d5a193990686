"""The teacher's paths from pure noise to an image, drawn once and cached: a student learns where they lead.

A path is what the teacher's guided steps pass through, from the noise of one sample to its clean latents, by
DPM-Solver++ of second order (Lu et al. 2022). It is made for the layout of a sample, and the sample's own latents lie
beside it, for whoever compares the two (`adversary.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from detdiffusion.layout import Layout
from detdiffusion.models.precision import autocast
from training.core.checkpoints import sample_generator
from training.core.processes import Processes
from training.core.schedule import OnStep
from training.distillation.phases import Phases, noise_schedule
from training.distillation.teacher import Conditions, GuidedTeacher
from training.generator.batch import SampleStore
from training.generator.chunk import is_whole, write_chunk

BATCH = 8  # paths drawn together
CHUNK = 64  # paths a file
PATHS = -2  # in the place of a step, for `sample_generator`
ALONE = Processes()


@torch.no_grad()
def make_paths(
    teacher: GuidedTeacher,
    samples: SampleStore,
    phases: Phases,
    count: int,
    seed: int,
    out: Path,
    device: torch.device,
    on_step: OnStep,
    processes: Processes = ALONE,
) -> None:
    """Writes `count` paths, of the samples in turn, in chunks as of `samples.make_samples`; those that are there stay.

    `latents` [n, (points + 1) * C, h, w] float16 of a chunk: the points of each path, noise first, and behind them the
    sample's own latents.
    """
    starts = range(0, count, CHUNK)
    for number in range(processes.rank, len(starts), processes.count):
        path, start = out / f"chunk-{number:05d}.json", starts[number]
        if not is_whole(path):
            places = range(start, min(start + CHUNK, count))
            groups = [places[first : first + BATCH] for first in range(0, len(places), BATCH)]
            drawn = [_drawn(teacher, samples, phases, seed, group, device) for group in groups]
            layouts = [samples.layouts[place % len(samples.layouts)] for place in places]
            write_chunk(path, layouts, {"latents": torch.cat(drawn)})
        on_step(number + 1, len(starts), {})


def _drawn(
    teacher: GuidedTeacher, samples: SampleStore, phases: Phases, seed: int, places: Sequence[int], device: torch.device
) -> Tensor:
    """The paths of some places, with the samples' own latents. [n, (points + 1) * C, h, w] float16."""
    own = [place % len(samples.layouts) for place in places]
    noise = torch.stack([torch.randn(samples.shape, generator=sample_generator(seed, PATHS, n)) for n in places])
    points = path_points(teacher, [samples.layouts[index] for index in own], noise.to(device), phases)
    real = torch.stack([samples.latents(index).mean for index in own])
    return torch.cat([*(point.cpu() for point in points), real], dim=1).half()


def path_points(
    teacher: GuidedTeacher, layouts: Sequence[Layout | None], noise: Tensor, phases: Phases
) -> list[Tensor]:
    """The latents at every one of `phases.points`, [B, C, h, w] float32 each."""
    solver = DPMSolverMultistepScheduler(**noise_schedule(teacher.pipe.scheduler))
    solver.set_timesteps(timesteps=phases.points[:-1].tolist(), device=noise.device)
    found = [noise]
    shown: dict[object, Conditions] = {}  # by what guidance leads away from, which changes once
    for t in solver.timesteps:
        at, key = t.expand(len(noise)), teacher.tags(int(t))
        if key not in shown:
            shown[key] = teacher.show(layouts, at, (noise.shape[-2], noise.shape[-1]))
        with autocast(noise.device, None):
            prediction = teacher.predict(found[-1], at, shown[key]).float()
        found.append(solver.step(prediction, t, found[-1]).prev_sample)
    return found
