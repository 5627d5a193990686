"""Frechet's distance against its formula, and FID through a file of random weights (nothing is downloaded)."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm
from torch_fidelity import feature_extractor_inceptionv3 as fidelity
from torchmetrics.image.fid import FrechetInceptionDistance

from detdiffusion.errors import CheckpointError
from detdiffusion.evaluation.fid import FeatureTeller, Inception, Moments, frechet_distance, load_inception


def moments(rows: np.ndarray, batch: int = 7) -> Moments:
    found = Moments()
    for start in range(0, len(rows), batch):
        found.add(rows[start : start + batch])
    return found


def plain_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Heusel et al., 2017, equation 6, as it stands."""
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1]).real
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(covariances[0] + covariances[1] - 2 * root))


def test_moments_of_batches() -> None:
    rows = np.random.default_rng(0).normal(3, 2, (40, 5)).astype(np.float32)
    found = moments(rows)
    assert found.count == 40
    assert found.mean == pytest.approx(rows.astype(np.float64).mean(0))
    for part in (found, moments(rows[:4])):  # more and fewer rows than features
        covariance = np.cov(rows[: part.count].astype(np.float64), rowvar=False)
        assert part.factor().T @ part.factor() == pytest.approx(covariance)


@pytest.mark.parametrize(("rows", "width"), [(60, 8), (200, 3), (50, 1)])
def test_distance_is_the_formula(rows: int, width: int) -> None:
    rng = np.random.default_rng(width)
    a, b = rng.normal(0, 1, (rows, width)), rng.normal(0.4, 2, (rows, width)) @ rng.normal(0, 1, (width, width))
    expected = (
        plain_distance(a, b) if width > 1 else np.square(a.mean() - b.mean()) + np.square(a.std(ddof=1) - b.std(ddof=1))
    )
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(expected, rel=1e-6)


def test_distance_of_few_rows() -> None:
    """Fewer rows than features: covariances of low rank, and no noise of half the digits."""
    rows = np.random.default_rng(1).normal(0, 1, (6, 50))
    assert frechet_distance(moments(rows), moments(rows)) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(moments(rows), moments(rows + 2)) == pytest.approx(200)
    assert np.isnan(frechet_distance(moments(rows[:1]), moments(rows)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A file of Inception's form with random weights, and its SHA-256."""
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.save(fidelity.FeatureExtractorInceptionV3("random", ["2048"]).state_dict(), path)
    yield path, hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()


def pictures(seed: int, count: int, side: int = 40) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)) for _ in range(count)]


def tensor(images: list[Image.Image]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)


@pytest.mark.slow
def test_inceptions_features_are_fidelitys(weights: tuple[Path, str]) -> None:
    inception = load_inception(weights[0], sha256=weights[1])
    network = fidelity.FeatureExtractorInceptionV3("it", ["2048"], feature_extractor_weights_path=str(weights[0]))
    found = inception.features(pictures(0, 2))
    assert found == pytest.approx(network(tensor(pictures(0, 2)))[0].numpy(), rel=1e-5)
    assert (found.shape, inception.sha256) == ((2, 2048), weights[1])
    assert isinstance(inception, FeatureTeller)


@pytest.mark.parametrize("count", [8, 80])
def test_fid_is_that_of_torchmetrics(weights: tuple[Path, str], count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Inception's first 64 features of small pictures, with fewer and with more pictures than features."""
    monkeypatch.setattr(fidelity.FeatureExtractorInceptionV3, "INPUT_IMAGE_SIZE", 31)
    metric = FrechetInceptionDistance(64, feature_extractor_weights_path=str(weights[0]), antialias=False)
    real, drawn = pictures(0, count, 8), [image.point(lambda v: v // 2) for image in pictures(1, count, 8)]
    metric.update(tensor(real), real=True)
    metric.update(tensor(drawn), real=False)
    inception = Inception(metric.inception, weights[1])
    distance = frechet_distance(moments(inception.features(real)), moments(inception.features(drawn)))
    assert distance == pytest.approx(float(metric.compute()), rel=1e-4) and distance > 0


def test_another_file_is_refused_before_it_is_read(weights: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such file; FID needs .*pt_inception-2015-12-05-6726825d\.pth"):
        load_inception(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match=f"SHA-256 is {weights[1]}, it needs to be 6726825d0af5"):
        load_inception(weights[0])


def test_a_pickle_of_the_right_hash_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"weights": Moments()}, path)  # any class of ours: safe loading knows none
    with pytest.raises(CheckpointError, match=r"evil\.pth holds more than weights"):
        load_inception(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_who_tells_features() -> None:
    class Teller:
        def features(self, images: list[Image.Image]) -> np.ndarray:
            return np.zeros((len(images), 2))

    assert isinstance(Teller(), FeatureTeller) and not isinstance(object(), FeatureTeller)
