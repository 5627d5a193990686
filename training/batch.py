"""Cached samples -> one batch; every random choice is a function of (seed, step, index of the sample in the batch)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from detdiffusion.errors import DataError
from detdiffusion.layout import Layout
from training.config import GeneratorConfig
from training.resume import epoch_order, sample_generator


@dataclass(frozen=True, slots=True)
class SampleStore:
    """What `annotate.make_samples` wrote, in memory (latents as half, masks as uint8)."""

    latents: Tensor  # [N, C, h, w]
    layouts: tuple[Layout, ...]
    masks: tuple[Tensor, ...]  # N times [objects, h, w]

    @classmethod
    def load(cls, folder: Path) -> "SampleStore":
        paths = sorted(folder.glob("chunk-*.json"))
        if not paths:
            raise DataError(f"{folder}: no samples; run the attributes stage first")
        latents, layouts, masks = [], [], []
        for path in paths:
            tensors = load_file(path.with_suffix(".safetensors"))
            chunk = [Layout.from_json(item) for item in json.loads(path.read_text())]
            latents.append(tensors["latents"])
            layouts += chunk
            masks += tensors["masks"].split([len(layout.boxes) for layout in chunk])
        return cls(torch.cat(latents), tuple(layouts), tuple(masks))


class Batch(NamedTuple):
    latents: Tensor  # [B, C, h, w], clean
    noise: Tensor  # [B, C, h, w]
    timesteps: Tensor  # [B]
    layouts: tuple[Layout | None, ...]  # None: the prompt is emptied
    masks: Tensor  # [B, N, h, w] in 0..1, the part of each cell that is covered
    object_mask: Tensor  # [B, N] bool, False on padding


def batch_indices(count: int, config: GeneratorConfig, step: int) -> list[int]:
    """The samples of one step: epochs without repeats, the last batch of an epoch completed from the next."""
    first = step * config.batch
    epochs = {
        epoch: epoch_order(config.seed, epoch, count) for epoch in {first // count, (first + config.batch - 1) // count}
    }
    return [epochs[position // count][position % count] for position in range(first, first + config.batch)]


def make_batch(store: SampleStore, config: GeneratorConfig, step: int, timesteps: int, device: torch.device) -> Batch:
    """The batch of one step.

    Args:
        timesteps: how many the noise schedule has; one in 0..timesteps-1 is drawn for each sample.
    """
    latents, noise, times, layouts, masks = [], [], [], [], []
    for position, index in enumerate(batch_indices(len(store.layouts), config, step)):
        generator = sample_generator(config.seed, step, position)
        latents.append(store.latents[index].float())
        noise.append(torch.randn(latents[-1].shape, generator=generator))
        times.append(torch.randint(timesteps, (), generator=generator))
        dropped = float(torch.rand((), generator=generator)) < config.prompt_dropout
        order = torch.randperm(len(store.layouts[index].boxes), generator=generator)
        layouts.append(None if dropped else _reorder(store.layouts[index], order.tolist()))
        masks.append(store.masks[index][:0] if dropped else store.masks[index][order])
    padded, object_mask = _pad(masks)
    return Batch(
        torch.stack(latents).to(device),
        torch.stack(noise).to(device),
        torch.stack(times).to(device),
        tuple(layouts),
        padded.to(device),
        object_mask.to(device),
    )


def _reorder(layout: Layout, order: Sequence[int]) -> Layout:
    return Layout(layout.width, layout.height, tuple(layout.boxes[i] for i in order))


def _pad(masks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    longest = max(1, max(len(mask) for mask in masks))
    padded = torch.zeros(len(masks), longest, *masks[0].shape[1:])
    object_mask = torch.zeros(len(masks), longest, dtype=torch.bool)
    for row, mask in enumerate(masks):
        padded[row, : len(mask)] = mask.float() / 255
        object_mask[row, : len(mask)] = True
    return padded, object_mask
