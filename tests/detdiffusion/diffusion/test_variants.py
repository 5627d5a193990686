"""Folders of half-precision variants alone, and of weights in shards: under the names that diffusers gives them."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.diffusion.stable_diffusion import pipeline_from_stable_diffusion
from detdiffusion.errors import CheckpointError
from detdiffusion.text.vocabulary import Vocabulary

LAYOUT = {"width": 64, "height": 64, "objects": [{"label": "car", "box": [0.1, 0.1, 0.6, 0.7]}]}


def latents(pipe: DetDiffusionPipeline) -> torch.Tensor:
    how: dict[str, Any] = {"seeds": [1], "steps": 1, "output_type": "latent", "dtype": torch.float32}
    result: torch.Tensor = pipe(LAYOUT, **how).images
    return result


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ({"variant": "fp16"}, "diffusion_pytorch_model.fp16.safetensors"),
        ({"max_shard_size": "40KB"}, "diffusion_pytorch_model.safetensors.index.json"),
        ({"max_shard_size": "40KB", "variant": "fp16"}, "diffusion_pytorch_model.safetensors.index.fp16.json"),
    ],
)
def test_a_folder_of_variants_or_of_shards_loads(
    tmp_path: Path, tiny_pipeline: DetDiffusionPipeline, how: dict[str, Any], name: str
) -> None:
    tiny_pipeline.save_pretrained(tmp_path, **how)
    assert (tmp_path / "unet" / name).is_file()
    expected = latents(tiny_pipeline)
    for load in (load_pipeline, DetDiffusionPipeline.from_pretrained):
        torch.testing.assert_close(latents(load(tmp_path)), expected)


def test_a_variant_that_lacks_a_weight_is_refused_with_its_name(
    tmp_path: Path, tiny_pipeline: DetDiffusionPipeline
) -> None:
    tiny_pipeline.save_pretrained(tmp_path, variant="fp16")
    path = tmp_path / "unet/diffusion_pytorch_model.fp16.safetensors"
    tensors = load_file(path)
    del tensors["conv_in.bias"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"unet lacks conv_in\.bias"):
        load_pipeline(tmp_path)


def test_a_base_of_half_precision_alone_is_read_and_converted(tmp_path: Path, published: ModuleType) -> None:
    from training.generator.convert import convert

    base = published.write_stable_diffusion(tmp_path / "sd", safety=False)
    vocabulary = Vocabulary(("car",), ("road",), (8, 8))
    full = pipeline_from_stable_diffusion(base, vocabulary, blueprint_config=None, head_config=None, seed=0)
    for path in base.rglob("*.safetensors"):
        half = {name: value.half() if value.is_floating_point() else value for name, value in load_file(path).items()}
        save_file(half, path.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
        path.unlink()
    convert(base, tmp_path / "converted")
    assert (tmp_path / "converted/unet/diffusion_pytorch_model.safetensors").is_file()
    for folder in (base, tmp_path / "converted"):
        made = pipeline_from_stable_diffusion(folder, vocabulary, blueprint_config=None, head_config=None, seed=0)
        assert made.unet.dtype == torch.float32
        torch.testing.assert_close(made.unet.conv_in.weight, full.unet.conv_in.weight, atol=1e-3, rtol=1e-3)
