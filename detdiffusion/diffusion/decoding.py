"""Latents -> pixels: the autoencoder's half of a pipeline's call, and the safety check behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def decode(vae: Any, latents: Tensor) -> np.ndarray:
    """Latents [B, C, h, w] -> images [B, H, W, 3] uint8; on a CPU image by image, as `DetDiffusionPipeline` draws."""
    scaled = (latents / vae.config.scaling_factor).to(vae.dtype)
    groups = scaled.split(1) if scaled.device.type == "cpu" else [scaled]
    images = torch.cat([vae.decode(group).sample for group in groups])
    pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.asarray(pixels.permute(0, 2, 3, 1).cpu())  # [B, 3, H, W] -> [B, H, W, 3]


def check_safety(checker: Any, feature_extractor: Any, pixels: np.ndarray) -> tuple[np.ndarray, list[bool]]:
    """Images [B, H, W, 3] uint8, and which of them Stable Diffusion's safety checker made black.

    Its own precision is kept: a preview inside a sampling is checked as the finished image is.
    """
    prepared = feature_extractor(to_pil(pixels), return_tensors="pt").pixel_values
    prepared = prepared.to(checker.device, checker.dtype)
    with torch.autocast(checker.device.type, enabled=False):
        checked, flagged = checker(clip_input=prepared, images=pixels)
    return checked, flagged


def to_pil(pixels: np.ndarray) -> list[Image.Image]:
    """Images [B, H, W, 3] uint8, one by one."""
    return [Image.fromarray(image) for image in pixels]
