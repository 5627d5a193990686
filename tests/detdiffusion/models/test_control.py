"""ControlNet: the layout as a picture, and a model that reads it in place of a blueprint."""

import colorsys
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.errors import CheckpointError, ConfigError, LayoutError
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.models.control import DARKER, control_images
from detdiffusion.text.prompt import encode_prompt, readable_prompt
from detdiffusion.text.vocabulary import Vocabulary

WORDS = Vocabulary(("car", "dog"), ("road",), grid=(8, 8), location_format="", attribute_words=(), padding=True)
CONTROL = {"embedding_channels": (4, 4, 8, 8)}
LAYOUT = Layout(
    64,
    64,
    (
        Box("car", (0.5, 0.5, 0.75, 0.75), Attribute.EASY),
        Box("road", (0, 0.25, 1, 1), Attribute.BACKGROUND),
        Box("car", (0, 0.25, 0.5, 1), Attribute.HARD),
    ),
)


@pytest.fixture(scope="module")
def pipe(make_pipeline: Callable[..., DetDiffusionPipeline]) -> DetDiffusionPipeline:
    return make_pipeline(WORDS, blueprint_config=None, head_config=None, control_config=CONTROL)


def colour(label: str, before: int) -> np.ndarray:
    hue = WORDS.labels.index(label) / 3
    return np.array(colorsys.hsv_to_rgb(hue, 1, DARKER**before), np.float32)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ((0, 0), np.zeros(3)),
        ((3, 7), colour("road", 0)),
        ((2, 0), colour("car", 0)),  # the larger car comes first
        ((7, 3), colour("car", 0)),
        ((4, 4), colour("car", 1)),
        ((5, 5), colour("car", 1)),
    ],
)
def test_large_boxes_first_and_further_objects_darker(at: tuple[int, int], expected: np.ndarray) -> None:
    picture = control_images([LAYOUT], WORDS, (8, 8))[0].numpy()
    np.testing.assert_allclose(picture[:, at[0], at[1]], expected)


def test_pictures_of_nothing_of_thin_boxes_and_of_unknown_classes() -> None:
    thin = Layout(64, 64, (Box("dog", (0.5, 0.5, 0.501, 1), Attribute.EASY),))
    pictures = control_images([None, thin], WORDS, (4, 6))
    assert pictures.shape == (2, 3, 4, 6) and not pictures[0].any()
    assert (pictures[1].amax(dim=0) > 0).sum() == 2, "one column, two rows"
    with pytest.raises(LayoutError, match="unknown class 'cat'"):
        control_images([Layout(64, 64, (Box("cat", (0, 0, 1, 1), Attribute.EASY),))], WORDS, (4, 4))


def test_the_prompt_names_classes_alone(pipe: DetDiffusionPipeline) -> None:
    assert readable_prompt(LAYOUT, WORDS) == "An image with (car), (road), (car)"
    prompt = encode_prompt(LAYOUT, WORDS, pipe.tokenizer, 77)
    assert [end - start for start, end in prompt.spans] == [1, 1, 1] and prompt.attention_mask.all()


def test_it_starts_as_the_unet_alone_and_reads_boxes_once_it_has_learned(pipe: DetDiffusionPipeline) -> None:
    moved = Layout(64, 64, tuple(Box(b.label, (0, 0, b.xyxy[2], b.xyxy[3]), b.attribute) for b in LAYOUT.boxes))

    def latents(layout: Layout) -> torch.Tensor:
        found: torch.Tensor = pipe([layout], seeds=[1], steps=2, output_type="latent", dtype=torch.float32).images
        return found

    assert torch.equal(latents(LAYOUT), latents(moved)), "zero convolutions: the condition adds nothing yet"
    blocks = [*pipe.controlnet.controlnet_down_blocks, pipe.controlnet.controlnet_mid_block]
    embedding = pipe.controlnet.controlnet_cond_embedding.conv_out
    with torch.no_grad():
        for layer in (*blocks, embedding):
            layer.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(latents(LAYOUT), latents(moved))
    tagged = LAYOUT.with_attributes([Attribute.HARD] * 3)
    assert torch.equal(latents(LAYOUT), latents(tagged)), "it knows no attributes"
    pair = pipe([moved, LAYOUT], seeds=[2, 1], steps=2, output_type="latent", dtype=torch.float32).images
    torch.testing.assert_close(pair[1:], latents(LAYOUT), atol=1e-5, rtol=0)  # whatever its neighbours in the batch


@pytest.mark.slow
def test_it_is_saved_and_loaded_and_checked(pipe: DetDiffusionPipeline, tmp_path: Path) -> None:
    save_pipeline(pipe, tmp_path / "model", dtype=torch.float32)
    loaded = load_pipeline(tmp_path / "model")
    assert loaded.vocabulary == WORDS and loaded.blueprint is None
    for name, value in pipe.controlnet.state_dict().items():
        assert torch.equal(value, loaded.controlnet.state_dict()[name])
    config = tmp_path / "model" / "controlnet" / "config.json"
    values: dict[str, Any] = json.loads(config.read_text())
    for field, other, message in (
        ("in_channels", 5, "controlnet in_channels is 5, the U-Net's 4"),
        ("conditioning_embedding_out_channels", [4, 4, 8], "controlnet pixels a latent cell is 4, the autoencoder's 8"),
    ):
        (tmp_path / "model" / "manifest.json").unlink(missing_ok=True)
        config.write_text(json.dumps({**values, field: other}))
        with pytest.raises(CheckpointError, match=message):
            load_pipeline(tmp_path / "model")


def test_not_with_a_blueprint(make_pipeline: Callable[..., DetDiffusionPipeline]) -> None:
    with pytest.raises(ConfigError, match=r"GLIGEN.*one of them"):
        make_pipeline(WORDS, control_config=CONTROL)
