"""A studio with a tiny random model and a detector that sees what it is told to see."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from app.engine import detectors, own_detectors
from app.engine.studio import Studio, open_studio
from detdiffusion.detection import Detections
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.drawing import Drawing
from detdiffusion.diffusion.manifest import write_manifest
from detdiffusion.diffusion.untrained import new_pipeline
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.cause_classifier import CauseClassifier, CauseConfig
from detdiffusion.text.vocabulary import Vocabulary

BUS = (0.1, 0.2, 0.5, 0.6)
CAR = (0.6, 0.5, 0.9, 0.9)


class Watcher:
    """Finds the bus in every picture, and the car in the first of a batch only."""

    name, sha256, labels, min_score = "watcher", "0" * 64, ("bus", "car"), 0.5

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        return [self._seen(i) for i in range(len(images))]

    def _seen(self, index: int) -> Detections:
        scores = np.array([0.9, 0.8 if index == 0 else 0.2], np.float32)
        return Detections(("bus", "car"), scores, np.array([BUS, CAR], np.float32))


def save_model(folder: Path, **words: Any) -> Path:
    """A whole model of some tens of thousands of random weights; `words` are of its vocabulary."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        autoencoder = SmallAutoencoder(block_out_channels=(8, 8, 8), layers_per_block=(1, 1, 1), latent_channels=4)
    blocks = ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")
    pipeline = new_pipeline(
        Vocabulary(things=("bus", "car"), stuff=("road",), grid=(8, 8), **words),
        unet_config={
            "sample_size": 8,
            "block_out_channels": (8, 8, 16, 16),
            "down_block_types": blocks,
            "up_block_types": tuple(block.replace("Down", "Up") for block in reversed(blocks)),
            "layers_per_block": 1,
            "attention_head_dim": 2,
            "norm_num_groups": 4,
        },
        text_config={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        autoencoder=autoencoder,
        scheduler_config={"prediction_type": "v_prediction"},
        blueprint_config={},
        head_config=None,
        seed=0,
    )
    save_pipeline(pipeline, folder)
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def telling_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a classifier of causes, which is sure of a bus that it is blurred, and of nothing else."""
    folder = save_model(tmp_path_factory.mktemp("telling") / "telling")
    causes = {"colour": "unusual colour", "blur": "blurred"}
    config = CauseConfig(("bus",), causes, {"blur": 0.9}, side=8, widths=(4,), embedding=2)
    network = config.network()
    last = network.head[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, 0.0, 9.0]))
    CauseClassifier(config, network).save(folder / "causes")
    write_manifest(folder)
    return folder


@pytest.fixture(scope="session")
def silent_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without words for attributes, as GeoDiffusion's."""
    return save_model(tmp_path_factory.mktemp("silent") / "silent", attribute_words=())


@pytest.fixture
def street() -> dict[str, Any]:
    """A layout in its public JSON form."""
    return {
        "width": 64,
        "height": 64,
        "objects": [
            {"label": "bus", "box": list(BUS), "attribute": "easy"},
            {"label": "car", "box": list(CAR), "attribute": "hard"},
            {"label": "road", "box": [0.0, 0.5, 1.0, 1.0], "attribute": "background"},
        ],
    }


@pytest.fixture
def studio(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    for module in (detectors, own_detectors):
        monkeypatch.setattr(module, "load_detector", lambda *_: Watcher())
    return open_studio(model_folder, tmp_path / "workspace")


@pytest.fixture
def telling_studio(telling_folder: Path, studio: Studio, tmp_path: Path) -> Studio:
    return open_studio(telling_folder, tmp_path / "workspace")


@pytest.fixture
def silent_studio(silent_folder: Path, studio: Studio, tmp_path: Path) -> Studio:
    return open_studio(silent_folder, tmp_path / "workspace")


@pytest.fixture
def _last_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a safety checker that finds fault with the last picture of every batch."""
    pictures = Drawing.images

    def checked(drawing: Drawing, *arguments: Any) -> tuple[torch.Tensor, list[bool]]:
        images = pictures(drawing, *arguments)[0].clone()
        images[-1] = 0
        return images, [*[False] * (len(images) - 1), True]

    monkeypatch.setattr(Drawing, "images", checked)


@pytest.fixture
def two_models(studio: Studio, silent_folder: Path, tmp_path: Path) -> Studio:
    """A studio beside whose model ships another."""
    return open_studio(studio.models.home, tmp_path / "two", bundled=silent_folder)
