"""The generator's training loop: the recipe on one screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.models.precision import autocast
from training.core.checkpoints import save_checkpoint
from training.core.processes import Processes
from training.core.schedule import OnStep, warmup_cosine
from training.generator.batch import Batch, SampleStore
from training.generator.config import GeneratorConfig
from training.generator.feed import read_batches
from training.generator.learner import Learner
from training.generator.progress import LOSSES, Progress
from training.generator.step import Lesson, generator_losses


def train_generator(
    pipe: DetDiffusionPipeline,
    store: SampleStore,
    config: GeneratorConfig,
    out: Path,
    device: torch.device,
    on_step: OnStep,
    *,
    lesson: Lesson = generator_losses,
    beside: Mapping[str, nn.Module] = MappingProxyType({}),
    processes: Processes | None = None,
    watch: Callable[[int], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Trains `pipe` in place (it ends with the averaged weights), and returns the steps that are done: fewer than
    `config.steps` if it was stopped. The same call goes on from `out/checkpoints`.

    Args:
        lesson: what is learned of each batch. beside: by name, what learns with the pipeline, and is no part of it.
        on_step: gets finished steps, all steps and the metrics; in the first process.
        watch: called in the first process every `config.sample_steps`, with the averaged weights in `pipe`; and before
            the first one, where the model begins as another.
        stopped: asked after every step; True in any process ends the run with a checkpoint, when the losses are next
            looked at.

    Raises:
        DataError: too many losses in a row were not finite, or a checkpoint could not be written; the last one stays.
    """
    processes = processes or Processes()
    parts = processes.positions(config.batch, config.micro_batch)
    learner = Learner.of(pipe, config, device, beside)
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    done = learner.restore(out / "checkpoints")
    progress = Progress(out, done, config, device, on_step, tells=processes.main)
    watch = watch if processes.main and config.sample_steps else None
    if watch is not None and config.start and not done:
        watch(0)  # as it begins
    ends, left = done >= config.steps, range(done, config.steps)
    read = read_batches(pipe, store, config, schedule.config.num_train_timesteps, left, parts, device)
    with closing(read) as batches:
        while not ends:
            sums = _backward(pipe, schedule, config, islice(batches, len(parts)), device, lesson)
            # From here on, the gradients are the whole step's: whatever counts steps stands below.
            asked = torch.full((1,), float(stopped()), device=device)
            processes.sum([sums, asked, *learner.gradients()])
            norm = nn.utils.clip_grad_norm_(learner.parameters, config.clip_norm)
            share = warmup_cosine(done, config.steps, config.warmup_steps)
            learner.update(done, share, finite=sums[0].isfinite() & norm.isfinite())
            progress.add(sums, norm, asked)
            done += 1
            if not _looks(done, config):
                continue  # nothing above waits for the device
            ends = progress.look() or done == config.steps
            if processes.main and (ends or done % config.checkpoint_steps == 0):
                save_checkpoint(out / "checkpoints", done, learner.state(), config.keep)
            if watch is not None and done % config.sample_steps == 0:
                with learner.averaged():
                    watch(done)
            processes.wait()
    progress.close()
    learner.finish()
    return done


def _looks(step: int, config: GeneratorConfig) -> bool:
    """Whether the losses are looked at behind a step: every so often, and before anything is written."""
    writes = (config.checkpoint_steps, config.sample_steps)
    return step == config.steps or any(every and not step % every for every in (config.speed.metrics_steps, *writes))


def _backward(
    pipe: DetDiffusionPipeline,
    schedule: DDPMScheduler,
    config: GeneratorConfig,
    batches: Iterable[Batch],
    device: torch.device,
    lesson: Lesson,
) -> Tensor:
    """Adds the gradients of a step's micro-batches to the parameters; their losses [4], added up, by LOSSES."""
    sums = torch.zeros(len(LOSSES), device=device)
    for batch in batches:
        with autocast(device, None if config.precision == "bf16" else torch.float32):
            losses = lesson(pipe, schedule, batch, config.loss)
        losses.total.backward()
        sums += torch.stack(losses).detach()
    return sums
