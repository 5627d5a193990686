"""The baselines that ship beside the bundled model: whole, comparable, and able to draw."""

from pathlib import Path

import numpy as np
import pytest

from detdiffusion.core.parts import part_folder
from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.layout import Layout

pytestmark = pytest.mark.model

MODELS = Path(__file__).resolve().parents[2] / "assets/models"


@pytest.mark.parametrize("name", ["geodiffusion", "controlnet"])
def test_a_baseline_draws_the_bundled_models_layouts(name: str) -> None:
    folder, ours = MODELS / f"papercut-{name}", MODELS / "papercut"
    assert part_folder(folder, "vae") == ours / "vae", "one autoencoder"
    assert not any(path.is_symlink() for path in folder.rglob("*")), "links break in archives and on Windows"
    pipe = load_pipeline(folder)  # checks every SHA-256
    own = load_pipeline(ours)
    assert pipe.vocabulary.labels == own.vocabulary.labels
    assert not pipe.vocabulary.attribute_words
    assert (getattr(pipe, "controlnet", None) is not None) == (name == "controlnet")
    layout = Layout.from_json((MODELS / "papercut/layouts/1-street.json").read_bytes())
    drawn = pipe([layout], seeds=[7], steps=2).images[0]
    assert drawn.size == (256, 256)
    assert np.asarray(drawn).std() > 10
