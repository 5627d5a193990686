"""The generator's training loop: the recipe on one screen."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

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
from training.core.devices import memory_gb
from training.core.processes import Processes
from training.core.schedule import OnStep, warmup_cosine
from training.core.status import MetricsLog
from training.generator.batch import SampleStore, make_batch
from training.generator.config import GeneratorConfig
from training.generator.step import generator_losses

MAX_BAD_STEPS = 20  # in a row, with a loss or a gradient that is not finite
LOSSES = ("total", "denoise", "mask", "dice")


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
    """Trains `pipe` in place (it ends with the averaged weights); the same call goes on from `out/checkpoints`.

    Args:
        on_step: gets finished steps, all steps and the metrics; in the first process.
        watch: called in the first process every `config.sample_steps`, with the averaged weights in `pipe`.
        stopped: asked after every step; True in any process ends the run with a checkpoint.

    Returns:
        The steps that are done: fewer than `config.steps` if it was stopped.

    Raises:
        DataError: too many losses in a row were not finite, or a checkpoint could not be written; the last one stays.
    """
    processes = processes or Processes()
    parts = processes.positions(config.batch, config.micro_batch)
    modules = trained_modules(pipe, config, device)
    groups = parameter_groups(modules, config)
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
    average = MovingAverage(parameters, config.ema_decay)
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    start = restore(out / "checkpoints", modules, optimizer, average)
    log = MetricsLog(out, start) if processes.main else None
    bad_steps, done = 0, start
    while done < config.steps:
        began = time.perf_counter()
        sums = torch.zeros(len(LOSSES), device=device)
        for positions in parts:
            batch = make_batch(store, config, done, schedule.config.num_train_timesteps, device, positions)
            with autocast(device, None if config.precision == "bf16" else torch.float32):
                losses = generator_losses(pipe, schedule, batch, config.loss)
            losses.total.backward()
            sums += torch.stack(losses).detach()
        # From here on, the gradients are the whole step's: whatever counts steps stands below.
        flag = torch.tensor([float(stopped())], device=device)
        processes.sum([sums, flag, *_gradients(parameters)])
        norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        share = warmup_cosine(done, config.steps, config.warmup_steps)
        if torch.isfinite(sums[0]) and torch.isfinite(norm):
            bad_steps = 0
            for group in optimizer.param_groups:
                group["lr"] = share * group["peak"]
            optimizer.step()
            average.update(done)
        else:
            bad_steps += 1
        optimizer.zero_grad()
        done += 1
        if log is not None:
            metrics = dict(zip(LOSSES, sums.tolist(), strict=True)) | {
                "gradient_norm": float(norm),
                "pictures_per_second": config.batch / (time.perf_counter() - began),
            }
            rate = share * config.learning_rate
            rates = {"learning_rate": rate, "learning_rate_text": rate * config.text_learning_rate}
            log.write({"step": done, **rates, **metrics, "memory_gb": memory_gb(device)})
            on_step(done, config.steps, metrics)
        if bad_steps == MAX_BAD_STEPS:
            raise DataError(
                f"step {done}: the loss was not finite {bad_steps} times in a row; the last checkpoint stays. "
                "Lower learning_rate, or set precision=fp32"
            )
        ends = done == config.steps or bool(flag > 0)
        if processes.main and (ends or done % config.checkpoint_steps == 0):
            save_checkpoint(out / "checkpoints", done, state(modules, optimizer, average), config.keep)
        if processes.main and watch is not None and config.sample_steps and done % config.sample_steps == 0:
            with averaged(average, modules):
                watch(done)
        processes.wait()
        if ends:
            break
    if log is not None:
        log.close()
    average.swap()
    for module in modules.values():
        module.eval()
    return done


@contextmanager
def averaged(average: MovingAverage, modules: dict[str, nn.Module]) -> Iterator[None]:
    """The model as it would be saved now; afterwards it is what it was, to the bit."""
    average.swap()
    for module in modules.values():
        module.eval()
    try:
        yield
    finally:
        average.swap()
        for module in modules.values():
            module.train()


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


def _gradients(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Zeros where a part had nothing to do: all processes have to add up the same tensors."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def state(modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer, average: MovingAverage) -> dict[str, Tensor]:
    """All that a checkpoint holds: modules, optimizer, average."""
    averages = {f"average.{i}": tensor for i, tensor in enumerate(average.average)}
    return pack_modules(modules) | pack_optimizer(optimizer) | averages


def restore(
    folder: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer, average: MovingAverage
) -> int:
    """Puts the newest whole checkpoint back and returns its step; 0 where there is none."""
    saved = latest_checkpoint(folder)
    if saved is None:
        return 0
    step, tensors = saved
    unpack_modules(modules, tensors)
    unpack_optimizer(optimizer, tensors)
    for i, tensor in enumerate(average.average):
        tensor.copy_(tensors[f"average.{i}"])
    return step
