"""Models by their hub id, and models that are given away: against a hub on this machine."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import Hub, hub_server

from detdiffusion import DetDiffusionPipeline, load_pipeline
from detdiffusion.diffusion.habits.hub import variant_of, wanted_files
from detdiffusion.diffusion.manifest import verify
from detdiffusion.errors import CheckpointError, ConfigError

LAYOUT = {"width": 64, "height": 64, "objects": [{"label": "car", "box": [0.1, 0.1, 0.6, 0.7]}]}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)  # where no folder of the owner's name is
    with hub_server(monkeypatch) as served:
        yield served


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: DetDiffusionPipeline) -> Path:
    path = tmp_path_factory.mktemp("hub") / "model"
    tiny_pipeline.save_pretrained(path)
    return path


def latents(pipe: DetDiffusionPipeline) -> torch.Tensor:
    result: torch.Tensor = pipe(LAYOUT, seeds=[1], steps=2, output_type="latent", dtype=torch.float32).images
    return result


def test_a_hub_id_is_fetched_once_and_then_needs_no_network(
    hub: Hub, folder: Path, tmp_path: Path, tiny_pipeline: DetDiffusionPipeline
) -> None:
    hub.put("someone/cars", folder)
    hub.needs_token = "secret"
    with pytest.raises(CheckpointError, match="someone/cars is no folder here, and the hub did not give it"):
        DetDiffusionPipeline.from_pretrained("someone/cars", cache_dir=tmp_path / "cache", token=False)
    pipe = DetDiffusionPipeline.from_pretrained("someone/cars", cache_dir=tmp_path / "cache", token="secret")
    torch.testing.assert_close(latents(pipe), latents(tiny_pipeline))
    hub.asked.clear()
    again = DetDiffusionPipeline.from_pretrained("someone/cars", cache_dir=tmp_path / "cache", local_files_only=True)
    torch.testing.assert_close(latents(again), latents(tiny_pipeline))
    assert hub.asked == []
    with pytest.raises(CheckpointError, match="the hub did not give it"):
        DetDiffusionPipeline.from_pretrained("someone/cars", cache_dir=tmp_path / "other", local_files_only=True)
    assert hub.asked == []


def test_a_revision_is_what_is_fetched(hub: Hub, folder: Path, tmp_path: Path, layout_of: Any) -> None:
    hub.put("someone/cars", folder)
    changed = Path(shutil.copytree(folder, tmp_path / "changed"))
    text = (changed / "vocabulary.json").read_text().replace('"car"', '"tram"')
    (changed / "vocabulary.json").write_text(text)
    hub.put("someone/cars", changed, branch="trams")
    how: dict[str, Any] = {"cache_dir": tmp_path / "cache"}
    assert "car" in DetDiffusionPipeline.from_pretrained("someone/cars", **how).vocabulary.things
    trams = DetDiffusionPipeline.from_pretrained("someone/cars", revision="trams", **how)
    assert "tram" in trams.vocabulary.things
    with pytest.raises(CheckpointError, match="the hub did not give it"):
        DetDiffusionPipeline.from_pretrained("someone/cars", revision="planes", **how)


def test_pickles_and_other_variants_are_not_fetched(
    hub: Hub, tmp_path: Path, tiny_pipeline: DetDiffusionPipeline
) -> None:
    folder = tmp_path / "both"
    tiny_pipeline.save_pretrained(folder)
    half = DetDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float16)
    half.save_pretrained(folder, variant="fp16")
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "whole.safetensors").write_bytes(b"all in one file")
    hub.put("someone/cars", folder)
    full = DetDiffusionPipeline.from_pretrained("someone/cars", cache_dir=tmp_path / "1")
    assert not [name for name in hub.fetched if "fp16" in name or name.endswith(".bin") or name.startswith("whole")]
    assert [name for name in hub.fetched if name == "unet/diffusion_pytorch_model.safetensors"]
    hub.asked.clear()
    small = DetDiffusionPipeline.from_pretrained(
        "someone/cars", variant="fp16", torch_dtype=torch.float16, cache_dir=tmp_path / "2"
    )
    weights = [name for name in hub.fetched if name.endswith(".safetensors")]
    assert weights and all("fp16" in name for name in weights)
    assert (full.unet.dtype, small.unet.dtype) == (torch.float32, torch.float16)
    torch.testing.assert_close(small.unet.conv_in.weight, full.unet.conv_in.weight.half())


@pytest.mark.parametrize("name", ["cars", "../cars", "/no/such/folder", "https://example.org/cars"])
def test_a_mistyped_folder_asks_nobody(hub: Hub, tmp_path: Path, name: str) -> None:
    (tmp_path / "models").mkdir()
    for model in (name, "models/cars", Path("someone/cars")):
        with pytest.raises(CheckpointError, match="is no folder; give one that holds a model_index"):
            DetDiffusionPipeline.from_pretrained(model)
    assert hub.asked == []


def test_push_to_hub_gives_away_a_whole_model_with_a_card(
    hub: Hub, tmp_path: Path, tiny_pipeline: DetDiffusionPipeline
) -> None:
    address = tiny_pipeline.push_to_hub("someone/cars", token="secret", private=True, commit_message="mine")
    assert address == f"{hub.address}/someone/cars/commit/1"
    assert {token for _, _, token in hub.asked} == {"secret"}
    card = hub.repositories["someone/cars"]["main"]["README.md"].decode()
    for words in (
        "library_name: diffusers",
        "# cars",
        'from_pretrained("someone/cars")',
        "2 classes of things: car, traffic light.",
        "1 classes of stuff: road.",
        "It can be asked for: boxes, attributes.",
        "easy, hard and background",
        "Images of 64x64 pixels, in 20 steps with guidance 2",
        "It has a blueprint",
    ):
        assert words in card
    fetched = DetDiffusionPipeline.from_pretrained("someone/cars", cache_dir=tmp_path / "cache")
    torch.testing.assert_close(latents(fetched), latents(tiny_pipeline))
    verify(Path(fetched.name_or_path))
    code = card.partition("```python\n")[2].partition("```")[0]
    assert "DetDiffusionPipeline" in code
    compile(code, "card", "exec")


def test_save_pretrained_pushes_where_it_is_asked_to(
    hub: Hub, tmp_path: Path, tiny_pipeline: DetDiffusionPipeline
) -> None:
    tiny_pipeline.save_pretrained(tmp_path / "trams", push_to_hub=True, token="secret")
    files = hub.repositories["me/trams"]["main"]
    assert {"vocabulary.json", "README.md", "manifest.json", "model_index.json"} <= files.keys()


def test_saving_into_a_model_folder_keeps_its_manifest_true(tmp_path: Path, folder: Path) -> None:
    from detdiffusion.diffusion.checkpoint import save_pipeline

    pipe = DetDiffusionPipeline.from_pretrained(folder)
    save_pipeline(pipe, tmp_path)
    with torch.no_grad():
        pipe.unet.conv_in.weight += 1
    pipe.save_pretrained(tmp_path)
    assert torch.equal(load_pipeline(tmp_path).unet.conv_in.weight, pipe.unet.conv_in.weight)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("unet/diffusion_pytorch_model.safetensors", None),
        ("unet/diffusion_pytorch_model.fp16.safetensors", "fp16"),
        ("unet/diffusion_pytorch_model.non_ema.safetensors", "non_ema"),
        ("unet/diffusion_pytorch_model-00001-of-00002.safetensors", None),
        ("unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors", "fp16"),
        ("unet/diffusion_pytorch_model-00001-of-00002.fp16.safetensors", "fp16"),
        ("unet/diffusion_pytorch_model.safetensors.index.json", None),
        ("unet/diffusion_pytorch_model.safetensors.index.fp16.json", "fp16"),
        ("text_encoder/model.safetensors", None),
        ("text_encoder/model.fp16.safetensors", "fp16"),
        ("detectors/bundled/model.safetensors", None),
    ],
)
def test_variants_in_names(name: str, variant: str | None) -> None:
    assert variant_of(name) == variant


def test_what_is_fetched_of_a_repository() -> None:
    files = {
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "v1-5-pruned.safetensors",
        "v1-5-pruned.ckpt",
        "onnx/model.onnx",
        "detectors/bundled/model.safetensors",
        "detectors/bundled/detector.json",
        "README.md",
        "image.png",
    }
    plain = wanted_files(files, None)
    assert plain == sorted(
        {
            "model_index.json",
            "README.md",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/diffusion_pytorch_model.fp16.safetensors",  # the only one that there is
            "detectors/bundled/model.safetensors",
            "detectors/bundled/detector.json",
        }
    )
    half = set(wanted_files(files, "fp16")) - set(plain)
    assert half == {"unet/diffusion_pytorch_model.fp16.safetensors"}
    with pytest.raises(ConfigError, match="there are no weights of the variant 'fp8'"):
        wanted_files(files, "fp8")
