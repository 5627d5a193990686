"""Pictures -> cached latents: chunk by chunk, at the stated size; what cannot be read or written is named."""

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from detdiffusion.diffusion.untrained import new_pipeline
from detdiffusion.errors import CheckpointError, ConfigError, DataError
from detdiffusion.layout import Attribute
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.config import LossConfig
from detdiffusion.models.features import FeatureTaps
from detdiffusion.text.vocabulary import Vocabulary
from training.__main__ import main
from training.autoencoder.loading import load_autoencoder
from training.core.checkpoints import latest_checkpoint, save_checkpoint
from training.core.processes import Processes
from training.data.datasets import Dataset, open_dataset
from training.data.papercut.coco_export import write_dataset
from training.generator import latents
from training.generator.batch import SampleStore
from training.generator.config import TRAIN_PRESETS, GeneratorConfig
from training.generator.latents import (
    cache_bytes,
    coverage,
    encode_dataset,
    encode_images,
    latent_size,
)
from training.generator.trainer import train_generator

CPU = torch.device("cpu")


def kl_autoencoder() -> AutoencoderKL:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=4,
        ).eval()


def small_autoencoder() -> SmallAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SmallAutoencoder((8, 8, 8), (1, 1, 1), 4).eval()


@pytest.fixture
def dataset(papercut: Any, tmp_path: Path) -> Dataset:
    return open_dataset(papercut.data, index=tmp_path / "index.sqlite")


def encode(dataset: Dataset, config: GeneratorConfig, out: Path, autoencoder: Any = None, **more: Any) -> list[int]:
    done: list[int] = []
    chosen = autoencoder or small_autoencoder()
    encode_dataset(dataset, None, chosen, config, out, CPU, lambda number, *_: done.append(number), **more)
    return done


# --- what is written ------------------------------------------------------------------------------


def test_pictures_layouts_and_masks_are_in_step(dataset: Dataset, tiny: GeneratorConfig, tmp_path: Path) -> None:
    autoencoder = small_autoencoder()
    labels = {s.image_id: tuple(Attribute.HARD for _ in s.layout.boxes) for s in dataset}
    out = tmp_path / "latents"
    encode_dataset(dataset, labels, autoencoder, tiny, out, CPU, lambda *_: None)
    store = SampleStore.load(out)
    assert store.shape == (4, 8, 8) and len(store.layouts) == len(dataset)
    for index, sample in enumerate(dataset):
        alone = encode_images([sample.load_image()], autoencoder, flip=False)["latents"][0].float()
        assert torch.allclose(store.latents(index).mean, alone, atol=0.02, rtol=0.02)
        assert store.latents(index).std is None
        assert [box.xyxy for box in store.layouts[index].boxes] == [box.xyxy for box in sample.layout.boxes]
        assert {box.attribute for box in store.layouts[index].boxes} == {Attribute.HARD}
        assert torch.equal(store.masks(index), coverage(sample.masks.decode(), 8))


def test_without_attributes_layouts_stay_without(dataset: Dataset, tiny: GeneratorConfig, tmp_path: Path) -> None:
    encode(dataset, tiny, tmp_path / "latents")
    store = SampleStore.load(tmp_path / "latents")
    assert {box.attribute for layout in store.layouts for box in layout.boxes} == {None}


def test_stable_diffusions_autoencoder_gives_spread_and_mirrored(
    dataset: Dataset, tiny: GeneratorConfig, tmp_path: Path
) -> None:
    autoencoder = kl_autoencoder()
    encode(dataset, dataclasses.replace(tiny, flip=0.5), tmp_path / "latents", autoencoder)
    store = SampleStore.load(tmp_path / "latents")
    for flipped in (False, True):
        mean, std = store.latents(0, flipped=flipped)
        assert std is not None and mean.shape == std.shape == (4, 8, 8) and (std > 0).all()
    picture = dataset[0].load_image()
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    alone = encode_images([mirrored], autoencoder, flip=False)
    assert torch.allclose(store.latents(0, flipped=True).mean, alone["latents"][0].float(), atol=0.02, rtol=0.02)
    assert not torch.allclose(store.latents(0).mean, alone["latents"][0].float(), atol=0.02, rtol=0.02)


@pytest.mark.parametrize(("flip", "spread"), [(0.0, False), (0.5, False), (0.0, True), (0.5, True)])
def test_tensors_are_what_is_asked_for(tiny: GeneratorConfig, flip: float, spread: bool) -> None:
    autoencoder = kl_autoencoder() if spread else small_autoencoder()
    tensors = encode_images([Image.new("RGB", (64, 32), (200, 10, 60))] * 3, autoencoder, flip=flip > 0)
    expected = ["latents", "flipped"] if flip else ["latents"]
    assert set(tensors) == {name + more for name in expected for more in (("", "_std") if spread else ("",))}
    for tensor in tensors.values():
        assert tensor.shape == (3, 4, 4, 8) and tensor.dtype is torch.half


def test_coverage_counts_pixels() -> None:
    masks = np.zeros((2, 16, 24), np.bool_)
    masks[0, :8, :8] = True
    masks[1, :4, 8:16] = True
    assert coverage(masks, 8).tolist() == [[[255, 0, 0], [0, 0, 0]], [[0, 128, 0], [0, 0, 0]]]


def test_masks_are_as_fine_as_the_head_draws_them(dataset: Dataset, tiny: GeneratorConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny, head={"width": 8, "scale": 2})
    encode(dataset, config, tmp_path / "latents")
    store = SampleStore.load(tmp_path / "latents")
    assert store.shape == (4, 8, 8)
    for index, sample in enumerate(dataset):
        assert torch.equal(store.masks(index), coverage(sample.masks.decode(), 4))
    grown = cache_bytes(dataset, config, small_autoencoder()) - cache_bytes(dataset, tiny, small_autoencoder())
    assert grown == dataset.report.objects * 3 * 8 * 8
    with pytest.raises(
        ConfigError, match="masks of 3 cells in a latent cell of 8 pixels: choose a scale that divides it"
    ):
        encode(dataset, dataclasses.replace(tiny, head={"width": 8, "scale": 3}), tmp_path / "odd")


@pytest.mark.parametrize(("flip", "spread", "size"), [(0.0, False, 64), (0.5, True, 64), (0.0, False, 256)])
def test_the_stated_size_is_the_size(
    dataset: Dataset, tiny: GeneratorConfig, tmp_path: Path, flip: float, spread: bool, size: int
) -> None:
    config = dataclasses.replace(tiny, flip=flip, size=(size, size))
    autoencoder = kl_autoencoder() if spread else small_autoencoder()
    labels = {s.image_id: (Attribute.BACKGROUND,) * len(s.layout.boxes) for s in dataset}
    encode_dataset(dataset, labels, autoencoder, config, tmp_path / "latents", CPU, lambda *_: None)
    written = sum(path.stat().st_size for path in (tmp_path / "latents").iterdir())
    assert cache_bytes(dataset, config, autoencoder) == pytest.approx(written, rel=0.05)


# --- going on -------------------------------------------------------------------------------------


def test_a_killed_encoding_goes_on_by_the_chunk(
    dataset: Dataset, tiny: GeneratorConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "CHUNK", 3)
    assert encode(dataset, tiny, tmp_path / "whole") == [3, 6, 9, 10]
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "whole", cut)
    for name in ("chunk-00001.json", "chunk-00003.json", "chunk-00003.safetensors"):
        (cut / name).unlink()
    (cut / "chunk-00001.safetensors").write_bytes(b"torn")
    before = {path: path.stat().st_mtime_ns for path in (cut / "chunk-00000.json", cut / "chunk-00002.safetensors")}
    assert encode(dataset, tiny, cut) == [3, 6, 9, 10]
    assert {path.name: path.read_bytes() for path in cut.iterdir()} == whole
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was finished is left as it is"


def test_processes_share_the_chunks(
    dataset: Dataset, tiny: GeneratorConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "CHUNK", 3)
    monkeypatch.setattr(Processes, "wait", lambda self: None)
    encode(dataset, tiny, tmp_path / "whole")
    assert encode(dataset, tiny, tmp_path / "shared", processes=Processes(1, 2)) == [6, 10]
    assert encode(dataset, tiny, tmp_path / "shared", processes=Processes(0, 2)) == [3, 9]
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == names
    for name in names:
        assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


# --- what is wrong with the data ------------------------------------------------------------------


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """Five scenes as JPEG files."""
    folder = tmp_path / "data"
    write_dataset(folder, range(5), size=64)
    for path in sorted((folder / "images").iterdir()):
        Image.open(path).convert("RGB").save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    for file in (folder / "annotations").iterdir():
        file.write_text(file.read_text().replace(".png", ".jpg"))
    return folder


def words(papercut: Any, data: Path, out: Path, *more: str) -> list[str]:
    made: list[str] = papercut.words(out, "steps=1", *more, preset="papercut-cpu-geodiffusion", attributes=False)
    made[made.index("--data") + 1] = str(data)
    return made


def test_a_picture_cut_short_since_it_was_opened_is_named_and_what_is_finished_stays(
    spoiled: Path, tmp_path: Path, tiny: GeneratorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "CHUNK", 2)
    opened, out = open_dataset(spoiled, index=tmp_path / "index.sqlite"), tmp_path / "latents"
    picture = spoiled / "images" / "000003.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"000003\.jpg: image cannot be read"):
        encode(opened, tiny, out)
    assert sorted(path.name for path in out.iterdir()) == ["chunk-00000.json", "chunk-00000.safetensors"]
    picture.write_bytes(whole)
    encode(opened, tiny, out)
    assert len(list(out.glob("chunk-*.safetensors"))) == 3


@pytest.mark.usefixtures("at_home")
def test_a_picture_that_went_is_named(
    papercut: Any, spoiled: Path, tmp_path: Path, tiny: GeneratorConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_dataset(spoiled, index=tmp_path / "index.sqlite")
    (spoiled / "images" / "000002.jpg").unlink()
    with pytest.raises(DataError, match=r"000002\.jpg: image file not found"):
        encode(opened, tiny, tmp_path / "latents")
    assert main(words(papercut, spoiled, tmp_path / "run")) == 0, "opened anew, the others are trained on"
    assert "1 dropped: image file not found" in capsys.readouterr().err, "and it is counted"


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.usefixtures("at_home")
def test_no_object_behind_the_filter_is_said(papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*papercut.words(tmp_path / "run"), "--min-area", "0.99"]
    assert main(command) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and "no image is left" in said and "0.99 of the image or less" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("at_home")
def test_categories_without_names_are_said(
    papercut: Any, spoiled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def nameless(content: dict[str, Any], kept: int) -> None:
        for category in content["categories"][kept:]:
            category.pop("name", None)

    files = [spoiled / "annotations" / name for name in ("instances.json", "stuff.json")]
    for path in files:
        edit(path, lambda content: nameless(content, 1))
    assert main(words(papercut, spoiled, tmp_path / "run")) in (0, 2)  # 2 where no object is left
    assert "category without a name" in capsys.readouterr().err, "some: they are counted"
    for path in files:
        edit(path, lambda content: nameless(content, 0))
    assert main(words(papercut, spoiled, tmp_path / "none")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and "it names no categories" in said and "instances.json" in said


def test_what_is_no_autoencoder_is_said(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CheckpointError, match="has no autoencoder; give a model folder"):
            load_autoencoder(folder)
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(CheckpointError, match="has no autoencoder that can be read"):
        load_autoencoder(tmp_path)


@pytest.mark.parametrize("kind", [kl_autoencoder, small_autoencoder])
@pytest.mark.parametrize("inside", ["vae", ""])
def test_both_kinds_of_autoencoder_load(tmp_path: Path, kind: Callable[[], Any], inside: str) -> None:
    made = kind()
    made.save_pretrained(tmp_path / inside)
    loaded = load_autoencoder(tmp_path)
    assert type(loaded) is type(made) and loaded.dtype is torch.float32 and not loaded.training


# --- the disk -------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of a given size; skipped aloud where that is not permitted."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no small disk can be mounted here (it needs root): A FULL DISK IS NOT TESTED")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_encoding_and_keeps_what_is_finished(
    dataset: Dataset,
    tiny: GeneratorConfig,
    tmp_path: Path,
    small_disk: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(latents, "CHUNK", 2)
    config = dataclasses.replace(tiny, size=(256, 256))
    encode(dataset, config, tmp_path / "whole")
    out = small_disk("64k") / "latents"
    with pytest.raises(DataError, match=r"latents cannot be written \(.*(is full|[Nn]o space).*\); free some space"):
        encode(dataset, config, out)
    finished = sorted(path for path in out.iterdir() if path.suffix in (".json", ".safetensors"))
    assert finished and len(finished) % 2 == 0, "whole chunks alone"
    for path in finished:
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()


def test_a_full_disk_leaves_the_last_checkpoint(small_disk: Callable[[str], Path]) -> None:
    folder = small_disk("1m") / "checkpoints"
    tensors = {"x": torch.arange(150_000, dtype=torch.float32)}  # 600 kB: one fits, two do not
    save_checkpoint(folder, 1, tensors)
    with pytest.raises(DataError, match=r"the checkpoint of step 2 could not be written .*free some space"):
        save_checkpoint(folder, 2, tensors)
    saved = latest_checkpoint(folder)
    assert saved is not None and saved[0] == 1 and torch.equal(saved[1]["x"], tensors["x"])
    assert [path.name for path in folder.iterdir()] == ["step-00000001"]


@pytest.mark.usefixtures("at_home")
@pytest.mark.slow
def test_a_disk_that_fills_in_a_run_ends_it_with_2(
    papercut: Any,
    small_disk: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = small_disk("64m")
    out = disk / "run"
    monkeypatch.setattr("training.generator.command.check_disk", lambda *_: None)
    save, written = save_checkpoint, []

    def others_take_the_rest(*arguments: Any) -> Path:
        if written:
            free = os.statvfs(disk)
            with (disk / "others").open("wb") as file:
                file.write(b"x" * (free.f_bavail * free.f_frsize - 100_000))
        written.append(1)
        return save(*arguments)

    monkeypatch.setattr("training.generator.trainer.save_checkpoint", others_take_the_rest)
    assert main(papercut.words(out)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and "the checkpoint of step 6 could not be written" in said
    assert "free some space" in said
    (disk / "others").unlink()
    monkeypatch.setattr("training.generator.trainer.save_checkpoint", save)
    saved = latest_checkpoint(out / "checkpoints")
    assert saved is not None and saved[0] == 3
    assert main(papercut.words(out)) == 0, "with some space, the same command goes on"


# --- sizes ----------------------------------------------------------------------------------------


def test_a_picture_is_a_whole_number_of_cells(tiny: GeneratorConfig) -> None:
    assert latent_size(dataclasses.replace(tiny, size=(456, 800)), kl_autoencoder()) == (57, 100)
    assert latent_size(dataclasses.replace(tiny, size=(64, 128)), small_autoencoder()) == (8, 16)
    with pytest.raises(ConfigError, match="size is 800x450 pixels; both sides need to be multiples of 8"):
        latent_size(dataclasses.replace(tiny, size=(450, 800)), kl_autoencoder())


WIDE_UNET = {
    "sample_size": (57, 100),
    "block_out_channels": (8, 8, 16, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}


@pytest.mark.slow
def test_800x456_passes_through_unet_features_and_head(tiny: GeneratorConfig, tmp_path: Path) -> None:
    preset = TRAIN_PRESETS["sd15-800x456"]
    config = dataclasses.replace(tiny, size=preset.size, steps=2, batch=2, micro_batch=1, loss=LossConfig(), flip=0.5)
    data = tmp_path / "data"
    write_dataset(data, range(2), size=64)
    dataset = open_dataset(data, index=tmp_path / "index.sqlite")
    vocabulary = Vocabulary(dataset.things, dataset.stuff, (8, 8))
    scheduler = {"beta_schedule": "scaled_linear", "prediction_type": "epsilon"}
    autoencoder = kl_autoencoder()
    pipe = new_pipeline(vocabulary, WIDE_UNET, dict(tiny.text or {}), autoencoder, scheduler, {}, {"width": 8}, seed=0)
    encode(dataset, config, tmp_path / "latents", pipe.vae)
    store = SampleStore.load(tmp_path / "latents")
    assert store.shape == (4, 57, 100) and store.masks(0).shape[1:] == (57, 100)
    assert {(layout.width, layout.height) for layout in store.layouts} == {(800, 456)}
    layouts = [vocabulary.resolve(layout) for layout in store.layouts]
    with torch.no_grad(), FeatureTaps(pipe.unet) as taps:
        condition = pipe.encode_layouts(layouts)
        raw = pipe.draw_layouts(layouts, (57, 100))
        assert raw is not None and raw.shape[-2:] == (57, 100)
        prediction = pipe.denoise(torch.randn(2, 4, 57, 100), torch.tensor([10, 900]), condition, raw)
        sizes = [tuple(feature.shape[-2:]) for feature in taps.features]
        assert prediction.shape == (2, 4, 57, 100)
        assert sizes == [(15, 25), (29, 50), (57, 100), (57, 100)], "odd sides are halved upwards"
        logits = pipe.perception_head(taps.features, condition.objects)
    assert logits.shape == (2, condition.objects.shape[1], 57, 100)
    assert train_generator(pipe, store, config, tmp_path / "run", CPU, lambda *_: None) == 2
    picture = pipe(layouts[0], seeds=[0], steps=1).images[0]
    assert picture.size == (800, 456)
