"""The perception head: U-Net features and object words -> a mask for every object (DetDiffusion, Eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from detdiffusion.errors import ConfigError


class PerceptionHead(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Mask logits of every object from its own words.

    Our choice (the paper's exact head is unpublished): the query of an object is the projected mean of the text
    encoder's output over its tokens, and its mask logits are the dot product with F4 at every cell. No matching, no
    class head; the loss pulls each object's words and cells together. A group norm follows each convolution of Eq. 3,
    because the U-Net's residual features grow with depth.

    Args:
        feature_channels: channels of the U-Net's up blocks, coarse to fine.
        text_dim: width of the text encoder.
        width: channels of F2, F3, ..., a multiple of 8. 48 for a U-Net of 20M parameters and 256 for Stable
            Diffusion's make the head 1 to 2 % of it.
        scale: cells of a mask for one latent cell, on each side. Above 1, a convolution makes that many features of
            every cell of F4 (Shi et al. 2016, sub-pixel convolution): masks stay sharp where latents are coarse.

    Raises:
        ConfigError: the scale is below 1.
    """

    @register_to_config
    def __init__(self, feature_channels: Sequence[int], text_dim: int, width: int = 64, scale: int = 1) -> None:
        super().__init__()
        if scale < 1:
            raise ConfigError(f"head scale is {scale}, and needs to be 1 or more")
        inputs = [feature_channels[0], *[width] * (len(feature_channels) - 2)]  # channels of F1, F2, ...
        self.merge = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels + below, width, 3, padding=1), nn.GroupNorm(8, width))
            for channels, below in zip(feature_channels[1:], inputs, strict=True)
        )
        self.query = nn.Linear(text_dim, width)
        self.refine = nn.Conv2d(width, width * scale**2, 3, padding=1) if scale > 1 else None

    def forward(self, features: Sequence[Tensor], objects: Tensor) -> Tensor:
        """Features [B, C_n, h_n, w_n], coarse to fine, and object embeddings [B, N, D] -> mask logits
        [B, N, scale * h, scale * w]."""
        pixels = features[0]  # F1 = f1
        for level, (merge, feature) in enumerate(zip(self.merge, features[1:], strict=True)):
            pixels = F.interpolate(F.silu(pixels) if level else pixels, size=feature.shape[-2:], mode="nearest")
            pixels = merge(torch.cat([feature, pixels], dim=1))  # Fn = Conv(fn, Upsample(Fn-1))
        if self.refine is not None:  # -> [B, C, scale * h, scale * w]
            pixels = F.pixel_shuffle(self.refine(F.silu(pixels)), self.config.scale)
        query = self.query(objects)  # [B, N, D] -> [B, N, C]
        logits = query @ pixels.flatten(2) / pixels.shape[1] ** 0.5  # [B, N, C] x [B, C, h * w] -> [B, N, h * w]
        return torch.unflatten(logits, 2, pixels.shape[-2:])
