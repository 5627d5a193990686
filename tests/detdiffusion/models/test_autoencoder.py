"""The small autoencoder: shapes, and folders written before the decoder had widths of its own."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from detdiffusion.errors import ConfigError
from detdiffusion.models.autoencoder import ResidualBlock, SmallAutoencoder

OLD = {"block_out_channels": [8, 12], "layers_per_block": [1, 2], "latent_channels": 4, "scaling_factor": 0.5}


@pytest.mark.parametrize(
    ("widths", "channels", "decoder", "layers", "full"),
    [
        ((8, 12), 4, None, None, 0),
        ((8, 12), 4, None, None, 6),
        ((4, 8, 8, 12), 16, (8, 8, 16, 16), (2, 1, 1, 3), 4),
        ((4, 8, 8, 12), 16, None, (1, 1, 1, 1), 0),
    ],
)
def test_shapes(
    widths: tuple[int, ...],
    channels: int,
    decoder: tuple[int, ...] | None,
    layers: tuple[int, ...] | None,
    full: int,
    tmp_path: Path,
) -> None:
    cell = 2 ** len(widths)
    model = SmallAutoencoder(widths, (1,) * len(widths), channels, 1.0, decoder, layers, full)
    latents = model.encode(torch.zeros(2, 3, 2 * cell, 3 * cell)).latent_dist.mode()
    assert model.downsample == cell and latents.shape == (2, channels, 2, 3)
    restored = model.decode(latents).sample
    assert restored.shape == (2, 3, 2 * cell, 3 * cell)
    model.save_pretrained(tmp_path)
    assert torch.equal(SmallAutoencoder.from_pretrained(tmp_path).decode(latents).sample, restored)


@torch.no_grad()
def test_old_folders_decode_as_before(tmp_path: Path) -> None:
    model = SmallAutoencoder(**OLD)
    for parameter in model.parameters():  # blocks begin as the identity
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(parameter))) / 10)
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "SmallAutoencoder", **OLD}))
    loaded = SmallAutoencoder.from_pretrained(tmp_path)
    before = nn.Sequential(
        nn.Conv2d(4, 12, 3, padding=1),
        ResidualBlock(12),
        ResidualBlock(12),
        nn.Conv2d(12, 32, 3, padding=1),
        nn.PixelShuffle(2),
        ResidualBlock(8),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.PixelShuffle(2),
    )
    before.load_state_dict(model.decoder.state_dict())
    latents: Tensor = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(loaded.decode(latents).sample, before(latents))
    assert loaded.config.decoder_channels is None and loaded.config.scaling_factor == 0.5


def test_folded_latents_are_the_same_numbers_on_a_coarser_grid() -> None:
    plain, folded = (
        SmallAutoencoder(**OLD),
        SmallAutoencoder(**OLD | {"latent_channels": 4 * OLD["latent_channels"]}, fold=2),
    )
    folded.load_state_dict(plain.state_dict())
    pictures = torch.rand(2, 3, 32, 64)
    latents, coarse = (model.encode(pictures).latent_dist.mode() for model in (plain, folded))
    batch, channels, height, width = latents.shape
    assert coarse.shape == (batch, 4 * channels, height // 2, width // 2)
    assert folded.downsample == 2 * plain.downsample
    assert torch.equal(folded.decode(coarse).sample, plain.decode(latents).sample)


def test_channels_that_cannot_be_folded_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of fold"):
        SmallAutoencoder(latent_channels=6, fold=2)


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"fold": 2}, {"full_resolution_channels": 4}])
def test_tiles_and_slices_give_the_whole_image(changes: dict[str, int]) -> None:
    """Larger than a tile on both sides, and no multiple of one; without seams."""
    torch.manual_seed(0)
    vae = SmallAutoencoder((8, 8, 8), (1, 2, 1), latent_channels=4, **changes)
    for weights in vae.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    side = 2 if "fold" in changes else 1
    latents = torch.randn(2, 4, 40 // side, 70 // side)
    whole = vae.decode(latents).sample
    rounding = {"atol": 1e-4 * float(whole.std()), "rtol": 0.0}
    vae.enable_slicing()
    sliced = vae.decode(latents).sample
    vae.enable_tiling()
    seen: list[int] = []
    vae.decoder.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[-1]))
    torch.testing.assert_close(sliced, whole, **rounding)
    torch.testing.assert_close(vae.decode(latents).sample, whole, **rounding)
    assert len(seen) == 2 * 2 * 3 and max(seen) < 70
    vae.disable_slicing()
    vae.disable_tiling()
    torch.testing.assert_close(vae.decode(latents).sample, whole, **rounding)
    assert seen[-1] == 70
