"""A whole model of some tens of thousands of random weights: the classes of the real ones, other sizes."""

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch
from diffusers import AutoencoderKL

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.diffusion.untrained import new_pipeline
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.text.vocabulary import Vocabulary

MakePipeline: TypeAlias = Callable[..., DetDiffusionPipeline]
UNET = {
    "sample_size": 8,
    "block_out_channels": (8, 8, 16, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def small_autoencoder() -> SmallAutoencoder:
    return SmallAutoencoder(block_out_channels=(8, 8, 8), layers_per_block=(1, 1, 1), latent_channels=4)


def build_kl_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
    )


def build(vocabulary: Vocabulary, **changes: Any) -> DetDiffusionPipeline:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        autoencoder = changes.pop("autoencoder", small_autoencoder)()
    values: dict[str, Any] = {
        "unet_config": UNET,
        "text_config": TEXT,
        "autoencoder": autoencoder,
        "scheduler_config": {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
        "blueprint_config": {},
        "head_config": {"width": 8},
        "seed": 0,
    }
    return new_pipeline(vocabulary, **{**values, **changes})


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary(things=("car", "traffic light"), stuff=("road",), grid=(8, 8))


@pytest.fixture(scope="session")
def tiny_pipeline(vocabulary: Vocabulary) -> DetDiffusionPipeline:
    return build(vocabulary)


@pytest.fixture(scope="session")
def make_pipeline() -> MakePipeline:
    """make_pipeline(vocabulary, **changes): another tiny model; changes are arguments of `new_pipeline`."""
    return build


@pytest.fixture(scope="session")
def kl_autoencoder() -> Callable[[], AutoencoderKL]:
    """Makes diffusers' own autoencoder, for `make_pipeline(..., autoencoder=kl_autoencoder)`."""
    return build_kl_autoencoder


@pytest.fixture(scope="session")
def layout_of() -> Callable[..., Layout]:
    """layout_of(n): n objects, always the same ones; layout_of(n + 1) adds one behind them."""

    def make(count: int, size: int = 64) -> Layout:
        labels = ("road", "car", "traffic light")
        boxes = []
        for i in range(count):
            x, y = (i * 0.37) % 0.6, (i * 0.23) % 0.6
            boxes.append(Box(labels[i % 3], (x, y, x + 0.2 + 0.01 * (i % 7), y + 0.3), list(Attribute)[i % 2]))
        return Layout(size, size, tuple(boxes))

    return make
