"""A training that goes on from a trained model: its networks, its words, its weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.diffusion.manifest import VOCABULARY_FILE
from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.errors import CheckpointError, ConfigError
from detdiffusion.sampling_config import Recommended
from training.__main__ import main
from training.autoencoder.loading import load_autoencoder
from training.data.papercut.classes import STUFF, THINGS
from training.generator.config import FINE_TUNE, TRAIN_PRESETS
from training.generator.going_on import config_like
from training.generator.model import small_model
from training.generator.start import start_from

LESSONS = TRAIN_PRESETS[FINE_TUNE]


@pytest.mark.model
def test_a_config_like_the_bundled_model() -> None:
    config = config_like(BUNDLED_MODEL, LESSONS)
    assert (config.steps, config.size, config.grid) == (LESSONS.steps, (256, 256), (32, 32))
    pipe = small_model(config, THINGS, STUFF, load_autoencoder(BUNDLED_MODEL))
    assert start_from(pipe, BUNDLED_MODEL) == 1.0, "every weight is given"
    assert json.loads(json.dumps(config.to_json())) == config.to_json()


@pytest.mark.slow
@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(
    "preset",
    [
        "papercut-cpu",
        pytest.param("papercut-cpu-geodiffusion", marks=pytest.mark.long),
        pytest.param("papercut-cpu-controlnet", marks=pytest.mark.long),
    ],
)
def test_a_model_of_ones_own_goes_on(papercut: Any, tmp_path: Path, preset: str) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    interval = [0.0, 0.8 if "geodiffusion" in preset else 0.7]  # the preset's own, and another one
    wanted = ['sampling={"steps": 6, "guidance_scale": 1.5}', "sampler=sde-dpm++"]
    if preset == "papercut-cpu":
        wanted.append('tag_guidance={"strength": 0.25, "noisiest": 0.5}')
    control = ["blueprint=null", 'controlnet={"embedding_channels": [4, 4, 4, 4]}'] if "controlnet" in preset else []
    assert (
        main(papercut.words(first, "steps=1", f"guidance_interval={interval}", *wanted, *control, preset=preset)) == 0
    )
    words = ["train", "--preset", FINE_TUNE, "--data", papercut.data, "--attributes", papercut.attributes]
    words += ["--base", first / "model", "--out", second, "--detector", "none"]
    words += ["--set", "steps=2", "learning_rate=1e-9", "batch=2", "micro_batch=2", "sample_steps=2", "sampler_steps=1"]
    assert main(list(map(str, words))) == 0
    before, after = load_pipeline(first / "model"), load_pipeline(second / "model")
    assert after.vocabulary == before.vocabulary
    for ours, theirs in zip(after.unet.parameters(), before.unet.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3), "it began as the other one, and learned next to nothing"
    assert list(after.config.guidance_interval) == list(before.config.guidance_interval) == interval
    assert after.recommended == before.recommended == Recommended(6, 1.5)
    assert after.config.get("tag_guidance") == before.config.get("tag_guidance")
    assert ("tag_guidance" in after.config) == (preset == "papercut-cpu")
    assert after.scheduler.config.algorithm_type == before.scheduler.config.algorithm_type == "sde-dpmsolver++"
    names = sorted(path.name for path in (second / "samples").iterdir())
    assert names == ["step-00000000.png", "step-00000002.png"], "also as it begins"
    saved = json.loads((second / "config.json").read_text())
    assert (saved["preset"], saved["config"]["start"]) == (FINE_TUNE, str(first / "model"))
    assert main(list(map(str, words))) == 0, "the same command is the same run"


@pytest.mark.model
def test_a_model_that_began_as_stable_diffusion_is_told_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    shutil.copy(BUNDLED_MODEL / VOCABULARY_FILE, tmp_path)
    with pytest.raises(ConfigError, match="go on with an sd15 preset and --base"):
        config_like(tmp_path, LESSONS)


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no DetDiffusion model"):
        config_like(tmp_path, LESSONS)
