"""The generator's training loop: the recipe on one screen."""

import json
import math
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from detdiffusion.errors import DataError
from detdiffusion.pipeline import DetDiffusionPipeline
from training.autoencoder import OnStep, warmup_cosine
from training.batch import SampleStore, make_batch
from training.config import GeneratorConfig
from training.resume import (
    latest_checkpoint,
    pack_modules,
    pack_optimizer,
    save_checkpoint,
    unpack_modules,
    unpack_optimizer,
)
from training.step import generator_losses

MAX_BAD_STEPS = 20  # in a row, with a loss that is not finite


class MovingAverage:
    """Exponential moving average of the trained parameters, warmed up."""

    def __init__(self, parameters: Iterable[Tensor], decay: float) -> None:
        self.parameters = list(parameters)
        self.average = [p.detach().clone() for p in self.parameters]
        self.decay = decay

    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)

    @torch.no_grad()
    def copy_to_parameters(self) -> None:
        for parameter, average in zip(self.parameters, self.average, strict=True):
            parameter.copy_(average)


def train_generator(
    pipe: DetDiffusionPipeline,
    store: SampleStore,
    config: GeneratorConfig,
    out: Path,
    device: torch.device,
    on_step: OnStep,
) -> None:
    """Trains `pipe` in place (it ends with the averaged weights); the same call goes on from `out/checkpoints`."""
    modules = trained_modules(pipe, device)
    optimizer = torch.optim.AdamW(
        parameter_groups(modules, config), lr=config.learning_rate, betas=config.betas, fused=True
    )
    average = MovingAverage((p for module in modules.values() for p in module.parameters()), config.ema_decay)
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    start = restore(out / "checkpoints", modules, optimizer, average)
    bad_steps = 0
    for step in range(start, config.steps):
        began = time.perf_counter()
        batch = make_batch(store, config, step, schedule.config.num_train_timesteps, device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16"):
            losses = generator_losses(pipe, schedule, batch, config.loss)
        optimizer.zero_grad()
        if not torch.isfinite(losses.total):
            bad_steps += 1
            if bad_steps == MAX_BAD_STEPS:
                raise DataError(
                    f"step {step}: the loss was not finite {bad_steps} times in a row; the last checkpoint stays"
                )
            continue
        bad_steps = 0
        losses.total.backward()
        norm = nn.utils.clip_grad_norm_(average.parameters, config.clip_norm)
        share = warmup_cosine(step, config.steps, config.warmup_steps)
        for group in optimizer.param_groups:
            group["lr"] = share * group["peak"]
        optimizer.step()
        average.update(step)
        done = step + 1
        seconds = time.perf_counter() - began
        metrics = {name: value.item() for name, value in losses._asdict().items()}
        metrics |= {"gradient_norm": float(norm), "pictures_per_second": config.batch / seconds}
        log_metrics(out / "metrics.jsonl", {"step": done, "learning_rate": share * config.learning_rate, **metrics})
        on_step(done, config.steps, metrics)
        if done % config.checkpoint_steps == 0 or done == config.steps:
            save_checkpoint(out / "checkpoints", done, state(modules, optimizer, average))
    average.copy_to_parameters()
    for module in modules.values():
        module.eval()


def trained_modules(pipe: DetDiffusionPipeline, device: torch.device) -> dict[str, nn.Module]:
    """The text encoder, the U-Net and, where the model has them, blueprint and perception head (Fig. 2)."""
    names = ("unet", "text_encoder", "blueprint", "perception_head")
    modules = {name: getattr(pipe, name) for name in names if getattr(pipe, name) is not None}
    for module in modules.values():
        module.to(device).train()
    return modules


def parameter_groups(modules: dict[str, nn.Module], config: GeneratorConfig) -> list[dict[str, object]]:
    """GeoDiffusion's: no weight decay on 1-D and position parameters, a lower rate for the text encoder."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, module in modules.items():
        peak = config.learning_rate * (config.text_learning_rate if name == "text_encoder" else 1.0)
        for key, parameter in module.named_parameters():
            decay = 0.0 if parameter.ndim < 2 or "embedding" in key else config.weight_decay
            groups.setdefault((peak, decay), []).append(parameter)
    return [{"params": list_, "peak": peak, "weight_decay": decay} for (peak, decay), list_ in groups.items()]


def state(modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer, average: MovingAverage) -> dict[str, Tensor]:
    averages = {f"average.{i}": tensor for i, tensor in enumerate(average.average)}
    return pack_modules(modules) | pack_optimizer(optimizer) | averages


def restore(
    folder: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer, average: MovingAverage
) -> int:
    saved = latest_checkpoint(folder)
    if saved is None:
        return 0
    step, tensors = saved
    unpack_modules(modules, tensors)
    unpack_optimizer(optimizer, tensors)
    for i, tensor in enumerate(average.average):
        tensor.copy_(tensors[f"average.{i}"])
    return step


def log_metrics(path: Path, values: dict[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({k: v if math.isfinite(v) else None for k, v in values.items()}) + "\n")
