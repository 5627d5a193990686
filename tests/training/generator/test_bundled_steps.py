"""A training that begins as the bundled model: its first steps give the losses that were written down beside it, from
the world, the detector's labels, the autoencoder, the model and the loss.

`PYTHONPATH=. python tests/training/generator/test_bundled_steps.py` writes them down: once for every model that ships.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

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
from training.generator.config import PRESETS
from training.generator.model import small_model
from training.generator.samples import encode_scenes, label_scenes
from training.generator.trainer import train_generator

pytestmark = [pytest.mark.long, pytest.mark.model]

FILE = BUNDLED_MODEL / "first_losses.json"
STEPS = 3


def losses(folder: Path) -> list[float]:
    """Of the first steps, each total."""
    bundle = PRESETS["cpu"]
    config = replace(bundle.generator, start=str(BUNDLED_MODEL), steps=STEPS)
    autoencoder = load_autoencoder(BUNDLED_MODEL)
    wanted = [index for step in range(STEPS) for index in batch_indices(bundle.samples.scenes, config, step)]
    first, share = bundle.samples.first_scene, bundle.samples.hard_share
    made = [scene(first + index, size=bundle.image_size, hard_share=share) for index in wanted]
    layouts = label_scenes(made, load_detector(BUNDLED, BUNDLED_MODEL), bundle.samples)
    save_file(encode_scenes(made, autoencoder), folder / "chunk-00000.safetensors")
    write_json(folder / "chunk-00000.json", [layout.to_json() for layout in layouts])
    found: list[float] = []
    pipe = small_model(config, THINGS, STUFF, autoencoder)
    store = SampleStore.load(folder)  # these samples alone, in the order in which the steps ask for them
    with patch(
        "training.generator.batch.batch_indices", lambda _, of, step: range(step * of.batch, (step + 1) * of.batch)
    ):
        train_generator(
            pipe, store, config, folder / "run", torch.device("cpu"), lambda *step: found.append(step[2]["total"])
        )
    return found


def test_the_first_steps_give_the_losses_that_were_written_down(tmp_path: Path) -> None:
    # Not every processor sums in the same order.
    assert losses(tmp_path) == pytest.approx(json.loads(FILE.read_text())["total"][:STEPS], abs=0.003)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        about = "losses of the first steps of a training that begins as this model (test_bundled_steps.py)"
        write_json(FILE, {"about": about, "total": [round(loss, 5) for loss in losses(Path(place))]})
