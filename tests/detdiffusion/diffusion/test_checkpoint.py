"""Model folders: what is saved, and every way in which a folder may be wrong."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from detdiffusion.diffusion import checkpoint, pipeline
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.manifest import model_hash, verify, write_manifest
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.errors import CheckpointError
from detdiffusion.layout import Layout
from detdiffusion.text.vocabulary import Vocabulary

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: DetDiffusionPipeline) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_pipeline(tiny_pipeline, folder)
    return folder


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(pipeline.DetDiffusionPipeline, "from_pretrained", fail)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_saved_is_what_was_there(
    model: Path,
    tiny_pipeline: DetDiffusionPipeline,
    layout_of: Callable[..., Layout],
    capfd: pytest.CaptureFixture[str],
) -> None:
    again = load_pipeline(model)
    assert capfd.readouterr().err == ""
    assert again.vocabulary == tiny_pipeline.vocabulary
    assert again.unet.dtype == tiny_pipeline.unet.dtype == torch.float32
    torch.testing.assert_close(again.unet.state_dict(), tiny_pipeline.unet.state_dict(), atol=1e-3, rtol=1e-3)
    one, two = (
        pipe(layout_of(3), seeds=[1], steps=2, output_type="latent", dtype=torch.float32).images
        for pipe in (again, tiny_pipeline)
    )
    torch.testing.assert_close(one, two, atol=2e-2, rtol=0)
    assert all(tensor.dtype == torch.float16 for tensor in load_file(model / UNET).values())


def test_a_saved_folder_tells_nothing_of_the_machine(model: Path, tmp_path: Path) -> None:
    save_pipeline(load_pipeline(model), tmp_path / "again")
    for path in (tmp_path / "again").rglob("*.json"):
        assert str(tmp_path) not in path.read_text(), path.name


def test_shards(tmp_path: Path, tiny_pipeline: DetDiffusionPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkpoint.SHARD_SIZE == "14MB"
    monkeypatch.setattr(checkpoint, "SHARD_SIZE", "60KB")
    save_pipeline(tiny_pipeline, tmp_path / "model")
    shards = list((tmp_path / "model" / "unet").glob("*.safetensors"))
    assert len(shards) > 2
    assert max(shard.stat().st_size for shard in shards) < 75_000
    again = load_pipeline(tmp_path / "model")
    torch.testing.assert_close(again.unet.conv_in.weight, tiny_pipeline.unet.conv_in.weight, atol=1e-3, rtol=1e-3)


def test_manifest_holds_every_file_but_notes_and_pictures(model: Path) -> None:
    onlookers = {"detectors/bundled/model.safetensors", "causes/model.safetensors"}
    for name in (*onlookers, "README.md", "grid.png"):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(b"x")
    before = model_hash(model)
    write_manifest(model)
    names = set(json.loads((model / "manifest.json").read_text())["sha256"])
    assert {"vocabulary.json", "model_index.json", UNET, *onlookers} <= names
    assert not names & {"README.md", "grid.png", "manifest.json"}
    verify(model)
    assert model_hash(model) == before  # the generator is the same without them
    edit(model / "vocabulary.json", template="An image with {objects}")
    write_manifest(model)
    assert model_hash(model) != before


def truncate(folder: Path) -> None:
    data = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(data[: len(data) // 2])


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / UNET).read_bytes())
    data[-100] ^= 1
    (folder / UNET).write_bytes(data)


def pickle_for_weights(folder: Path) -> None:
    (folder / UNET).unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(_Bomb()))


def remove_manifest_and_truncate(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    truncate(folder)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (shutil.rmtree, r"model is no model folder \(model_index.json is missing\)"),
        (
            truncate,
            r"unet/diffusion_pytorch_model.safetensors is damaged: its SHA-256 is \w{64}, the manifest says \w{64}",
        ),
        (
            flip_a_bit,
            r"unet/diffusion_pytorch_model.safetensors is damaged: its SHA-256 is \w{64}, the manifest says \w{64}",
        ),
        (remove_manifest_and_truncate, r"unet/diffusion_pytorch_model.safetensors is damaged"),
        (lambda folder: (folder / UNET).unlink(), "safetensors is missing"),
        (pickle_for_weights, r"diffusion_pytorch_model.bin is a pickle"),
        (lambda folder: shutil.copy(folder / UNET, folder / "unet/more.safetensors"), r"more.safetensors is not in"),
        (lambda folder: (folder / "manifest.json").write_text("{"), r"manifest.json is damaged"),
        (lambda folder: edit(folder / "manifest.json", sha256={"../x": "0"}), r"outside the folder: \.\./x"),
        (lambda folder: (folder / "model_index.json").write_text("[]"), r"model_index.json is damaged"),
    ],
)
def test_damaged_and_unsafe_folders_are_refused(model: Path, harm: Callable[[Path], Any], message: str) -> None:
    harm(model)
    with pytest.raises(CheckpointError, match=message):
        load_pipeline(model)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("unet/config.json", {"block_out_channels": [8, 8, 16, 32]}, r"unet: .* is \[\d+.*\], its config needs \["),
        ("unet/config.json", {"in_channels": 4}, "unet in_channels is 4, latent and blueprint channels 36"),
        (
            "unet/config.json",
            {"cross_attention_dim": 32},
            "unet cross_attention_dim is 32, the text encoder's width 16",
        ),
        ("unet/config.json", {"down_block_types": ["NoBlock"]}, "does not describe a UNet2DConditionModel"),
        ("text_encoder/config.json", {"num_hidden_layers": 3}, r"text_encoder lacks encoder.layers.2"),
        (
            "text_encoder/config.json",
            {"num_hidden_layers": 1},
            r"text_encoder has encoder.layers.1.*, which its config",
        ),
        ("text_encoder/config.json", {"vocab_size": 100}, r"text_encoder has 100 token rows for the tokenizer's"),
        ("vae/config.json", {"latent_channels": 8}, "unet out_channels is 4, latent channels 8"),
        ("blueprint/config.json", {"num_classes": 9}, "blueprint num_classes is 9, classes of the vocabulary 3"),
        ("perception_head/config.json", {"text_dim": 8}, "head text_dim is 8, the text encoder's width 16"),
        ("vocabulary.json", {"grid": [9, 8]}, r"lacks 8 of the vocabulary's 75 .* \(<64>, <65>"),
        ("vocabulary.json", {"things": ["car"]}, "blueprint num_classes is 3, classes of the vocabulary 2"),
        ("vocabulary.json", {"things": 3}, "vocabulary.json: a vocabulary's words need to be lists of text"),
        (
            "model_index.json",
            {"unet": ["diffusers", "UNet2DModel"]},
            "unet is UNet2DModel, it needs UNet2DConditionModel",
        ),
        ("model_index.json", {"vae": [None, None]}, "vae is missing, it needs SmallAutoencoder or AutoencoderKL"),
        ("tokenizer/tokenizer.json", {"model": 3}, "tokenizer holds no CLIP tokenizer"),
    ],
)
def test_what_does_not_fit_together_is_refused(model: Path, file: str, changes: dict[str, Any], message: str) -> None:
    edit(model / file, **changes)
    write_manifest(model)
    with pytest.raises(CheckpointError, match=message):
        load_pipeline(model)


@pytest.mark.usefixtures("nothing_is_loaded")
def test_missing_tensors_are_named(model: Path) -> None:
    tensors = load_file(model / UNET)
    del tensors["conv_in.weight"]
    save_file(tensors, model / UNET)
    write_manifest(model)
    with pytest.raises(CheckpointError, match=r"unet lacks conv_in\.weight"):
        load_pipeline(model)


def test_a_folder_without_manifest_or_optional_parts_loads(
    tmp_path: Path,
    vocabulary: Vocabulary,
    make_pipeline: Callable[..., DetDiffusionPipeline],
    kl_autoencoder: Callable[[], AutoencoderKL],
) -> None:
    pipe = make_pipeline(vocabulary, blueprint_config=None, head_config=None, autoencoder=kl_autoencoder)
    pipe.save_pretrained(tmp_path)
    again = load_pipeline(tmp_path)
    assert (again.blueprint, again.perception_head) == (None, None)
    assert len(model_hash(tmp_path)) == 64


def test_a_pickle_beside_safetensors_is_left_alone(model: Path) -> None:
    (model / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(_Bomb()))
    load_pipeline(model)
