"""The small autoencoder learns, and a stopped training goes on bit-equal."""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from detdiffusion.models.autoencoder import SmallAutoencoder
from training.autoencoder.config import AutoencoderConfig
from training.autoencoder.recipe import psnr, random_crops, reconstruction_loss, train_autoencoder
from training.core.schedule import warmup_cosine

TINY = AutoencoderConfig(
    block_out_channels=(8, 16),
    layers_per_block=(1, 1),
    latent_channels=4,
    decoder_channels=(8, 16),
    decoder_layers=(1, 1),
    full_resolution_channels=4,
    steps=40,
    decoder_steps=0,
    batch=4,
    crop=16,
    learning_rate=5e-3,
    warmup_steps=5,
    checkpoint_steps=10,
)


class Killed(Exception):
    pass


@pytest.fixture
def pictures() -> np.ndarray:
    rng = np.random.default_rng(0)
    flat = rng.integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
    return flat.repeat(8, axis=1).repeat(8, axis=2)  # [8, 32, 32, 3]


@pytest.mark.slow
def test_it_learns(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (8, 1, 1, 3), dtype=np.uint8)
    pictures = pictures.repeat(32, axis=1).repeat(32, axis=2)  # sheets of one colour
    losses: list[float] = []
    longer = dataclasses.replace(TINY, steps=200, checkpoint_steps=200)
    train_autoencoder(pictures, longer, tmp_path, torch.device("cpu"), lambda *r: losses.append(r[2]["loss"]))
    assert len(losses) == longer.steps and np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


class Mean:
    """A detector whose early features are pictures, smaller."""

    sha256 = "e" * 64

    def early_features(self, pictures: Tensor) -> list[Tensor]:
        return [avg_pool2d(pictures, 2), avg_pool2d(pictures, 4)]


@pytest.mark.parametrize("killed_at", [7, 12, 13, 17])  # in either phase, at its end, at the other's first step
def test_a_killed_training_goes_on_bit_equal(pictures: np.ndarray, tmp_path: Path, killed_at: int) -> None:
    def kill(done: int, total: int, metrics: dict[str, float]) -> None:
        assert total == 20
        if done == killed_at:
            raise Killed

    config = dataclasses.replace(TINY, steps=12, decoder_steps=8, checkpoint_steps=5)
    run = partial(train_autoencoder, pictures, config, device=torch.device("cpu"), detector=Mean())  # type: ignore[arg-type]
    whole = run(out=tmp_path / "whole", on_step=lambda *_: None)
    with pytest.raises(Killed):
        run(out=tmp_path / "cut", on_step=kill)
    resumed = run(out=tmp_path / "cut", on_step=lambda *_: None)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_the_second_phase_teaches_the_decoder_alone(pictures: np.ndarray, tmp_path: Path) -> None:
    first = dataclasses.replace(TINY, steps=3)
    metrics: list[dict[str, float]] = []
    run = partial(train_autoencoder, pictures, device=torch.device("cpu"), detector=Mean())  # type: ignore[arg-type]
    before = run(first, out=tmp_path / "first", on_step=lambda *_: None)
    both = dataclasses.replace(first, decoder_steps=3)
    after = run(both, out=tmp_path / "both", on_step=lambda *step: metrics.append(step[2]))
    assert after.config.scaling_factor == before.config.scaling_factor
    for (name, a), b in zip(before.state_dict().items(), after.state_dict().values(), strict=True):
        assert torch.equal(a, b) == name.startswith("encoder."), name
    assert ["critic" in step for step in metrics] == [False] * 3 + [True] * 3


def test_a_detector_that_shows_no_features_changes_nothing(pictures: np.ndarray, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, steps=1, decoder_steps=2)
    run = partial(train_autoencoder, pictures, config, device=torch.device("cpu"), on_step=lambda *_: None)
    alone, beside, taught = (
        run(out=tmp_path / str(number), detector=detector)  # type: ignore[arg-type]
        for number, detector in enumerate((None, object(), Mean()))
    )
    weights = [
        torch.cat([value.flatten() for value in model.state_dict().values()]) for model in (alone, beside, taught)
    ]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_shapes_and_folder(pictures: np.ndarray, tmp_path: Path) -> None:
    train_autoencoder(pictures, dataclasses.replace(TINY, steps=1), tmp_path, torch.device("cpu"), lambda *_: None)
    model = SmallAutoencoder.from_pretrained(tmp_path / "model")
    latents = model.encode(torch.zeros(2, 3, 32, 32)).latent_dist.mode()
    assert latents.shape == (2, 4, 8, 8) and model.downsample == 4
    assert model.decode(latents).sample.shape == (2, 3, 32, 32)
    assert model.config.scaling_factor != 1.0


def test_crops_depend_on_seed_and_step_alone(pictures: np.ndarray) -> None:
    assert torch.equal(random_crops(pictures, TINY, 3), random_crops(pictures, TINY, 3))
    assert not torch.equal(random_crops(pictures, TINY, 3), random_crops(pictures, TINY, 4))


def test_loss_and_psnr_by_hand() -> None:
    target, restored = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    assert float(reconstruction_loss(restored, target, 0.0)) == pytest.approx(0.5)
    assert float(reconstruction_loss(restored, target, 1.0)) == pytest.approx(0.5 + 1.0)
    assert psnr(restored, target) == pytest.approx(10 * np.log10(4 / 0.5), abs=1e-4)


@pytest.mark.parametrize(("step", "share"), [(0, 0.1), (9, 1.0), (10, 1.0), (60, 0.5), (110, 0.0)])
def test_learning_rate(step: int, share: float) -> None:
    assert warmup_cosine(step, 110, 10) == pytest.approx(share)
