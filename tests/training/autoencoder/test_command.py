"""python -m training autoencoder: any folder of pictures -> a model, and what it keeps of held-out ones."""

import argparse
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from detdiffusion.detection import Detections
from detdiffusion.errors import ConfigError, DataError
from detdiffusion.models.autoencoder import Decoded, Encoded, PointLatent, SmallAutoencoder
from training.autoencoder import command
from training.autoencoder.config import OF_SCENES, AutoencoderConfig
from training.core.settings import with_settings
from training.data.papercut.coco_export import write_dataset
from training.data.request import Reading

FIELDS = (
    *("batch=2", "crop=16", "block_out_channels=[8,8]", "layers_per_block=[1,1]", "latent_channels=4"),
    *("decoder_channels=[8,8]", "decoder_layers=[1,1]", "decoder_steps=2"),
)
WORDS = ("--size", "32", "--steps", "4", "--device", "cpu", "--set", *FIELDS, "checkpoint_steps=2", "warmup_steps=1")


class LightDetector:
    """Finds one lamp, the box around all bright pixels, as sure as they are bright."""

    name, sha256, labels, min_score = "lights", "e" * 64, ("lamp",), 0.5

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        return [self._look(np.asarray(image.convert("L")) / 255) for image in images]

    def _look(self, light: np.ndarray) -> Detections:
        rows, columns = np.nonzero(light > 0.2)
        if not len(rows):
            return Detections((), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))
        height, width = light.shape
        box = [columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height]
        return Detections(("lamp",), np.array([light[rows, columns].mean()]), np.array([box]))


class Dimmer:
    """An autoencoder that keeps everything but a share of the light."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, share: float) -> None:
        self.share = share

    def encode(self, pictures: Tensor) -> Encoded:
        return Encoded(PointLatent(pictures))

    def decode(self, latents: Tensor) -> Decoded:
        return Decoded((latents + 1) * self.share - 1)


def lamp(level: int, side: int = 32) -> np.ndarray:
    picture = np.zeros((side, side, 3), np.uint8)
    picture[8:24, 8:24] = level
    return picture


@pytest.fixture
def folder(tmp_path: Path, at_home: None) -> Path:
    """Twelve pictures of several sizes and kinds, in folders of folders, and something else."""
    folder = tmp_path / "pictures"
    for number in range(12):
        place = folder / f"{number % 3}" / "deep"
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(lamp(60 + 15 * number)).resize((40 + number, 30))
        picture.convert("L" if number == 5 else "RGB").save(place / f"{number}.{'jpg' if number % 2 else 'PNG'}")
    (folder / "notes.txt").write_text("no image")
    return folder


def parse(*words: str | Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_the_command_trains_measures_and_does_nothing_twice(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "load_detector", lambda name, model, **_: LightDetector())
    monkeypatch.setattr(command, "detector_path", lambda name, model: name)
    out = tmp_path / "run"
    words = ("--data", folder, "--out", out, *WORDS)
    assert command.run(parse(*words, "--detector", "lights")) == 0
    said = capsys.readouterr().out.splitlines()
    report = json.loads((out / "report.json").read_text())
    assert said[0] == f"PSNR {report['psnr']:.2f} dB on 2 held-out images" and said[-1] == str(out / "model")
    assert report["pictures"] == {"size": 32, "trained_on": 10, "held_out": 2}
    assert report["steps"] == 6
    assert report["detector"] == {"name": "lights", "sha256": "e" * 64, "min_score": 0.5}
    assert 0 < report["psnr"] < 60 and set(report["confidence"]) == {"objects", "before", "after", "kept"}
    model = SmallAutoencoder.from_pretrained(out / "model")
    assert model.downsample == 4 and model.config.latent_channels == 4
    stack = np.load(out / "pictures.npy", mmap_mode="r")
    assert stack.shape == (12, 32, 32, 3) and stack.dtype == np.uint8

    monkeypatch.setattr(command, "read_image_file", None)  # the pictures are not read again
    assert command.run(parse(*words)) == 0
    again = json.loads((out / "report.json").read_text())
    assert again["psnr"] == report["psnr"] and (again["confidence"], again["detector"]) == (None, None)

    few = ("--config", out / "config.json", "--data", folder, "--device", "cpu")
    assert command.run(parse(*few, "--out", out)) == 0, "the config.json of a run is a config"
    with pytest.raises(ConfigError, match="batch was 2, is 4"):
        command.run(parse(*words, "batch=4"))
    Image.new("RGB", (9, 9)).save(folder / "another.png")
    with pytest.raises(ConfigError, match="pictures_sha256 was"):
        command.run(parse(*words))


def test_a_config_then_the_arguments_then_set(tmp_path: Path) -> None:
    few = ("--data", "data", "--out", "out", "--config", tmp_path / "it.yaml")
    (tmp_path / "it.yaml").write_text("size: 64\nheld_out: 7\nbatch: 2\nsteps: 5\nlearning_rate: 1e-4\n")
    plain = command.request_of(parse(*few))
    assert (plain.size, plain.held_out, plain.config.batch, plain.config.steps) == (64, 7, 2, 5)
    assert plain.config == dataclasses.replace(AutoencoderConfig(), batch=2, steps=5, learning_rate=1e-4)
    later = command.request_of(parse(*few, "--size", "32", "--steps", "6", "--set", "batch=4"))
    assert (later.size, later.held_out, later.config.batch, later.config.steps) == (32, 7, 4, 6)
    without = command.request_of(parse("--data", "data", "--out", "out"))
    assert (without.size, without.held_out, without.config) == (256, None, AutoencoderConfig())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size: large", "size large needs to be a whole number of 1 or more"),
        ("held_out: 0", "held_out 0 needs to be a whole number of 1 or more"),
        ("batsh: 2", r"it\.yaml: batsh: there is no such field; did you mean batch"),
        ("scenes: 5", r"it\.yaml: scenes: there is no such field"),
        ("batch: many", r"it\.yaml: batch=many: needs a value like 16"),
    ],
)
def test_bad_configs(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "it.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        command.request_of(parse("--data", "data", "--out", "out", "--config", tmp_path / "it.yaml"))


def test_the_decoder_of_a_run_learns_on(folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    settings = ("--data", folder, "--size", "32", "--device", "cpu", "--set", *FIELDS)
    assert command.run(parse("--out", first, *settings, "steps=3")) == 0
    assert command.run(parse("--out", second, "--start", first / "model", *settings, "steps=0")) == 0
    was, now = (SmallAutoencoder.from_pretrained(run / "model") for run in (first, second))
    pictures = torch.rand(1, 3, 32, 32)
    latents = was.encode(pictures).latent_dist.mode()
    assert torch.equal(now.encode(pictures).latent_dist.mode(), latents)
    assert not torch.equal(now.decode(latents).sample, was.decode(latents).sample)
    assert now.config.scaling_factor == was.config.scaling_factor
    with pytest.raises(ConfigError, match="start_sha256 was"):
        command.run(parse("--out", second, "--start", second / "model", *settings, "steps=0"))


def test_pictures_are_stretched_and_in_order(folder: Path, tmp_path: Path) -> None:
    files = command.image_files(folder, None)
    stack = command.image_stack(files, 16, tmp_path / "pictures.npy")
    for picture, file in zip(stack, files, strict=True):
        expected = Image.open(file).convert("RGB").resize((16, 16), Image.Resampling.LANCZOS)
        assert np.array_equal(picture, np.asarray(expected))
    assert [path.name for path in tmp_path.glob("*.npy*")] == ["pictures.npy"]


def test_a_cut_picture_is_left_out_by_name(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, file = command.image_files(folder, None), folder / "0" / "deep" / "3.jpg"
    file.write_bytes(file.read_bytes()[:300])
    assert command.image_files(folder, None) == [path for path in whole if path != file]
    said = capsys.readouterr().err
    assert "1 dropped: image cannot be read" in said and "0/deep/3.jpg: " in said and ".dropped.csv" in said
    with pytest.raises(DataError, match=r"--strict was given.*0/deep/3\.jpg"):
        command.image_files(folder, None, Reading(strict=True))
    with pytest.raises(DataError, match=r"3\.jpg: image cannot be read"):
        command.image_stack(whole, 16, tmp_path / "pictures.npy")
    assert not (tmp_path / "pictures.npy").exists(), "no half stack"


def test_a_full_disk_is_said(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(files: Sequence[Path], size: int, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "_write_stack", full)
    with pytest.raises(DataError, match=r"images\.npy cannot be written .*the disk is full.* free some space"):
        command.image_stack(command.image_files(folder, None), 16, tmp_path / "pictures.npy")
    assert not list(tmp_path.glob("pictures.*"))


def test_of_a_data_set_only_its_pictures_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_dataset(tmp_path / "data", range(930_000, 930_002), size=32, workers=1)
    Image.new("RGB", (9, 9)).save(tmp_path / "data" / "images" / "other.png")
    found = command.image_files(tmp_path / "data", None)
    assert [path.name for path in found] == ["930000.png", "930001.png"]


@pytest.mark.parametrize(
    ("place", "split", "message"),
    [("absent", None, "no such folder"), ("empty", None, "no images"), ("pictures", "val", "only data sets have")],
)
def test_folders_without_pictures(folder: Path, tmp_path: Path, place: str, split: str | None, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        command.image_files(tmp_path / place, split)


@pytest.mark.parametrize(
    ("count", "held_out", "expected"), [(10, None, 1), (11, None, 2), (5000, None, 256), (9, 4, 4)]
)
def test_the_split_is_seeded_and_complete(count: int, held_out: int | None, expected: int) -> None:
    files = [Path(str(number)) for number in range(count)]
    parts = command.split_files(files, held_out, seed=3)
    assert len(parts.held_out) == expected
    assert sorted([*parts.trained, *parts.held_out]) == sorted(files)
    assert parts == command.split_files(files, held_out, seed=3) != command.split_files(files, held_out, seed=4)


@pytest.mark.parametrize(("count", "held_out"), [(1, None), (5, 5), (5, 9)])
def test_something_is_left_to_train_on(count: int, held_out: int | None) -> None:
    with pytest.raises(DataError, match="nothing is left to train on"):
        command.split_files([Path(str(number)) for number in range(count)], held_out, seed=0)


@pytest.mark.parametrize(("share", "kept"), [(1.0, 1.0), (0.8, 0.8)])
def test_what_is_kept_by_hand(share: float, kept: float) -> None:
    pictures = np.stack([lamp(200), lamp(250), lamp(90)])  # the detector is not sure of the last
    report = command.measure(Dimmer(share), pictures, LightDetector())  # type: ignore[arg-type]
    assert report["confidence"]["objects"] == 2
    assert report["confidence"]["before"] == pytest.approx(225 / 255, abs=1e-6)
    assert report["confidence"]["kept"] == pytest.approx(kept, abs=1e-6)
    errors = [(level * (1 - share)) ** 2 / 4 for level in (200, 250, 90)]  # a quarter of the pixels is lit
    by_hand = [10 * math.log10(255**2 / error) if error else 10 * math.log10(4e10) for error in errors]
    assert report["psnr"] == pytest.approx(np.mean(by_hand), abs=1e-3)


def test_nothing_found_is_not_a_number() -> None:
    report = command.measure(Dimmer(1.0), np.stack([lamp(0)]), LightDetector())  # type: ignore[arg-type]
    assert report["confidence"] == {"objects": 0, "before": None, "after": None, "kept": None}


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("batch=9", "batch", 9),
        ("learning_rate=1e-4", "learning_rate", 1e-4),
        ("learning_rate=1", "learning_rate", 1.0),
        ("block_out_channels=[16, 32]", "block_out_channels", (16, 32)),
        ("seed=0", "seed", 0),
    ],
)
def test_settings_are_taken(setting: str, field: str, value: Any) -> None:
    config = with_settings(AutoencoderConfig(), [setting])
    assert config == dataclasses.replace(AutoencoderConfig(), **{field: value})
    assert type(getattr(config, field)) is type(value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batch", "'batch': --set takes field=value"),
        ("batch=2.5", "needs a value like 16"),
        ("batch=true", "needs a value like 16"),
        ("batch=many", "needs a value like 16"),
        ("learning_rate=[1]", "needs a value like 0.001"),
        ("layers_per_block=2", r"needs a value like \[1, 2, 2\]"),
        ("layers_per_block=[1,0]", r"layers_per_block \(1, 0\) needs to be whole numbers above 0"),
        ("scenes=5", "--set scenes: there is no such field"),
        ("widht=5", "there is no such field; known: block_out_channels"),
    ],
)
def test_bad_settings_are_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_settings(AutoencoderConfig(), [setting], fixed=OF_SCENES)


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({"steps": -1}, 256, "steps -1 needs to be a number of 0 or more"),
        ({"learning_rate": 0.0}, 256, "learning_rate 0.0 needs to be a number above 0"),
        ({"learning_rate": math.nan}, 256, "learning_rate nan"),
        ({"latent_noise": -0.1}, 256, "latent_noise -0.1 needs to be a number of 0 or more"),
        ({"decoder_latent_noise": -0.1}, 256, "decoder_latent_noise -0.1 needs to be a number of 0 or more"),
        ({"critic_pull": math.inf}, 256, "critic_pull inf"),
        ({"decoder_channels": (32, 0)}, 256, r"decoder_channels \(32, 0\) needs to be whole numbers above 0"),
        ({"layers_per_block": (1, 2)}, 256, "block_out_channels has 3 levels, layers_per_block 2"),
        ({"decoder_channels": (32, 64)}, 256, "block_out_channels has 3 levels, decoder_channels 2"),
        ({"decoder_layers": (1, 2)}, 256, "block_out_channels has 3 levels, decoder_layers 2"),
        ({"crop": 40}, 256, "crop 40 needs to be a multiple of 16"),
        ({}, 64, "crop 128 .*at most the size 64"),
        ({}, 260, "multiple of 8"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes: dict[str, Any], size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        command.check_config(dataclasses.replace(AutoencoderConfig(), **changes), size)
    command.check_config(AutoencoderConfig(), 256)


@pytest.mark.parametrize("device", ["abacus", "cuda:99x"])
def test_devices_that_are_none(folder: Path, tmp_path: Path, device: str) -> None:
    with pytest.raises(ConfigError, match="no such device"):
        command.run(parse("--data", folder, "--out", tmp_path / "run", "--device", device))
