"""The bundled model comes out of this code: its first 20 steps, made again from shipped detector and autoencoder."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.files import write_json
from detdiffusion.detectors import BUNDLED, load_detector
from training.autoencoder.loading import load_autoencoder
from training.data.papercut.classes import STUFF, THINGS
from training.data.papercut.scene import scene
from training.generator.batch import SampleStore, batch_indices
from training.generator.config import PRESETS, TRAIN_PRESETS
from training.generator.model import small_model
from training.generator.samples import encode_scenes, label_scenes
from training.generator.trainer import train_generator

pytestmark = pytest.mark.model


class Enough(Exception):
    pass


@pytest.mark.xfail(reason="the bundled generator learned in the world before its twelve causes", strict=True)
def test_the_first_steps_give_the_losses_of_the_shipped_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = json.loads((BUNDLED_MODEL / "first_losses.json").read_text())["total"]
    bundle, config = PRESETS["cpu"], TRAIN_PRESETS["papercut-cpu"]
    assert bundle.generator == config
    autoencoder = load_autoencoder(BUNDLED_MODEL)
    count = bundle.samples.scenes
    wanted = [index for step in range(len(expected)) for index in batch_indices(count, config, step)]
    made = [
        scene(bundle.samples.first_scene + index, size=bundle.image_size, hard_share=bundle.samples.hard_share)
        for index in wanted
    ]
    layouts = label_scenes(made, load_detector(BUNDLED, BUNDLED_MODEL), bundle.samples)
    save_file(encode_scenes(made, autoencoder), tmp_path / "chunk-00000.safetensors")
    write_json(tmp_path / "chunk-00000.json", [layout.to_json() for layout in layouts])
    # The store holds these samples alone, in the order in which the steps ask for them.
    monkeypatch.setattr(
        "training.generator.batch.batch_indices",
        lambda _count, of, step: list(range(step * of.batch, (step + 1) * of.batch)),
    )
    found: list[float] = []

    def look(done: int, total: int, metrics: dict[str, float]) -> None:
        found.append(metrics["total"])
        if done == len(expected):
            raise Enough

    pipe = small_model(config, THINGS, STUFF, autoencoder)
    with pytest.raises(Enough):
        train_generator(pipe, SampleStore.load(tmp_path), config, tmp_path / "run", torch.device("cpu"), look)
    # The detector and the autoencoder are shipped in half precision, and not every processor sums in the same order.
    assert found == pytest.approx(expected, abs=0.01)
