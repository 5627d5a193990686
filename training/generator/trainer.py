"""The generator's training loop: the recipe on one screen, and what learns in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from detdiffusion.core.devices import memory_gb
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.errors import DataError
from detdiffusion.models.precision import autocast
from detdiffusion.text.vocabulary import new_words, word_ids
from training.core.checkpoints import (
    latest_checkpoint,
    pack_modules,
    pack_optimizer,
    save_checkpoint,
    unpack_modules,
    unpack_optimizer,
)
from training.core.processes import Processes
from training.core.schedule import OnStep, warmup_cosine
from training.core.status import MetricsLog
from training.generator.batch import Batch, SampleStore, make_batch
from training.generator.config import GeneratorConfig
from training.generator.step import generator_losses

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
    processes: Processes | None = None,
    watch: Callable[[int], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Trains `pipe` in place (it ends with the averaged weights), and returns the steps that are done: fewer than
    `config.steps` if it was stopped. The same call goes on from `out/checkpoints`.

    Args:
        on_step: gets finished steps, all steps and the metrics; in the first process.
        watch: called in the first process every `config.sample_steps`, with the averaged weights in `pipe`.
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
    while not ends:
        began = time.perf_counter()
        batches = (make_batch(store, config, done, noise_levels, device, part) for part in parts)
        sums = _backward(pipe, schedule, config, batches, device)
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
) -> Tensor:
    """Adds the gradients of a step's micro-batches to the parameters; their losses [4], added up, by LOSSES."""
    sums = torch.zeros(len(LOSSES), device=device)
    for batch in batches:
        with autocast(device, None if config.precision == "bf16" else torch.float32):
            losses = generator_losses(pipe, schedule, batch, config.loss)
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


# --- what learns ----------------------------------------------------------------------------------


class MovingAverage:
    """Exponential moving average of the trained parameters, warmed up."""

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.parameters = list(parameters)
        self.average = [p.detach().clone() for p in self.parameters]
        self.decay = decay

    def update(self, step: int) -> None:
        """Moves the average towards the weights after a step; early steps count more."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """The average becomes the parameters and the other way round."""
        for parameter, average in zip(self.parameters, self.average, strict=True):
            held = parameter.clone()
            parameter.copy_(average)
            average.copy_(held)


@dataclass(frozen=True, slots=True)
class Learner:
    """What a step changes, and all that a checkpoint holds: modules, optimizer and moving average."""

    modules: Mapping[str, nn.Module]
    parameters: Sequence[Tensor]  # those of the modules that are not frozen
    optimizer: torch.optim.Optimizer
    average: MovingAverage

    @classmethod
    def of(cls, pipe: DetDiffusionPipeline, config: GeneratorConfig, device: torch.device) -> Learner:
        """As a new run begins; the pipeline's modules are on the device and ready to learn."""
        modules = trained_modules(pipe, config, device)
        groups = parameter_groups(modules, config)
        parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
        return cls(modules, parameters, optimizer, MovingAverage(parameters, config.ema_decay))

    def gradients(self) -> list[Tensor]:
        """Zeros where a part had nothing to do: all processes have to add up the same tensors."""
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    def update(self, step: int, share: float, *, skip: bool) -> None:
        """One step of the optimizer at a share of each group's peak rate, and of the average. skip: only the gradients
        go, which are not finite."""
        if not skip:
            for group in self.optimizer.param_groups:
                group["lr"] = share * group["peak"]
            self.optimizer.step()
            self.average.update(step)
        self.optimizer.zero_grad()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model as it would be saved now; afterwards it is what it was, to the bit."""
        self.finish()
        try:
            yield
        finally:
            self.average.swap()
            for module in self.modules.values():
                module.train()

    def finish(self) -> None:
        """The modules hold the averaged weights, and learn no more."""
        self.average.swap()
        for module in self.modules.values():
            module.eval()

    def state(self) -> dict[str, Tensor]:
        """All that a checkpoint holds."""
        averages = {f"average.{i}": tensor for i, tensor in enumerate(self.average.average)}
        return pack_modules(self.modules) | pack_optimizer(self.optimizer) | averages

    def restore(self, folder: Path) -> int:
        """Puts the newest whole checkpoint back and returns its step; 0 where there is none."""
        saved = latest_checkpoint(folder)
        if saved is None:
            return 0
        step, tensors = saved
        unpack_modules(self.modules, tensors)
        unpack_optimizer(self.optimizer, tensors)
        for i, tensor in enumerate(self.average.average):
            tensor.copy_(tensors[f"average.{i}"])
        return step


def trained_modules(pipe: DetDiffusionPipeline, config: GeneratorConfig, device: torch.device) -> dict[str, nn.Module]:
    """The text encoder, the U-Net and, where the model has them, blueprint and perception head (Fig. 2)."""
    names = ("unet", "text_encoder", "blueprint", "perception_head", "controlnet")
    modules = {name: getattr(pipe, name) for name in names if getattr(pipe, name) is not None}
    pipe.vae.to(device)
    if config.control_only:
        for name in modules.keys() - {"controlnet"}:
            modules.pop(name).to(device).requires_grad_(False)
    for module in modules.values():
        module.to(device).train()
    if config.gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
        pipe.text_encoder.gradient_checkpointing_enable()
        if pipe.controlnet is not None:
            pipe.controlnet.enable_gradient_checkpointing()
    if config.text_words_only:
        _train_added_words(pipe)
    return modules


def parameter_groups(modules: dict[str, nn.Module], config: GeneratorConfig) -> list[dict[str, Any]]:
    """GeoDiffusion's: no weight decay on 1-D and position parameters, lower rates for the text encoder, layer by layer.
    What is frozen is in none."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, module in modules.items():
        for key, parameter in module.named_parameters():
            if parameter.requires_grad:
                peak = config.learning_rate
                if name == "text_encoder":
                    depth = _depth(key, int(module.config.num_hidden_layers))  # type: ignore[union-attr, arg-type]
                    peak *= config.text_learning_rate * config.text_layer_decay**depth
                decay = 0.0 if parameter.ndim < 2 or "embedding" in key else config.weight_decay
                groups.setdefault((peak, decay), []).append(parameter)
    return [{"params": list_, "peak": peak, "weight_decay": decay} for (peak, decay), list_ in groups.items()]


def _depth(key: str, layers: int) -> int:
    """How far below the text encoder's output a parameter stands: 0 for the top layer, `layers` for the embeddings."""
    if "embeddings" in key:
        return layers
    _, inside, rest = key.partition("layers.")
    return layers - 1 - int(rest.split(".")[0]) if inside else 0


def _train_added_words(pipe: DetDiffusionPipeline) -> None:
    """Freezes the text encoder but for the rows of location and attribute words."""
    pipe.text_encoder.requires_grad_(False)
    table = pipe.text_encoder.get_input_embeddings().weight
    added = torch.zeros(len(table), 1, device=table.device)
    added[word_ids(pipe.tokenizer, new_words(pipe.vocabulary))] = 1
    table.requires_grad_(True)
    table.register_hook(lambda gradient: gradient * added)
