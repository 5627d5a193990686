"""Published folders of the exact old form, made from small random weights, become folders that load here."""

import argparse
import io
import json
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from detdiffusion.diffusion.manifest import verify
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.diffusion.stable_diffusion import pipeline_from_stable_diffusion
from detdiffusion.errors import CheckpointError, ConfigError
from detdiffusion.layout import Box, Layout
from detdiffusion.text.prompt import encode_prompt, readable_prompt
from detdiffusion.text.vocabulary import Vocabulary
from training.generator.convert import add_arguments, convert, read_pickle, run
from training.generator.geodiffusion import fill_template

pytestmark = pytest.mark.slow

LAYOUT = Layout(64, 64, (Box("sky-other", (0, 0, 1, 1)), Box("car", (1 / 7, 1 / 7, 6 / 7, 6 / 7))))
WEIGHTS = {
    "unet": "unet/diffusion_pytorch_model.bin",
    "vae": "vae/diffusion_pytorch_model.bin",
    "text_encoder": "text_encoder/pytorch_model.bin",
    "safety_checker": "safety_checker/pytorch_model.bin",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, published: ModuleType) -> Path:
    folder: Path = published.write_geodiffusion(tmp_path_factory.mktemp("published") / "geodiffusion")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    target = tmp_path_factory.mktemp("converted") / "model"
    convert(source, target)
    return target


@pytest.fixture(scope="module")
def pipe(model: Path) -> DetDiffusionPipeline:
    return load_pipeline(model)


def nothing_is_left(target: Path) -> bool:
    """The target was not written, nor anything beside it."""
    return not target.exists() and [path for path in target.parent.iterdir() if path.name.startswith(".")] == []


def test_a_geodiffusion_folder_becomes_a_model(model: Path, pipe: DetDiffusionPipeline) -> None:
    verify(model)
    vocabulary = pipe.vocabulary
    assert (len(vocabulary.things), len(vocabulary.stuff)) == (80, 92)  # with "other"
    assert (vocabulary.grid, vocabulary.location_format, vocabulary.attribute_words) == ((8, 8), "<l{}>", ())
    assert (pipe.blueprint, pipe.perception_head) == (None, None)
    assert isinstance(pipe.scheduler, DPMSolverMultistepScheduler)
    assert pipe(LAYOUT, seeds=[1], steps=2).images[0].size == (64, 64)
    assert not [path for path in model.rglob("*") if path.suffix in (".bin", ".pkl", ".pt")]
    assert {"README.md", "generation_config.json", "manifest.json"} <= {path.name for path in model.iterdir()}


def test_every_weight_is_there_under_todays_name(source: Path, pipe: DetDiffusionPipeline) -> None:
    before = {name: torch.load(source / path, weights_only=True) for name, path in WEIGHTS.items()}
    attention = pipe.vae.encoder.mid_block.attentions[0]
    old = "encoder.mid_block.attentions.0"
    pairs = [
        (pipe.unet.conv_in.weight, before["unet"]["conv_in.weight"]),
        (attention.to_k.weight, before["vae"][f"{old}.key.weight"]),
        (attention.to_out[0].weight, before["vae"][f"{old}.proj_attn.weight"]),
        (
            pipe.text_encoder.get_input_embeddings().weight,
            before["text_encoder"]["text_model.embeddings.token_embedding.weight"],
        ),
        (
            pipe.safety_checker.vision_model.embeddings.patch_embedding.weight,
            before["safety_checker"]["vision_model.vision_model.embeddings.patch_embedding.weight"],
        ),
    ]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)  # half precision
    assert sum(p.numel() for p in pipe.unet.parameters()) == sum(value.numel() for value in before["unet"].values())


def test_prompts_are_geodiffusions_token_for_token(source: Path, pipe: DetDiffusionPipeline) -> None:
    """Its own tokenizer on its own text: `sky-other` is said as `sky other`, and nothing is said of attributes."""
    theirs = CLIPTokenizer.from_pretrained(str(source / "tokenizer"), local_files_only=True)
    text = "An image with sky other <l0> <l63> car <l9> <l54>"
    ours = encode_prompt(LAYOUT, pipe.vocabulary, pipe.tokenizer, 77)
    assert ours.input_ids.tolist() == theirs([text], padding="max_length", max_length=77)["input_ids"]
    assert ours.attention_mask.all(), "its U-Net has learned to read the padding too"
    assert readable_prompt(LAYOUT, pipe.vocabulary) == "An image with (sky other, <l0><l63>), (car, <l9><l54>)"


def test_safetensors_and_pickles_convert_alike(
    tmp_path: Path, published: ModuleType, pipe: DetDiffusionPipeline
) -> None:
    convert(published.write_geodiffusion(tmp_path / "geo", pickled=False), tmp_path / "model")
    again = load_pipeline(tmp_path / "model")
    for name in WEIGHTS:
        torch.testing.assert_close(getattr(again, name).state_dict(), getattr(pipe, name).state_dict())


def test_a_model_of_800x456_with_attributes(tmp_path: Path, published: ModuleType) -> None:
    words = ["[easy]", "[hard]", "[background]"]
    folder = published.write_geodiffusion(tmp_path / "geo", words=words, width=800, height=456)
    config = convert(folder, tmp_path / "model")
    assert config is not None
    assert (config.size, config.guidance, config.steps) == ((456, 800), 5.0, 50)
    converted = load_pipeline(tmp_path / "model")
    assert converted.vocabulary.attribute_words == tuple(words)
    assert converted.image_size(Layout(800, 456, LAYOUT.boxes)) == (456, 800)


def test_nuimages_wants_its_camera(tmp_path: Path, published: ModuleType) -> None:
    template = "A driving scene image of {camera} camera with {bbox}"
    folder = published.write_geodiffusion(tmp_path / "geo", dataset="nuimages", prompt_template=template)
    with pytest.raises(ConfigError, match=r"wants more than objects: give --fill camera=\.\.\."):
        convert(folder, tmp_path / "model")
    assert nothing_is_left(tmp_path / "model")
    convert(folder, tmp_path / "model", fills={"camera": "front left"})
    vocabulary = load_pipeline(tmp_path / "model").vocabulary
    layout = Layout(64, 64, (Box("traffic_cone", (0, 0, 1, 1)),))
    expected = "A driving scene image of front left camera with (cone, <l0><l63>)"
    assert readable_prompt(layout, vocabulary) == expected


def test_an_unknown_data_set_needs_a_vocabulary(tmp_path: Path, published: ModuleType) -> None:
    folder = published.write_geodiffusion(tmp_path / "geo", dataset="farm")
    with pytest.raises(ConfigError, match=r"'farm' are unknown here \(known data sets: coco_stuff, nuimages\)"):
        convert(folder, tmp_path / "model")
    own = Vocabulary(("cow",), ("grass",), (8, 8), "<l{}>", attribute_words=())
    convert(folder, tmp_path / "model", vocabulary=own)
    assert load_pipeline(tmp_path / "model").vocabulary == replace(own, padding=True)


def test_words_that_the_model_never_learned_are_refused(tmp_path: Path, published: ModuleType) -> None:
    folder = published.write_geodiffusion(tmp_path / "geo", num_bucket_per_side=[9, 8])
    with pytest.raises(CheckpointError, match=r"lacks 8 of the vocabulary's 72 .* \(<l64>, <l65>, <l66>, <l67>, <l68>"):
        convert(folder, tmp_path / "model")


@pytest.mark.parametrize("pickled", [True, False])
def test_a_stable_diffusion_folder_becomes_a_base(tmp_path: Path, published: ModuleType, pickled: bool) -> None:
    folder = published.write_stable_diffusion(tmp_path / "sd", pickled=pickled)
    target = tmp_path / "deep" / "base"
    assert convert(folder, target) is None
    verify(target)
    assert not list(target.rglob("*.bin"))
    vocabulary = Vocabulary(("car",), ("road",), (8, 8))
    made = pipeline_from_stable_diffusion(target, vocabulary, blueprint_config=None, head_config=None, seed=0)
    published.write_stable_diffusion(tmp_path / "same")
    expected = load_file(tmp_path / "same/unet/diffusion_pytorch_model.safetensors")
    torch.testing.assert_close(made.unet.state_dict(), expected, rtol=0, atol=0)


class _Bomb:
    """Touches a file as soon as it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def bare(bomb: _Bomb) -> bytes:
    return pickle.dumps(bomb)


def bare_old_protocol(bomb: _Bomb) -> bytes:
    return pickle.dumps(bomb, protocol=2)


def beside_tensors(bomb: _Bomb) -> bytes:
    buffer = io.BytesIO()
    torch.save({"conv_in.weight": torch.zeros(1), "bomb": bomb}, buffer)
    return buffer.getvalue()


def beside_tensors_old_format(bomb: _Bomb) -> bytes:
    buffer = io.BytesIO()
    torch.save({"bomb": bomb}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [bare, bare_old_protocol, beside_tensors, beside_tensors_old_format])
@pytest.mark.parametrize("component", WEIGHTS)
def test_a_malicious_pickle_is_refused_and_never_run(
    tmp_path: Path, source: Path, component: str, pack: Callable[[_Bomb], bytes]
) -> None:
    folder, marker, target = tmp_path / "geo", tmp_path / "marker", tmp_path / "model"
    shutil.copytree(source, folder)
    (folder / WEIGHTS[component]).write_bytes(pack(_Bomb(marker)))
    with pytest.raises(CheckpointError, match=r"\.bin holds more than tensors, which can run code .* it was not"):
        convert(folder, target)
    assert not marker.exists()
    assert nothing_is_left(target)


def test_the_bomb_is_live(tmp_path: Path) -> None:
    pickle.loads(bare(_Bomb(tmp_path / "marker")))  # noqa: S301 - our own
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged"),
        (b"PK\x03\x04 cut off", "is damaged"),
        (torch.zeros(3), "holds no tensors by name"),
        ({}, "holds no tensors by name"),
        ({"step": 3}, "holds no tensors by name"),
    ],
)
def test_what_is_no_component_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "pytorch_model.bin"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        read_pickle(path)


def test_tensors_that_share_memory_are_separated(tmp_path: Path) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": whole, "b": whole[0], "c": whole.T}, tmp_path / "pytorch_model.bin")
    tensors = read_pickle(tmp_path / "pytorch_model.bin")
    assert len({value.untyped_storage().data_ptr() for value in tensors.values()}) == 3
    assert all(value.is_contiguous() for value in tensors.values())
    assert torch.equal(tensors["c"], whole.T)


def no_config(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"dataset": "coco_stuff", "num_bucket_per_side": 256}')


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (lambda folder: (folder / "model_index.json").unlink(), CheckpointError, r"holds no model_index\.json"),
        (lambda folder: (folder / WEIGHTS["unet"]).unlink(), CheckpointError, "holds neither diffusion_pytorch_model"),
        (lambda folder: (folder / "tokenizer/vocab.json").unlink(), CheckpointError, "holds no CLIP tokenizer"),
        (lambda folder: (folder / "unet/config.json").write_text("{"), CheckpointError, "does not describe a UNet2D"),
        (no_config, ConfigError, "is no GeoDiffusion config .* num_bucket_per_side"),
    ],
)
def test_folders_that_are_not_whole_are_refused(
    tmp_path: Path, source: Path, harm: Callable[[Path], Any], error: type[Exception], message: str
) -> None:
    folder = Path(shutil.copytree(source, tmp_path / "geo"))
    harm(folder)
    with pytest.raises(error, match=message):
        convert(folder, tmp_path / "model")
    assert nothing_is_left(tmp_path / "model")


def test_nothing_is_overwritten(tmp_path: Path, source: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there already: name a new folder"):
        convert(source, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_geodiffusions_options_are_for_geodiffusions_folders(tmp_path: Path, published: ModuleType) -> None:
    plain = published.write_stable_diffusion(tmp_path / "sd")
    with pytest.raises(ConfigError, match="--fill and --vocabulary are for GeoDiffusion's folders or GLIGEN's"):
        convert(plain, tmp_path / "base", fills={"camera": "front"})


def test_fills_and_a_vocabulary_exclude_each_other(tmp_path: Path, source: Path) -> None:
    own = Vocabulary(("cow",), (), (8, 8), "<l{}>", attribute_words=())
    with pytest.raises(ConfigError, match="exclude each other"):
        convert(source, tmp_path / "model", fills={"camera": "front"}, vocabulary=own)


@pytest.mark.parametrize(
    ("template", "fills", "filled"),
    [
        ("An image with {bbox}", {}, "An image with {objects}"),
        ("{bbox} in {weather} at {time}", {"weather": "rain", "time": "night"}, "{objects} in rain at night"),
    ],
)
def test_templates(template: str, fills: dict[str, str], filled: str) -> None:
    assert fill_template(template, fills) == filled


@pytest.mark.parametrize(
    ("template", "fills", "message"),
    [
        ("An image", {}, "no place for the objects: {bbox}"),
        ("{weather} {bbox} {time}", {"time": "night"}, "wants more than objects: give --fill weather=..."),
        ("{bbox}", {"camera": "front"}, "has no place for camera"),
        ("{bbox", {}, "cannot be read"),
    ],
)
def test_templates_that_cannot_be_filled(template: str, fills: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        fill_template(template, fills)


def command(*words: object) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([str(word) for word in words]))


def test_the_command(tmp_path: Path, published: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    folder = published.write_geodiffusion(tmp_path / "geo", dataset="farm", prompt_template="{bbox} at {time}")
    own = {"things": ["cow"], "grid": [8, 8], "location_format": "<l{}>", "attribute_words": []}
    (tmp_path / "vocabulary.json").write_text(json.dumps(own))
    assert command(folder, tmp_path / "model", "--vocabulary", tmp_path / "vocabulary.json") == 0
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'model'}\n"
    assert "64x64 pixels, guidance 5, 50 steps" in shown.err
    published.write_geodiffusion(tmp_path / "night", prompt_template="{bbox} at {time}")
    assert command(tmp_path / "night", tmp_path / "nightly", "--fill", "time=night") == 0
    assert load_pipeline(tmp_path / "nightly").vocabulary.template == "{objects} at night"
    with pytest.raises(SystemExit):
        command(folder, tmp_path / "again", "--fill", "night")
