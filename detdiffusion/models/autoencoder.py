"""A small convolutional autoencoder with the calls of diffusers' `AutoencoderKL`, quick enough to train on a CPU.

Our choice (the paper freezes Stable Diffusion's own): no normalisation layers (GroupNorm washed flat colours out), a
pixel-unshuffle stem, and Gaussian noise on the latents in training, so that the decoder forgives the sampler's errors.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import AutoencoderMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from detdiffusion.errors import ConfigError

TILE = 32  # cells of the coarsest grid on each side of a tile that is decoded by itself


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


class SmallAutoencoder(ModelMixin, AutoencoderMixin, ConfigMixin):  # type: ignore[misc]
    """Pictures [B, 3, H, W] in -1..1 <-> latents [B, latent_channels, H/f, W/f], f = 2 ** len(block_out_channels).

    Args:
        block_out_channels: width of each level, fine to coarse; the first level works at half the picture's size.
        layers_per_block: residual blocks of each level.
        scaling_factor: latents times this have about unit variance (as in `AutoencoderKL`; measured after training).
        decoder_channels, decoder_layers: the same of the decoder; None: as the encoder's.
        fold: squares of fold x fold cells of latents become one cell of fold^2 times as many channels (which
            `latent_channels` counts): a generator sees a coarser grid, for a fraction of the time, and f is fold times
            as much. The weights are those of the same autoencoder without it.
        full_resolution_channels: width of a last residual block at the picture's size; 0: the decoder ends with a
            convolution at half the size, four pixels from each of its places.
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
        fold: int = 1,
    ) -> None:
        super().__init__()
        if latent_channels % fold**2:
            raise ConfigError(f"latent_channels {latent_channels} needs to be a multiple of fold^2, {fold**2}")
        self.use_slicing = self.use_tiling = False  # of `decode`: see diffusers' `AutoencoderMixin`
        channels = latent_channels // fold**2
        self.encoder = _encoder(block_out_channels, layers_per_block, channels)
        self.decoder = _decoder(
            channels,
            block_out_channels if decoder_channels is None else decoder_channels,
            layers_per_block if decoder_layers is None else decoder_layers,
            full_resolution_channels,
        )

    @property
    def downsample(self) -> int:
        """Picture pixels a latent cell, on each side."""
        return int(2 ** len(self.config.block_out_channels) * self.config.fold)

    @apply_forward_hook
    def encode(self, pictures: Tensor) -> Encoded:
        """Images [B, 3, H, W] in -1..1 -> latents [B, C, h, w]."""
        return Encoded(PointLatent(pixel_unshuffle(self.encoder(pictures), self.config.fold)))

    @apply_forward_hook
    def decode(self, latents: Tensor) -> Decoded:
        """Latents [B, C, h, w] -> images [B, 3, H, W], about -1..1."""
        cells = pixel_shuffle(latents, self.config.fold)
        rows = cells.split(1) if self.use_slicing else [cells]
        return Decoded(torch.cat([self._tiled(row) if self.use_tiling else self.decoder(row) for row in rows]))

    def _tiled(self, cells: Tensor) -> Tensor:
        """As the decoder, tile by tile. Every tile sees as far as its pixels depend on, so that none has a seam."""
        scale, reach = 2 ** len(self.config.block_out_channels), _reach(self.decoder)

        def strip(around: Tensor, axis: int, start: int, decode: Callable[[Tensor], Tensor]) -> Tensor:
            first = max(start - reach, 0)
            seen = around.narrow(axis, first, min(start + TILE + reach, around.shape[axis]) - first)
            wanted = min(TILE, around.shape[axis] - start) * scale
            return decode(seen).narrow(axis, (start - first) * scale, wanted)

        def columns(band: Tensor) -> Tensor:
            return torch.cat([strip(band, 3, x, self.decoder) for x in range(0, band.shape[3], TILE)], dim=3)

        return torch.cat([strip(cells, 2, y, columns) for y in range(0, cells.shape[2], TILE)], dim=2)


def _reach(decoder: nn.Module) -> int:
    """How many cells of the coarsest grid beside its own a decoded pixel depends on."""
    reach, cell = 0.0, 1.0
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d):
            reach += cell * (module.kernel_size[0] // 2)
        elif isinstance(module, nn.PixelShuffle):
            cell /= module.upscale_factor
    return math.ceil(reach)


def _encoder(widths: Sequence[int], layers: Sequence[int], latent_channels: int) -> nn.Sequential:
    """[B, 3, H, W] -> [B, latent_channels, H/f, W/f]."""
    down: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(12, widths[0], 3, padding=1)]
    for level, width in enumerate(widths):
        if level:
            down.append(nn.Conv2d(widths[level - 1], width, 4, stride=2, padding=1))
        down += [ResidualBlock(width) for _ in range(layers[level])]
    return nn.Sequential(*down, nn.Conv2d(widths[-1], latent_channels, 3, padding=1))


def _decoder(latent_channels: int, widths: Sequence[int], layers: Sequence[int], full_width: int) -> nn.Sequential:
    """[B, latent_channels, H/f, W/f] -> [B, 3, H, W]."""
    up: list[nn.Module] = [nn.Conv2d(latent_channels, widths[-1], 3, padding=1)]
    for level in reversed(range(len(widths))):
        up += [ResidualBlock(widths[level]) for _ in range(layers[level])]
        next_width = widths[level - 1] if level else full_width or 3
        up += [nn.Conv2d(widths[level], next_width * 4, 3, padding=1), nn.PixelShuffle(2)]
    if full_width:
        up += [ResidualBlock(full_width), nn.Conv2d(full_width, 3, 3, padding=1)]
    return nn.Sequential(*up)
