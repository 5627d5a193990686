"""The generator's training loop: the recipe on one screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from detdiffusion.core.devices import memory_gb
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.errors import DataError
from detdiffusion.models.precision import autocast
from training.core.checkpoints import save_checkpoint
from training.core.processes import Processes
from training.core.schedule import OnStep, warmup_cosine
from training.core.status import MetricsLog
from training.generator.batch import Batch, SampleStore, make_batch
from training.generator.config import GeneratorConfig
from training.generator.learner import Learner
from training.generator.step import Lesson, generator_losses

MAX_BAD_STEPS = 20  # in a row, with a loss or a gradient that is not finite
LOSSES = ("total", "denoise", "mask", "dice")


def train_generator(
    pipe: DetDiffusionPipeline,
    store: SampleStore,
    config: GeneratorConfig,
    out: Path,
    device: torch.device,
    on_step: OnStep,
    *,
    lesson: Lesson = generator_losses,
    processes: Processes | None = None,
    watch: Callable[[int], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Trains `pipe` in place (it ends with the averaged weights), and returns the steps that are done: fewer than
    `config.steps` if it was stopped. The same call goes on from `out/checkpoints`.

    Args:
        lesson: what is learned of each batch.
        on_step: gets finished steps, all steps and the metrics; in the first process.
        watch: called in the first process every `config.sample_steps`, with the averaged weights in `pipe`; and before
            the first one, where the model begins as another.
        stopped: asked after every step; True in any process ends the run with a checkpoint.

    Raises:
        DataError: too many losses in a row were not finite, or a checkpoint could not be written; the last one stays.
    """
    processes = processes or Processes()
    parts = processes.positions(config.batch, config.micro_batch)
    learner = Learner.of(pipe, config, device)
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    noise_levels = schedule.config.num_train_timesteps
    done = learner.restore(out / "checkpoints")
    log = MetricsLog(out, done) if processes.main else None
    bad_steps, ends = 0, done >= config.steps
    if processes.main and watch is not None and config.sample_steps and config.start and not done:
        watch(0)  # as it begins
    while not ends:
        began = time.perf_counter()
        batches = (make_batch(store, config, done, noise_levels, device, part) for part in parts)
        sums = _backward(pipe, schedule, config, batches, device, lesson)
        # From here on, the gradients are the whole step's: whatever counts steps stands below.
        asked = torch.tensor([float(stopped())], device=device)
        processes.sum([sums, asked, *learner.gradients()])
        norm = nn.utils.clip_grad_norm_(learner.parameters, config.clip_norm)
        share = warmup_cosine(done, config.steps, config.warmup_steps)
        finite = bool(torch.isfinite(sums[0]) and torch.isfinite(norm))
        learner.update(done, share, skip=not finite)
        bad_steps = 0 if finite else bad_steps + 1
        done += 1
        if log is not None:
            metrics = _metrics(sums, norm, config.batch / (time.perf_counter() - began))
            log.write({"step": done, **_rates(share, config), **metrics, "memory_gb": memory_gb(device)})
            on_step(done, config.steps, metrics)
        _check_finite(bad_steps, done)
        ends = done == config.steps or bool(asked > 0)
        if processes.main and (ends or done % config.checkpoint_steps == 0):
            save_checkpoint(out / "checkpoints", done, learner.state(), config.keep)
        if processes.main and watch is not None and config.sample_steps and done % config.sample_steps == 0:
            with learner.averaged():
                watch(done)
        processes.wait()
    if log is not None:
        log.close()
    learner.finish()
    return done


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


def _metrics(sums: Tensor, norm: Tensor, images_per_second: float) -> dict[str, float]:
    """Of a step, as the page and the progress bar name them. sums: [4], the losses in the order of LOSSES."""
    losses = dict(zip(LOSSES, sums.tolist(), strict=True))
    return losses | {"gradient_norm": float(norm), "pictures_per_second": images_per_second}


def _rates(share: float, config: GeneratorConfig) -> dict[str, float]:
    rate = share * config.learning_rate
    return {"learning_rate": rate, "learning_rate_text": rate * config.text_learning_rate}


def _check_finite(bad_steps: int, step: int) -> None:
    if bad_steps == MAX_BAD_STEPS:
        raise DataError(
            f"step {step}: the loss was not finite {bad_steps} times in a row; the last checkpoint stays. "
            "Lower learning_rate, or set precision=fp32"
        )
