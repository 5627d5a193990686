"""LoRA files on a pipeline: what fits is applied and can be taken away, what does not is refused with its layers."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.utils import convert_state_dict_to_diffusers
from hub_server import hub_server
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from detdiffusion import DetDiffusionPipeline
from detdiffusion.diffusion.stable_diffusion import pipeline_from_stable_diffusion
from detdiffusion.errors import CheckpointError, ConfigError
from detdiffusion.text.vocabulary import Vocabulary

LAYOUT = {"width": 64, "height": 64, "objects": [{"label": "car", "box": [0.1, 0.1, 0.6, 0.7]}]}
FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, published: ModuleType) -> Path:
    folder: Path = published.write_stable_diffusion(tmp_path_factory.mktemp("base") / "sd", safety=False)
    return folder


@pytest.fixture
def pipe(base: Path) -> DetDiffusionPipeline:
    vocabulary = Vocabulary(("car", "person"), ("road",), (8, 8), "<l{}>")
    return pipeline_from_stable_diffusion(base, vocabulary, blueprint_config={}, head_config=None, seed=0)


@pytest.fixture(scope="module")
def lora(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the U-Net and the text encoder, as diffusers' training scripts write it."""
    from diffusers import StableDiffusionPipeline

    folder = tmp_path_factory.mktemp("lora")
    taught = StableDiffusionPipeline.from_pretrained(str(base))
    unet, text = taught.unet, taught.text_encoder
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    text.add_adapter(LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    layers = [convert_state_dict_to_diffusers(get_peft_model_state_dict(part)) for part in (unet, text)]
    StableDiffusionLoraLoaderMixin.save_lora_weights(
        folder, unet_lora_layers=layers[0], text_encoder_lora_layers=layers[1]
    )
    return folder


def latents(pipe: DetDiffusionPipeline) -> torch.Tensor:
    result: torch.Tensor = pipe(LAYOUT, seeds=[1], steps=2, output_type="latent", dtype=torch.float32).images
    return result


def test_a_lora_changes_images_and_can_be_taken_away(pipe: DetDiffusionPipeline, lora: Path) -> None:
    before = latents(pipe)
    pipe.load_lora_weights(str(lora), adapter_name="style")
    both = latents(pipe)
    assert not torch.allclose(both, before, atol=1e-3)
    assert pipe.get_list_adapters() == {"text_encoder": ["style"], "unet": ["style"]}
    pipe.set_adapters(["style"], adapter_weights=[0.5])
    half = latents(pipe)
    assert not torch.allclose(half, both, atol=1e-3)
    pipe.unload_lora_weights()
    torch.testing.assert_close(latents(pipe), before)


def test_a_file_a_folder_and_tensors_are_the_same(pipe: DetDiffusionPipeline, lora: Path) -> None:
    drawn = []
    for source in (lora, lora / FILE, load_file(lora / FILE)):
        pipe.load_lora_weights(source)
        drawn.append(latents(pipe))
        pipe.unload_lora_weights()
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


def test_a_lora_comes_from_the_hub_by_its_id(
    pipe: DetDiffusionPipeline, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with hub_server(monkeypatch) as hub:
        hub.put("someone/style", lora)
        pipe.load_lora_weights("someone/style", weight_name=FILE, cache_dir=tmp_path)
    assert set(pipe.get_list_adapters()) == {"text_encoder", "unet"}


def test_a_file_of_kohyas_form_fits(pipe: DetDiffusionPipeline, tmp_path: Path) -> None:
    """The form that most published files have: lora_unet_... and alpha."""
    before = latents(pipe)
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    layer = pipe.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1.to_q
    tensors = {
        f"{name}.lora_down.weight": torch.eye(2, layer.in_features),
        f"{name}.lora_up.weight": 9 * torch.eye(layer.out_features, 2),
        f"{name}.alpha": torch.tensor(2.0),
    }
    save_file(tensors, tmp_path / "kohya.safetensors")
    pipe.load_lora_weights(tmp_path)
    assert not torch.allclose(latents(pipe), before, atol=1e-3)


def test_a_lora_that_fits_nothing_is_refused_with_its_layers(pipe: DetDiffusionPipeline, tmp_path: Path) -> None:
    before = latents(pipe)
    name = "unet.up_blocks.9.attentions.0.to_q"
    save_file({f"{name}.lora_A.weight": torch.ones(2, 8), f"{name}.lora_B.weight": torch.ones(8, 2)}, tmp_path / FILE)
    with pytest.raises(
        CheckpointError, match=r"no layer of these .* model's; they name unet\.up_blocks\.9\.attentions"
    ):
        pipe.load_lora_weights(tmp_path)
    torch.testing.assert_close(latents(pipe), before)


def test_layers_that_are_none_of_the_models_are_told(pipe: DetDiffusionPipeline, lora: Path, tmp_path: Path) -> None:
    name = "unet.up_blocks.9.attentions.0.to_q"
    more = {f"{name}.lora_A.weight": torch.ones(2, 8), f"{name}.lora_B.weight": torch.ones(8, 2)}
    save_file({**load_file(lora / FILE), **more}, tmp_path / FILE)
    with pytest.warns(UserWarning, match=r"1 of \d+ LoRA layers are none of this model's: unet\.up_blocks\.9"):
        pipe.load_lora_weights(tmp_path)


def test_a_lora_of_another_width_is_refused_and_leaves_nothing(
    pipe: DetDiffusionPipeline, lora: Path, tmp_path: Path
) -> None:
    before = latents(pipe)
    tensors = {name: torch.cat([value, value], dim=-1) for name, value in load_file(lora / FILE).items()}
    save_file(tensors, tmp_path / FILE)
    with pytest.raises(CheckpointError, match="these LoRA weights do not fit this model: "):
        pipe.load_lora_weights(tmp_path)
    torch.testing.assert_close(latents(pipe), before)


def test_what_is_no_lora_file_is_refused(pipe: DetDiffusionPipeline, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"holds no {FILE}: give the file with weight_name="):
        pipe.load_lora_weights(tmp_path)
    (tmp_path / "style.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"style\.bin is a pickle, .* LoRA needs \.safetensors"):
        pipe.load_lora_weights(tmp_path / "style.bin")
    (tmp_path / FILE).write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="is damaged: "):
        pipe.load_lora_weights(tmp_path)
    save_file({"unet.conv_in.weight": torch.zeros(1)}, tmp_path / FILE)
    with pytest.raises(
        CheckpointError, match=r"these LoRA weights do not fit this model|no layer of these LoRA weights"
    ):
        pipe.load_lora_weights(tmp_path)
    with pytest.raises(CheckpointError, match="there is no file or folder nowhere"):
        pipe.load_lora_weights("nowhere")


def test_openvino_keeps_to_its_own_weights(pipe: DetDiffusionPipeline, lora: Path) -> None:
    from detdiffusion.diffusion.openvino import OpenVino

    pipe.compiled = OpenVino(pipe, pipe.vae, "0" * 64)
    with pytest.raises(ConfigError, match="OpenVINO has compiled this model's own weights"):
        pipe.load_lora_weights(lora)


def test_without_peft_the_command_that_helps_is_named(
    pipe: DetDiffusionPipeline, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from detdiffusion.diffusion.habits import lora as room

    def nothing(name: str) -> Any:
        return None

    monkeypatch.setattr(room, "find_spec", nothing)
    with pytest.raises(ConfigError, match=r"need peft: pip install -r requirements-lora\.txt"):
        pipe.load_lora_weights(lora)
