"""Trains the network of causes on crops; resumable to the step."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from detdiffusion.models.cause_classifier import CauseConfig, crop_tensor
from detdiffusion.models.cause_network import CauseNetwork
from detdiffusion.models.precision import autocast
from training.causes.config import CauseTrainingConfig
from training.causes.objects import Objects
from training.core.checkpoints import (
    latest_checkpoint,
    pack_modules,
    pack_optimizer,
    save_checkpoint,
    unpack_modules,
    unpack_optimizer,
)
from training.core.schedule import OnStep, warmup_cosine


def train_network(
    objects: Objects, about: CauseConfig, config: CauseTrainingConfig, out: Path, device: torch.device, on_step: OnStep
) -> CauseNetwork:
    """A trained network; the same call goes on from the newest checkpoint in `out/checkpoints`."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network = about.network()
    network.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    start = 0
    if saved := latest_checkpoint(out / "checkpoints"):
        start, tensors = saved
        unpack_modules({"network": network}, tensors)
        unpack_optimizer(optimizer, tensors)
    network.train()
    for step in range(start, config.steps):
        *inputs, truth = (one.to(device) for one in draw_batch(objects, config, step))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warmup_cosine(step, config.steps, config.warmup_steps)
        with autocast(device):
            logits = network(*inputs)  # [B, outputs]
        loss = binary_cross_entropy_with_logits(logits.float(), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done = step + 1
        on_step(done, config.steps, {"loss": loss.item()})
        if done % config.checkpoint_steps == 0 or done == config.steps:
            save_checkpoint(out / "checkpoints", done, pack_modules({"network": network}) | pack_optimizer(optimizer))
    return network.eval()


def draw_batch(
    objects: Objects, config: CauseTrainingConfig, step: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Crops [B, 3, H, W] in -1..1, frames and labels and boxes as `CauseNetwork` takes them, truth [B, outputs]; half
    of the objects are mirrored."""
    rng = np.random.default_rng((config.seed, step))
    chosen = torch.from_numpy(rng.integers(len(objects), size=config.batch))
    mirrored = torch.from_numpy(rng.random(config.batch) < 0.5)
    crops = crop_tensor(objects.crops[chosen].numpy())
    crops = torch.where(mirrored[:, None, None, None], crops.flip(3), crops)
    frames, boxes = (
        torch.where(mirrored[:, None], mirror(boxes), boxes)
        for boxes in (objects.frames[chosen], objects.boxes[chosen])
    )
    return (
        crops.contiguous(memory_format=torch.channels_last),
        frames,
        objects.labels[chosen],
        boxes,
        objects.truth[chosen],
    )


def mirror(boxes: Tensor) -> Tensor:
    """Boxes [B, 4] in fractions, in the mirrored image, left to right."""
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack([1 - x2, y1, 1 - x1, y2], dim=1)
