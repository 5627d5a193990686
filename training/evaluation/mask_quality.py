"""How well a model's perception head knows the shapes of things: its masks against Papercut's true ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detdiffusion.diffusion.masks import mask_ious, object_masks, paint_masks
from detdiffusion.evaluation.bootstrap import Estimate, estimate_mean, resamples
from detdiffusion.evaluation.effect import owners_of
from detdiffusion.layout import Layout
from training.data.layout_sources import PapercutLayouts
from training.evaluation.store import SeenImages

if TYPE_CHECKING:
    from PIL import Image

    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline

SCENES = 256  # are looked at, at most


def mask_iou(
    pipe: DetDiffusionPipeline, source: PapercutLayouts, real: SeenImages, layouts: Sequence[Layout]
) -> Estimate:
    """Mean intersection over union of the found and the true masks of all objects of real scenes, things and stuff.

    Objects of which nothing is visible do not count. layouts: as `real` has them, with true attributes.
    """
    rows: list[NDArray[np.float64]] = []
    for chunk in real:
        if chunk.start >= SCENES:
            break
        images = real.load(chunk)
        found = object_masks(pipe, images, [layouts[place] for place in chunk])
        size = (images[0].height, images[0].width)
        for place, masks in zip(chunk, found, strict=True):
            rows.append(mask_ious(masks, source.masks(place, size)))
    return estimate_mean(np.concatenate(rows), owners_of(rows), resamples(len(rows)))


def save_masks(pipe: DetDiffusionPipeline, images: Sequence[Image.Image], layouts: Sequence[Layout], out: Path) -> None:
    """The masks that the perception head sees in pictures, painted over them: `out/00000.png`, ..."""
    out.mkdir(parents=True, exist_ok=True)
    for number, (image, masks) in enumerate(zip(images, object_masks(pipe, images, layouts), strict=True)):
        paint_masks(image, masks).save(out / f"{number:05d}.png")
