"""A larger autoencoder begins exactly as the one that it grows from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from detdiffusion.errors import ConfigError
from detdiffusion.models.autoencoder import SmallAutoencoder
from training.autoencoder.config import AutoencoderConfig
from training.autoencoder.grow import grow
from training.autoencoder.recipe import train_autoencoder

SMALL = {"block_out_channels": (8, 12), "layers_per_block": (1, 2), "latent_channels": 4}
CONFIG = AutoencoderConfig(
    **SMALL, decoder_channels=(8, 12), decoder_layers=(2, 3), full_resolution_channels=5, steps=0, decoder_steps=3,
    batch=2, crop=16, checkpoint_steps=2, fold=2,
)  # fmt: skip


def small(**changes: object) -> SmallAutoencoder:
    """An autoencoder whose every weight says something: residual blocks too."""
    torch.manual_seed(3)
    model = SmallAutoencoder(**SMALL | {"scaling_factor": 0.5} | changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model


def large() -> SmallAutoencoder:
    return SmallAutoencoder(**SMALL, decoder_layers=(2, 3), full_resolution_channels=5)


@pytest.mark.parametrize("fold", [1, 2])
def test_it_encodes_and_decodes_as_its_start(fold: int) -> None:
    start, model = small(fold=fold, latent_channels=4 * fold**2), large()
    grow(model, start)
    pictures, plain = torch.rand(1, 3, 16, 24), small()
    latents = plain.encode(pictures).latent_dist.mode()
    assert torch.equal(model.encode(pictures).latent_dist.mode(), latents)
    assert torch.allclose(model.decode(latents).sample, plain.decode(latents).sample, atol=1e-6)
    assert model.config.scaling_factor == 0.5


def test_the_decoder_alone_learns_on_and_the_latents_stay(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), dtype=np.uint8)
    start = small()
    model = train_autoencoder(pictures, CONFIG, tmp_path, torch.device("cpu"), lambda *_: None, start=start)
    before = start.state_dict()
    assert all(torch.equal(tensor, before[f"encoder.{name}"]) for name, tensor in model.encoder.state_dict().items())
    assert any(parameter.any() for parameter in model.decoder[2].parameters())
    saved = SmallAutoencoder.from_pretrained(tmp_path / "model")
    assert (saved.config.latent_channels, saved.config.fold, saved.config.scaling_factor) == (16, 2, 0.5)
    assert saved.downsample == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latent_channels": 6}, "latent_channels"),
        ({"block_out_channels": (8, 16)}, "block_out_channels"),
        ({"decoder_layers": (1, 4)}, "no deeper"),
        ({"decoder_channels": (8, 10)}, "as wide"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        grow(large(), small(**changes))


def test_nothing_would_teach_the_encoder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give a start"):
        train_autoencoder(np.zeros((1, 16, 16, 3), np.uint8), CONFIG, tmp_path, torch.device("cpu"), lambda *_: None)
