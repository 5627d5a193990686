"""A small convolutional autoencoder with the calls of diffusers' `AutoencoderKL`, quick enough to train on a CPU.

Our choice (the paper freezes Stable Diffusion's own): no normalisation layers (GroupNorm washed flat colours out), a
pixel-unshuffle stem, and Gaussian noise on the latents in training, so that the decoder forgives the sampler's errors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


class PointLatent(NamedTuple):
    """The encoder is deterministic: its "distribution" is one point."""

    latents: Tensor  # [B, C, H/f, W/f]

    def mode(self) -> Tensor:
        """The latents themselves."""
        return self.latents

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The latents themselves: there is no spread."""
        return self.latents


class Encoded(NamedTuple):
    """What `encode` returns, in the form of diffusers' autoencoders."""

    latent_dist: PointLatent


class Decoded(NamedTuple):
    """What `decode` returns, in the form of diffusers' autoencoders."""

    sample: Tensor  # [B, 3, H, W], about -1..1


class ResidualBlock(nn.Module):
    """Two convolutions [B, C, H, W] -> [B, C, H, W] beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():  # every block starts as the identity: deep and norm-free, yet it trains
            for parameter in self.conv2.parameters():
                parameter.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        change: Tensor = self.conv2(nn.functional.silu(self.conv1(nn.functional.silu(x))))
        return x + change


class ShortcutConv(nn.Conv2d):
    """A convolution beside a path without weights, which averages channels or repeats them (DC-AE, Chen et al. 2025).

    Deep autoencoders learn from the first steps on: they begin as a small picture that is made large again.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, D, H/stride, W/stride]; D divides C * stride ** 2, or is a multiple of it."""
        path = nn.functional.pixel_unshuffle(x, self.stride[0])  # [B, C * stride ** 2, H/stride, W/stride]
        if self.out_channels > path.shape[1]:
            path = path.repeat_interleave(self.out_channels // path.shape[1], dim=1)
        else:
            path = path.unflatten(1, (self.out_channels, -1)).mean(2)
        return super().forward(x) + path


class SmallAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Pictures [B, 3, H, W] in -1..1 <-> latents [B, latent_channels, H/f, W/f], f = 2 ** len(block_out_channels).

    Args:
        block_out_channels: width of each level, fine to coarse; the first level works at half the picture's size.
        layers_per_block: residual blocks of each level.
        scaling_factor: latents times this have about unit variance (as in `AutoencoderKL`; measured after training).
        decoder_channels, decoder_layers: the same of the decoder; None: as the encoder's.
        full_resolution_channels: width of a last residual block at the picture's size; 0: the decoder ends with a
            convolution at half the size, four pixels from each of its places.
        shortcuts: paths without weights beside the convolutions between levels, where their widths divide each other.
    """

    @register_to_config
    def __init__(
        self,
        block_out_channels: tuple[int, ...] = (32, 64, 128),
        layers_per_block: tuple[int, ...] = (1, 2, 2),
        latent_channels: int = 8,
        scaling_factor: float = 1.0,
        decoder_channels: tuple[int, ...] | None = None,
        decoder_layers: tuple[int, ...] | None = None,
        full_resolution_channels: int = 0,
        shortcuts: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = _encoder(block_out_channels, layers_per_block, latent_channels, shortcuts)
        self.decoder = _decoder(
            latent_channels,
            block_out_channels if decoder_channels is None else decoder_channels,
            layers_per_block if decoder_layers is None else decoder_layers,
            full_resolution_channels,
            shortcuts,
        )

    @property
    def downsample(self) -> int:
        """Picture pixels a latent cell, on each side."""
        return int(2 ** len(self.config.block_out_channels))

    def encode(self, pictures: Tensor) -> Encoded:
        """Images [B, 3, H, W] in -1..1 -> latents [B, C, h, w]."""
        return Encoded(PointLatent(self.encoder(pictures)))

    def decode(self, latents: Tensor) -> Decoded:
        """Latents [B, C, h, w] -> images [B, 3, H, W], about -1..1."""
        return Decoded(self.decoder(latents))


def _between(inputs: int, outputs: int, shortcut: bool, stride: int = 1) -> nn.Conv2d:
    """The convolution between two widths, with a shortcut where one can be."""
    paths = inputs * stride**2
    kind = ShortcutConv if shortcut and (paths % outputs == 0 or outputs % paths == 0) else nn.Conv2d
    return kind(inputs, outputs, 4 if stride == 2 else 3, stride=stride, padding=1)


def _encoder(widths: Sequence[int], layers: Sequence[int], latent_channels: int, shortcuts: bool) -> nn.Sequential:
    """[B, 3, H, W] -> [B, latent_channels, H/f, W/f]."""
    down: list[nn.Module] = [nn.PixelUnshuffle(2), _between(12, widths[0], shortcuts)]
    for level, width in enumerate(widths):
        if level:
            down.append(_between(widths[level - 1], width, shortcuts, stride=2))
        down += [ResidualBlock(width) for _ in range(layers[level])]
    return nn.Sequential(*down, _between(widths[-1], latent_channels, shortcuts))


def _decoder(
    latent_channels: int, widths: Sequence[int], layers: Sequence[int], full_width: int, shortcuts: bool
) -> nn.Sequential:
    """[B, latent_channels, H/f, W/f] -> [B, 3, H, W]."""
    up: list[nn.Module] = [_between(latent_channels, widths[-1], shortcuts)]
    for level in reversed(range(len(widths))):
        up += [ResidualBlock(widths[level]) for _ in range(layers[level])]
        next_width = widths[level - 1] if level else full_width or 3
        up += [_between(widths[level], next_width * 4, shortcuts), nn.PixelShuffle(2)]
    if full_width:
        up += [ResidualBlock(full_width), _between(full_width, 3, shortcuts)]
    return nn.Sequential(*up)
