"""What the training of a generator takes of memory and disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detdiffusion.errors import DataError
from training.data.datasets import Dataset
from training.generator.config import GeneratorConfig

if TYPE_CHECKING:
    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline


@dataclass(frozen=True, slots=True)
class Needs:
    """What a run takes, in bytes."""

    memory: int  # weights, gradients, AdamW and the moving average; activations come on top
    latents: int
    checkpoints: int
    model: int

    @property
    def disk(self) -> int:
        """Bytes, in all."""
        return self.latents + self.checkpoints + self.model

    def lines(self) -> list[str]:
        """What a run needs, for people."""
        gb = 1e9
        return [
            f"memory: {self.memory / gb:.2f} GB for weights, gradients, AdamW and the average; activations on top",
            f"disk: {self.disk / gb:.2f} GB ({self.latents / gb:.2f} latents, {self.checkpoints / gb:.2f} checkpoints, "
            f"{self.model / gb:.2f} model)",
        ]


def needs(pipe: DetDiffusionPipeline, config: GeneratorConfig, dataset: Dataset) -> Needs:
    """What the training of this model on this data takes."""
    from torch import nn

    from training.generator.latents import cache_bytes

    modules = {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}
    still = ("vae", "safety_checker", *(("unet", "text_encoder") if config.control_only else ()))
    frozen = sum(sizes.pop(name, 0) for name in still)
    trained = sum(sizes.values())
    return Needs(
        memory=trained * (4 + 4 + 8 + 4) + frozen * 4,
        latents=cache_bytes(dataset, config, pipe.vae),
        checkpoints=trained * (4 + 8 + 4) * (config.keep + 1),  # one more while it is written
        model=(trained + frozen) * 2,
    )


def check_disk(out: Path, needed: Needs) -> None:
    """DataError where the disk has less than a new run takes; what this run already wrote counts as free."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) if out.exists() else 0
    free = shutil.disk_usage(there).free + written
    if free < needed.disk:
        raise DataError(
            f"the run needs about {needed.disk / 1e9:.2f} GB of disk, and {there} has {free / 1e9:.2f} GB: free some "
            "space, lower keep, or set flip=0"
        )
