"""Distances between two sets of pictures: FID by torchmetrics and torch-fidelity, Frechet's distance of any features.

Inception's weights are a file that the user has; nothing is downloaded, and nothing else is ever called FID.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from detdiffusion.core.files import bytes_hash
from detdiffusion.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from PIL import Image

# Published by pytorch-fid; torch-fidelity has the same file under the name weights-inception-2015-12-05-6726825d.pth.
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

Features = NDArray[np.floating[Any]]
Matrix = NDArray[np.float64]


@runtime_checkable
class FeatureTeller(Protocol):
    """Whoever tells what it sees a picture as: Inception, and some detectors."""

    def features(self, images: Sequence[Image.Image]) -> Features:
        """[B, D]."""
        ...


class Moments:
    """Mean and covariance of features [B, D] that come in batches, in double precision and in memory of D x D."""

    def __init__(self) -> None:
        self.count = 0
        self._rows: list[Matrix] = []  # until there are D of them: a short cut, since their covariance has no more rank
        self._sum = self._products = np.zeros(())

    def add(self, features: Features) -> None:
        """[B, D]."""
        rows = np.asarray(features, np.float64)
        self._rows.append(rows)
        self.count += len(rows)
        self._sum = self._sum + rows.sum(axis=0)
        if self.count > rows.shape[1]:
            self._products = self._products + sum(part.T @ part for part in self._rows)
            self._rows = []

    @property
    def mean(self) -> Matrix:
        """[D]."""
        return np.asarray(self._sum / self.count)

    def factor(self) -> Matrix:
        """F [K, D] with F^T F = the unbiased covariance; needs two rows."""
        if self._rows:
            return np.asarray((np.concatenate(self._rows) - self.mean) / np.sqrt(self.count - 1))
        covariance = (self._products - self.count * np.outer(self.mean, self.mean)) / (self.count - 1)
        values, vectors = np.linalg.eigh(covariance)
        return np.asarray(np.sqrt(values.clip(min=0))[:, None] * vectors.T)


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Heusel et al., 2017); NaN with fewer than two rows a side.

    With C = F^T F the trace of that root is the sum of the singular values of F_a F_b^T: no root of a matrix is taken,
    and no digits are lost where there are fewer pictures than features.
    """
    if min(a.count, b.count) < 2:
        return float("nan")
    one, other = a.factor(), b.factor()
    shared = np.linalg.svd(one @ other.T, compute_uv=False).sum()
    return float(np.square(a.mean - b.mean).sum() + np.square(one).sum() + np.square(other).sum() - 2 * shared)


class Inception:
    """The network of FID. Pictures are enlarged as in the original TensorFlow code (torch-fidelity's: no antialias)."""

    def __init__(self, network: Any, sha256: str) -> None:
        self._network = network
        self.sha256 = sha256

    def features(self, images: Sequence[Image.Image]) -> Features:
        """Pictures of one size -> [B, 2048]."""
        import torch

        pixels = torch.from_numpy(np.stack([np.asarray(image.convert("RGB")) for image in images]))  # [B, H, W, 3]
        device = next(self._network.parameters()).device
        with torch.inference_mode():
            found = self._network(pixels.permute(0, 3, 1, 2).to(device))
        return np.asarray(found.cpu())


def load_inception(path: Path, *, sha256: str = INCEPTION_SHA256, device: torch.device | str = "cpu") -> Inception:
    """FID's network from its weights file, checked before it is read.

    Raises:
        CheckpointError: the file is missing or another one; the text says which file is needed.
    """
    from torch import load, save
    from torchmetrics.image.fid import FrechetInceptionDistance

    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; FID needs Inception's weights, {INCEPTION_FILE}")
    content = path.read_bytes()
    found = bytes_hash(content)
    if found != sha256:
        raise CheckpointError(
            f"{path} is not {INCEPTION_FILE}, or it is damaged: its SHA-256 is {found}, it needs to be {sha256}"
        )
    plain = io.BytesIO()
    try:
        save(load(io.BytesIO(content), map_location="cpu", weights_only=True), plain)
    except UnpicklingError as error:
        raise CheckpointError(f"{path} holds more than weights, and could run code: it is refused") from error
    plain.seek(0)  # torch-fidelity unpickles what it is given: it gets what safe loading has let through
    weights: Any = plain
    metric = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=weights, antialias=False)
    return Inception(metric.inception.to(device), sha256)
