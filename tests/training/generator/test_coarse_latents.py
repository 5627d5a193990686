"""Latent cells of 16 pixels: a finer blueprint, finer masks and a ControlNet, from scenes to images."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from detdiffusion.core.files import write_json
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.masks import object_attention, object_masks
from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.layout import Attribute
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.config import LossConfig
from training.data.papercut.classes import STUFF, THINGS
from training.data.papercut.scene import scenes
from training.generator.batch import SampleStore
from training.generator.config import GeneratorConfig
from training.generator.model import small_model
from training.generator.samples import encode_scenes
from training.generator.trainer import train_generator

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
UNET = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}


@pytest.fixture
def coarse(tiny: GeneratorConfig) -> GeneratorConfig:
    blueprint, head = {"out_channels": 12, "scale": 4}, {"width": 8, "scale": 2}
    return dataclasses.replace(tiny, unet=UNET, blueprint=blueprint, head=head, steps=2, batch=2, micro_batch=2)


def controlled(config: GeneratorConfig) -> GeneratorConfig:
    plain = {"blueprint": None, "head": None, "loss": LossConfig(perception_weight=0)}
    return dataclasses.replace(config, **plain, controlnet={"embedding_channels": (4, 4, 4, 4, 8)}, location_text="")


@pytest.mark.parametrize("control", [False, True], ids=["blueprint", "controlnet"])
def test_it_learns_draws_and_is_loaded_again(coarse: GeneratorConfig, tmp_path: Path, control: bool) -> None:
    config = controlled(coarse) if control else coarse
    with torch.random.fork_rng():
        torch.manual_seed(0)
        autoencoder = SmallAutoencoder((8, 8, 8, 8), (1, 1, 1, 1), 16).eval()
    made = list(scenes(range(4), size=64))
    layouts = [one.layout.with_attributes([Attribute.EASY] * len(one.layout.boxes)) for one in made]
    save_file(encode_scenes(made, autoencoder, mask_scale=4), tmp_path / "chunk-00000.safetensors")
    write_json(tmp_path / "chunk-00000.json", [layout.to_json() for layout in layouts])
    store = SampleStore.load(tmp_path)
    assert store.shape == (16, 4, 4) and store.masks(0).shape[1:] == (16, 16)
    pipe = small_model(config, THINGS, STUFF, autoencoder)
    assert train_generator(pipe, store, config, tmp_path / "run", CPU, lambda *_: None) == 2
    save_pipeline(pipe, tmp_path / "model", dtype=torch.float32)
    loaded = load_pipeline(tmp_path / "model")
    images = [one(layouts[0], seeds=[0], steps=2).images[0] for one in (pipe, loaded)]
    assert images[0].size == (64, 64) and np.array_equal(*map(np.asarray, images))
    raw = pipe.draw_layouts(layouts, (4, 4))
    assert raw is not None and raw.shape[-2:] == ((64, 64) if control else (16, 16))
    shown = object_attention(loaded, images[:1], layouts[:1])
    if not control:
        shown += object_masks(loaded, [Image.new("RGB", (64, 64))], layouts[:1])
    assert {maps.shape for maps in shown} == {(len(layouts[0].boxes), 64, 64)}
