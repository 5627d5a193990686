"""Papercut scenes -> crops of their things, and what makes each of them difficult."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from detdiffusion.core.files import sealed_file
from detdiffusion.models.cause_classifier import NONE, CauseConfig, view
from training.core.arrays import load_arrays, save_arrays
from training.core.cli import progress
from training.data.papercut.causes import Cause
from training.data.papercut.classes import THINGS
from training.data.papercut.scene import Scene, scenes

BATCH = 16  # scenes
FEW = 100  # scenes that are sooner made than processes are started

Restore = Callable[[Sequence[Image.Image]], list[Image.Image]]


@dataclass(frozen=True, slots=True)
class Objects:
    """N things of many scenes."""

    crops: Tensor  # [N, H, W, 3] uint8
    frames: Tensor  # [N, 4]: the box in fractions of its crop
    boxes: Tensor  # [N, 4]: in fractions of the image
    labels: Tensor  # [N]: numbers of classes
    truth: Tensor  # [N, outputs] of 0 and 1: "none", and the causes
    restored: Tensor  # [N] bool: of a scene that went through the autoencoder

    def __len__(self) -> int:
        return len(self.labels)

    def tensors(self) -> dict[str, Tensor]:
        """By the names of the fields."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def join(cls, parts: Sequence[Objects]) -> Objects:
        """All of them, one after the other."""
        return cls(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(cls)))


def read_or_make_objects(
    path: Path,
    seeds: Sequence[int],
    config: CauseConfig,
    *,
    size: int,
    hard_share: float,
    cause: Cause | None = None,
    restored: float = 0.0,
    restore: Restore | None = None,
    workers: int = 0,
) -> Objects:
    """The things of the scenes of these seeds; they are kept in a file, and read from it the next time.

    Args:
        size: pixels, the side of a scene.
        hard_share, cause: as of `scenes`.
        restored: share of the scenes that `restore` (an autoencoder) passes on; None: none does.
        workers: processes that make scenes, where there are many; 0: this one.
    """
    if not sealed_file(path):
        rows: list[Objects] = []
        with progress(path.stem, "scene", tell=False) as report:
            made = scenes(seeds, size, hard_share, workers if len(seeds) > FEW else 0, cause)
            while group := list(islice(made, BATCH)):
                done = len(rows)
                chosen = [restore is not None and _drawn(seeds[done + i]) < restored for i in range(len(group))]
                images = _images(group, chosen, restore)
                rows += [_rows(*one, config) for one in zip(group, images, chosen, strict=True)]
                report(len(rows), len(seeds), {})
        save_arrays(path, {name: tensor.numpy() for name, tensor in Objects.join(rows).tensors().items()})
    return Objects(**{name: torch.from_numpy(array) for name, array in load_arrays(path).items()})


def _drawn(seed: int) -> float:
    """A number in 0..1 that belongs to a scene."""
    return float(np.random.default_rng((1, seed)).random())


def _images(group: Sequence[Scene], chosen: Sequence[bool], restore: Restore | None) -> list[Image.Image]:
    """The images of scenes, the chosen ones restored."""
    plain = [one.image for one in group]
    if restore is None or not any(chosen):
        return plain
    restored = iter(restore([image for image, yes in zip(plain, chosen, strict=True) if yes]))
    return [next(restored) if yes else image for image, yes in zip(plain, chosen, strict=True)]


def _rows(scene: Scene, image: Image.Image, restored: bool, config: CauseConfig) -> Objects:
    """The things of one scene, which may have none."""
    things = [
        (box, causes) for box, causes in zip(scene.layout.boxes, scene.causes, strict=True) if box.label in THINGS
    ]
    views = [view(image, box.xyxy, config.side, config.context) for box, _ in things]
    return Objects(
        crops=torch.from_numpy(
            np.array([crop for crop, _ in views], np.uint8).reshape(-1, config.side, config.side, 3)
        ),
        frames=torch.tensor([frame for _, frame in views]).reshape(-1, 4),
        boxes=torch.tensor([box.xyxy for box, _ in things]).reshape(-1, 4),
        labels=torch.tensor([config.classes.index(box.label) for box, _ in things], dtype=torch.int64),
        truth=torch.tensor([list(_truth(causes, config)) for _, causes in things]).reshape(-1, len(config.outputs)),
        restored=torch.full((len(things),), restored),
    )


def _truth(causes: frozenset[str], config: CauseConfig) -> Iterator[float]:
    """1 for every cause that an object has, and for "none" if it has none."""
    return (float(name in causes or (name == NONE and not causes)) for name in config.outputs)
