"""Latents -> pixels: the autoencoder's half of a pipeline's call, the safety check, and the forms of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from detdiffusion.diffusion.openvino import OpenVino


def decode(vae: Any, latents: Tensor, compiled: OpenVino | None = None) -> Tensor:
    """Latents [B, C, h, w] -> images [B, 3, H, W], float32 from 0 to 255, on the same device.

    On a CPU it decodes image by image, as `DetDiffusionPipeline` draws. compiled: decodes in the autoencoder's place.
    """
    scaled = (latents / vae.config.scaling_factor).to(vae.dtype)
    groups = scaled.split(1) if scaled.device.type == "cpu" else [scaled]
    images = torch.cat([vae.decode(group).sample if compiled is None else compiled.decode(group) for group in groups])
    return (images.float().clamp(-1, 1) + 1) * 127.5


def check_safety(checker: Any, feature_extractor: Any, images: Tensor) -> tuple[Tensor, list[bool]]:
    """Images of `decode`, and which of them Stable Diffusion's safety checker made black.

    Its own precision is kept: a preview inside a sampling is checked as the finished image is.
    """
    pixels = to_pixels(images)
    prepared = feature_extractor(to_pil(images), return_tensors="pt").pixel_values
    prepared = prepared.to(checker.device, checker.dtype)
    with torch.autocast(checker.device.type, enabled=False):
        _, flagged = checker(clip_input=prepared, images=pixels)
    black = torch.tensor(flagged, device=images.device)
    return images.masked_fill(black[:, None, None, None], 0.0), [bool(flag) for flag in flagged]


def in_form(images: Tensor, output_type: str) -> list[Image.Image] | np.ndarray | Tensor:
    """Images of `decode` in one of the forms that diffusers has.

    Args:
        output_type: "pil": a list of PIL images; "np": an array [B, H, W, 3]; "pt": a tensor [B, 3, H, W] on the same
            device. The last two are float32 from 0 to 1.
    """
    if output_type == "pil":
        return to_pil(images)
    shares = images / 255
    return shares if output_type == "pt" else np.asarray(shares.permute(0, 2, 3, 1).cpu())


def to_pixels(images: Tensor) -> np.ndarray:
    """Images of `decode` -> [B, H, W, 3] uint8."""
    return np.asarray(images.round().to(torch.uint8).permute(0, 2, 3, 1).cpu())


def to_pil(images: Tensor) -> list[Image.Image]:
    """Images of `decode`, one by one."""
    return [Image.fromarray(pixels) for pixels in to_pixels(images)]
