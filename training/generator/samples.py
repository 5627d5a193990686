"""Papercut scenes -> what the bundled generator learns from: rendered, labelled by the detector (Eq. 2), encoded."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from detdiffusion.attributes import AttributeRule
from detdiffusion.core.files import write_json
from detdiffusion.detection import Detector
from detdiffusion.layout import Layout
from detdiffusion.models.autoencoder import SmallAutoencoder
from training.core.schedule import OnStep
from training.data.papercut.scene import Scene, scenes
from training.generator.chunk import is_whole, read_chunk, write_chunk
from training.generator.config import SampleConfig
from training.generator.latents import coverage, encode_images, mask_cell_size
from training.labelling.annotate import label_images
from training.labelling.summary import AttributeReport

BATCH = 16  # pictures
SUMMARY = "summary.json"  # written when all samples are there


def make_samples(
    config: SampleConfig,
    image_size: int,
    detector: Detector,
    autoencoder: SmallAutoencoder,
    out: Path,
    on_step: OnStep,
) -> None:
    """Writes `out/chunk-00000.safetensors` and `.json` for every `config.chunk` scenes, then `out/summary.json`."""
    starts = range(0, config.scenes, config.chunk)
    for number, start in enumerate(starts):
        path = out / f"chunk-{number:05d}.json"
        if not is_whole(path):
            seeds = range(config.first_scene + start, config.first_scene + min(start + config.chunk, config.scenes))
            made = list(scenes(seeds, size=image_size, hard_share=config.hard_share, workers=os.cpu_count() or 1))
            layouts = label_scenes(made, detector, config)
            write_chunk(path, layouts, encode_scenes(made, autoencoder, config.mask_scale))
        on_step(number + 1, len(starts), {})
    write_json(out / SUMMARY, summarise(out))


def label_scenes(made: Sequence[Scene], detector: Detector, config: SampleConfig) -> list[Layout]:
    """What the detector cannot know is background."""
    rule = AttributeRule(config.min_score, config.min_iou, config.match_class)
    layouts, images = [scene.layout for scene in made], [scene.image for scene in made]
    return label_images(layouts, images, detector, detector.labels, rule)


def encode_scenes(made: Sequence[Scene], autoencoder: SmallAutoencoder, mask_scale: int = 1) -> dict[str, Tensor]:
    """`latents` [n, C, h, w] (half, about unit variance), and `masks` [objects of all scenes, mask_scale * h,
    mask_scale * w] (255: covered)."""
    groups = [made[i : i + BATCH] for i in range(0, len(made), BATCH)]
    encoded = [encode_images([scene.image for scene in group], autoencoder, flip=False) for group in groups]
    cell = mask_cell_size(autoencoder, mask_scale)
    masks = [coverage(scene.masks, cell) for scene in made]
    latents = torch.cat([part["latents"] for part in encoded])
    return {"latents": latents.contiguous(), "masks": torch.cat(masks)}


def summarise(folder: Path) -> dict[str, object]:
    """Objects by class and attribute, and the share of hard things."""
    chunks = (read_chunk(path) for path in sorted(folder.glob("chunk-*.json")))
    report = AttributeReport.of(layout for chunk in chunks for layout in chunk)
    return {"objects": report.by_class(), "hard_share": report.hard_share}
