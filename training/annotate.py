"""Scenes -> samples for the generator: attributes by Eq. 2, latents and masks at latent size; chunked, resumable."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from detdiffusion.attributes import AttributeRule, label_attributes
from detdiffusion.detection import Detector
from detdiffusion.layout import Layout
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.pipeline import preferred_dtype
from training.autoencoder import OnStep, to_tensor
from training.config import SampleConfig
from training.papercut import Scene, scenes
from training.resume import write_json


def make_samples(
    config: SampleConfig,
    image_size: int,
    detector: Detector,
    autoencoder: SmallAutoencoder,
    out: Path,
    on_step: OnStep,
) -> None:
    """Writes `out/chunk-00000.safetensors` and `.json` for every `config.chunk` scenes, then `out/summary.json`.

    The detector must not have been trained on these scenes: one that labels its own training pictures finds nearly
    everything, and the attribute would mean nothing.
    """
    rule = AttributeRule(config.min_score, config.min_iou, config.match_class)
    starts = range(0, config.scenes, config.chunk)
    for number, start in enumerate(starts):
        path = out / f"chunk-{number:05d}.json"
        if not path.exists():
            seeds = range(config.first_scene + start, config.first_scene + min(start + config.chunk, config.scenes))
            made = list(scenes(seeds, size=image_size, difficulty=config.difficulty, workers=os.cpu_count() or 1))
            layouts = label_scenes(made, detector, rule)
            out.mkdir(parents=True, exist_ok=True)
            save_file(encode_scenes(made, autoencoder), path.with_suffix(".safetensors"))
            write_json(path, [layout.to_json() for layout in layouts])
        on_step(number + 1, len(starts), {})
    write_json(out / "summary.json", summarise(out))


def label_scenes(made: Sequence[Scene], detector: Detector, rule: AttributeRule) -> list[Layout]:
    """Eq. 2 on real pictures: found is easy, missed is hard, unknown to the detector is background."""
    found = detector.detect([scene.image for scene in made])
    return [
        label_attributes(scene.layout, detections, detector.labels, rule)
        for scene, detections in zip(made, found, strict=True)
    ]


@torch.no_grad()
def encode_scenes(made: Sequence[Scene], autoencoder: SmallAutoencoder, batch: int = 16) -> dict[str, Tensor]:
    """Latents [n, C, h, w] (about unit variance, half), masks [objects of all scenes, h, w] (uint8, 255 = covered)."""
    factor, scale = autoencoder.downsample, autoencoder.config.scaling_factor
    latents = []
    for group in (made[i : i + batch] for i in range(0, len(made), batch)):
        pictures = to_tensor(np.stack([np.asarray(scene.image) for scene in group])).to(autoencoder.device)
        with torch.autocast(pictures.device.type, preferred_dtype(pictures.device)):
            encoded = autoencoder.encode(pictures).latent_dist.mode()
        latents.append((encoded.float() * scale).half().cpu())
    masks = torch.cat([torch.from_numpy(scene.masks).float() for scene in made])
    covered = torch.nn.functional.avg_pool2d(masks[:, None], factor)[:, 0]  # [M, H, W] -> [M, h, w]
    return {"latents": torch.cat(latents).contiguous(), "masks": (covered * 255).round().to(torch.uint8).contiguous()}


def summarise(folder: Path) -> dict[str, object]:
    """Objects by class and attribute, and the share of hard things."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in sorted(folder.glob("chunk-*.json")):
        for layout in json.loads(path.read_text()):
            counts.update((thing["label"], thing["attribute"]) for thing in layout["objects"])
    labels = sorted({label for label, _ in counts})
    easy, hard = (sum(n for (_, attribute), n in counts.items() if attribute == wanted) for wanted in ("easy", "hard"))
    return {
        "objects": {
            label: {a: counts[label, a] for a in ("easy", "hard", "background") if counts[label, a]} for label in labels
        },
        "hard_share": hard / max(1, easy + hard),
    }
