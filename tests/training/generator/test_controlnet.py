"""A published ControlNet with its colour map, and the Stable Diffusion folder that it steers, become a model."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.errors import CheckpointError, ConfigError
from detdiffusion.layout import Layout
from training.__main__ import main
from training.generator.controlnet import read_colours

pytestmark = pytest.mark.slow

LAYOUT = {"width": 64, "height": 64, "objects": [{"label": "person", "box": [0, 0, 0.5, 1]}]}
COLOURS = {"person": [150, 5, 61], "sky": "#06E6E6"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, published: ModuleType) -> Path:
    folder: Path = published.write_stable_diffusion(tmp_path_factory.mktemp("base") / "sd", safety=False)
    return folder


def write_controlnet(base: Path, folder: Path, **changes: Any) -> Path:
    """As diffusers saves a trained one: its last layers are not zero."""
    unet = UNet2DConditionModel.from_pretrained(str(base / "unet"), local_files_only=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 16, 16, 16), **changes)
        last = (*control.controlnet_down_blocks, control.controlnet_mid_block)
        for layer in (*last, control.controlnet_cond_embedding.conv_out):
            torch.nn.init.normal_(layer.weight, std=0.5)
    control.save_pretrained(str(folder), variant="fp16")
    return folder


def write_colours(path: Path, values: Any = COLOURS) -> Path:
    path.write_text(json.dumps(values))
    return path


def test_a_controlnet_becomes_a_model_that_sees_its_own_colours(base: Path, tmp_path: Path) -> None:
    control, colours = write_controlnet(base, tmp_path / "control"), write_colours(tmp_path / "colours.json")
    words = ["convert", str(base), str(tmp_path / "model"), "--controlnet", str(control), "--colours", str(colours)]
    assert main(words) == 0
    pipe = load_pipeline(tmp_path / "model")
    assert pipe.vocabulary.labels == ("person", "sky")
    raw = pipe.draw_layouts([Layout.from_json(LAYOUT)], (8, 8))
    assert raw is not None
    seen = (raw[0] * 255).round().int()
    assert seen[:, 32, 10].tolist() == [150, 5, 61] and seen[:, 32, 50].tolist() == [0, 0, 0]
    how: dict[str, Any] = {"seeds": [1], "steps": 1, "output_type": "latent", "dtype": torch.float32}
    wide = {**LAYOUT, "objects": [{"label": "person", "box": [0, 0, 1, 1]}]}
    assert not torch.allclose(pipe(LAYOUT, **how).images, pipe(wide, **how).images, atol=1e-3), "words are the same"


def test_a_controlnet_of_another_architecture_is_refused_with_what_differs(
    base: Path, tmp_path: Path, published: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    control, colours = write_controlnet(base, tmp_path / "control"), write_colours(tmp_path / "colours.json")
    config = json.loads((control / "config.json").read_text())
    (control / "config.json").write_text(json.dumps({**config, "cross_attention_dim": 32}))
    words = ["convert", str(base), str(tmp_path / "model"), "--controlnet", str(control), "--colours", str(colours)]
    assert main(words) == 2
    assert "cannot be read as a ControlNet: " in capsys.readouterr().err
    assert main(words[:-2]) == 2
    assert "--controlnet and --colours belong together" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "needs to be an object of class names and colours"),
        ({"person": [150, 5]}, r"the colour of person is \[150, 5\]; it needs to be \[red, green, blue\], 0 to 255"),
        ({"person": [150, 5, 256]}, "the colour of person"),
        ({"person": "red"}, "colours needs to be one '#rrggbb' for each of 1 classes"),
    ],
)
def test_what_is_no_colour_map_is_named(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_colours(write_colours(tmp_path / "colours.json", values))


def test_what_is_no_controlnet_is_named(base: Path, tmp_path: Path) -> None:
    from training.generator.controlnet import with_controlnet

    vocabulary = read_colours(write_colours(tmp_path / "colours.json"))
    with pytest.raises(CheckpointError, match=r"is no folder of a ControlNet: it holds no config\.json"):
        with_controlnet(base, tmp_path, vocabulary)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"holds no \.safetensors"):
        with_controlnet(base, tmp_path, vocabulary)
