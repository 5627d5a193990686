"""Is guidance by a weaker copy of the model better than guidance by the empty prompt (Karras et al. 2024)?

python -m benchmarks.autoguidance --model DIR --weak DIR [--scales 1.5,2,3] [--layouts papercut:32@900000]; prints JSON.

The weaker model has learned the same in less time, such as a pilot of fewer minutes. Both kinds of guidance take two
forwards a step. Images are measured by the model's own detectors, and for the finest detail of things, as a share of
the real scenes' (detdiffusion/evaluation/sharpness.py).
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.core.arguments import add_sampler, amount, sampler_steps, words
from detdiffusion.detectors import load_detector, own_detectors
from detdiffusion.diffusion.decoding import decode, to_pil
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.diffusion.sampling import make_scheduler, sample, starting_noise
from detdiffusion.evaluation.effect import measure
from detdiffusion.evaluation.sharpness import sharpness
from detdiffusion.layout import Layout
from detdiffusion.models.precision import autocast
from training.data.filters import LayoutFilter
from training.data.layout_sources import layout_spec, open_source

STRATEGIES = (Strategy.EASY, Strategy.HARD)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    parser.add_argument("--weak", type=Path, required=True, metavar="DIR", help="model folder")
    parser.add_argument("--detectors", type=words, metavar="PATH,...", help="default: the model's own")
    parser.add_argument("--scales", type=lambda text: [amount(word) for word in words(text)], default=[1.5, 2.0, 3.0])
    parser.add_argument("--layouts", type=layout_spec, default="papercut:32@900000", metavar="papercut:N@FIRST")
    parser.add_argument("--steps", type=sampler_steps, default=20)
    add_sampler(parser)
    asked = parser.parse_args()
    strong, weak = load_pipeline(asked.model), load_pipeline(asked.weak)
    source = open_source(asked.layouts, LayoutFilter())
    samples = [source.sample(place, strong.native_size) for place in range(len(source))]
    layouts = [strong.vocabulary.resolve(layout) for _, layout in samples]
    real = detail([image for image, _ in samples if image is not None], layouts)
    detectors = [load_detector(name, asked.model) for name in asked.detectors or own_detectors(asked.model)]
    found = {}
    for scale in asked.scales:
        for name, other in (("empty prompt", None), ("weaker copy", weak)):
            for strategy in STRATEGIES:
                wanted = [apply_strategy(layout, strategy) for layout in layouts]
                images = [
                    draw(strong, other, layout, source.seed(place), asked.steps, scale, asked.sampler or None)
                    for place, layout in enumerate(wanted)
                ]
                scores: dict[str, Any] = {"detail": round(detail(images, layouts) / real, 4)}
                for detector in detectors:
                    block = measure(layouts, detector.detect(images), detector)
                    scores[detector.name] = {
                        "recall50": round(block.recall50, 4),
                        "AP50": round(block.precision.AP50, 4),
                        "confidence": round(block.mean_confidence, 4),
                    }
                found[f"{name}, {scale:g}, {strategy}"] = scores
    print(json.dumps({"layouts": source.spec, "steps": asked.steps, "sampler": asked.sampler, **found}, indent=2))


@torch.no_grad()
def draw(
    strong: DetDiffusionPipeline,
    weak: DetDiffusionPipeline | None,
    layout: Layout,
    seed: int,
    steps: int,
    scale: float,
    sampler: str | None,
) -> Image.Image:
    """An image; weak None: guidance by the empty prompt."""
    how: dict[str, Any] = {"steps": steps, "guidance_scale": scale}
    if weak is None:
        image: Image.Image = strong(layout, seeds=[seed], sampler=sampler, **how).images[0]
        return image
    height, width = strong.image_size(layout)
    size = (height // strong.downsample, width // strong.downsample)
    conditions = [(pipe, pipe.encode_layouts([layout]), pipe.draw_layouts([layout], size)) for pipe in (weak, strong)]

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        parts = zip(conditions, latents.chunk(2), strict=True)
        return torch.cat([pipe.denoise(part, t, condition, raw) for (pipe, condition, raw), part in parts])

    with autocast(strong.unet.device):
        noise = starting_noise([seed], (strong.unet.config.out_channels, *size))
        latents = sample(predict, make_scheduler(strong.scheduler, sampler), noise, seeds=[seed], **how)
        return to_pil(decode(strong.vae, latents))[0]


def detail(images: Sequence[Image.Image], layouts: Sequence[Layout]) -> float:
    pairs = zip(images, layouts, strict=True)
    return float(np.nanmean([sharpness(image, layout).laplacian for image, layout in pairs]))


if __name__ == "__main__":
    main()
