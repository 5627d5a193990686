"""python -m training detector: both libraries on any data set; killed and run again; what is wrong is said early."""

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detdiffusion.core.files import unsealed
from detdiffusion.detectors import load_detector
from detdiffusion.detectors.architectures import SSD
from detdiffusion.detectors.torchvision import SMALL, build_model, squared
from detdiffusion.errors import ConfigError, DataError, DetectorError
from detdiffusion.layout import Box, Layout
from training.core.checkpoints import latest_checkpoint
from training.core.settings import parse_settings
from training.data.datasets import Dataset, open_dataset
from training.data.papercut.classes import THINGS
from training.data.papercut.coco_export import write_dataset
from training.detector import command
from training.detector import recipe as detector_learning
from training.detector.command import choose_images
from training.detector.images import SplitImages
from training.detector.recipe import DetectorTraining, batches, make_example, train_torchvision

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
TINY = DetectorTraining(SMALL, image_size=64, epochs=2, batch=4, proposals=8, warmup_steps=2)
WORDS = ("--image-size", "64", "--batch", "4", "--held-out", "2", "--device", "cpu")
YOLO_WORDS = ("--arch", "yolo11n", "--image-size", "32", "--batch", "4", "--held-out", "2")


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("papercut")
    write_dataset(folder / "data", range(930_000, 930_010), size=64, workers=1)
    return folder / "data"


@pytest.fixture
def dataset(folder: Path, tmp_path: Path) -> Dataset:
    return open_dataset(folder, index=tmp_path / "index.sqlite")


@pytest.fixture
def pictures(dataset: Dataset) -> SplitImages:
    return choose_images(dataset, None, 2, 0)


def parse(*words: str | Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


# --- what is learned ------------------------------------------------------------------------------


def test_objects_of_the_layout_mirrored_and_not() -> None:
    thin = Box("cup", (0.5, 0.1, 0.505, 0.9))
    layout = Layout(80, 40, (Box("car", (0.0, 0.5, 0.25, 1.0)), Box("road", (0, 0, 1, 1)), thin))
    image = Image.new("RGB", (80, 40), "black")
    image.paste((255, 0, 0), (0, 20, 20, 40))
    for flip, box in ((False, [0, 16, 16, 32]), (True, [48, 16, 64, 32])):
        example = make_example(*squared(image, 64), layout, ("cup", "car"), flip=flip)
        assert example.image.shape == (3, 64, 64)
        assert example.boxes.tolist() == [box], "stuff and what is thinner than a pixel are left out"
        assert example.classes.tolist() == [2]
        x1, y1, x2, y2 = box
        red = example.image[0] - example.image[1] > 0.9
        assert red[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].all() and int(red.sum()) <= (x2 - x1 + 1) * (y2 - y1 + 1)


def test_every_epoch_has_an_order_and_mirrors_of_its_own(pictures: SplitImages) -> None:
    def sums(epoch: int, seed: int = 0) -> list[float]:
        made = list(batches(pictures, replace(TINY, seed=seed), epoch))
        assert [len(batch) for batch in made] == [4, 4]
        return [round(float(example.image.sum()), 1) for batch in made for example in batch]

    assert sums(0) == sums(0)
    assert sums(0) != sums(1) and sums(0) != sums(0, seed=1)
    assert sorted(sums(0)) == pytest.approx(sorted(sums(1)), abs=1)


def test_a_picture_without_objects_is_learned_too(dataset: Dataset, tmp_path: Path) -> None:
    empty = make_example(*squared(Image.new("RGB", (8, 8)), 64), dataset[0].layout, ("zebra",), flip=True)
    assert empty.boxes.shape == (0, 4)
    model = detector_learning.new_model(TINY, 1, CPU, None).train()
    loss = detector_learning.learn(
        model, detector_learning.new_optimizer(model, TINY), [empty, empty], TINY, 0, 1.0, CPU
    )
    assert np.isfinite(loss)


def test_gradients_in_half_precision_hold_still(pictures: SplitImages) -> None:
    """On a CPU: anything else would show in a resumed run. (This one computes in bfloat16 where the CPU does.)"""
    config = replace(TINY, image_size=128, batch=2)
    batch = next(batches(pictures, config, 0))
    ends = []
    for _ in range(2):
        model = detector_learning.new_model(config, len(THINGS), CPU, None).train()
        detector_learning.learn(model, detector_learning.new_optimizer(model, config), batch, config, 0, 1.0, CPU)
        ends.append(model.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


@pytest.mark.parametrize("architecture", ["retinanet_resnet50_fpn_v2", "ssdlite320_mobilenet_v3_large"])
def test_other_families_learn(architecture: str, pictures: SplitImages) -> None:
    config = replace(TINY, architecture=architecture, batch=2)
    model = detector_learning.new_model(config, len(THINGS), CPU, None).train()
    optimizer = detector_learning.new_optimizer(model, config)
    before = {name: value.clone() for name, value in model.named_parameters()}
    loss = detector_learning.learn(model, optimizer, next(batches(pictures, config, 0)), config, 0, 1.0, CPU)
    assert np.isfinite(loss)
    assert any("backbone" in name and not torch.equal(value, before[name]) for name, value in model.named_parameters())


# --- resuming -------------------------------------------------------------------------------------


def test_a_killed_training_ends_with_the_same_bits(pictures: SplitImages, tmp_path: Path) -> None:
    """Killed in the second epoch; the same call goes on from the first one's end."""
    steps: list[int] = []

    def report(done: int, total: int, metrics: dict[str, float]) -> None:
        assert total == 4 and "loss" in metrics
        steps.append(done)

    def kill(done: int, total: int, metrics: dict[str, float]) -> None:
        report(done, total, metrics)
        if done == 3:
            raise Killed

    whole = train_torchvision(pictures, TINY, tmp_path / "a", tmp_path / "a" / "run", CPU, report)
    with pytest.raises(Killed):
        train_torchvision(pictures, TINY, tmp_path / "b", tmp_path / "b" / "run", CPU, kill)
    cut = train_torchvision(pictures, TINY, tmp_path / "b", tmp_path / "b" / "run", CPU, report)
    assert steps == [1, 2, 3, 4, 1, 2, 3, 3, 4]
    ends = [latest_checkpoint(folder / "run" / "checkpoints") for folder in (whole, cut)]
    assert ends[0] is not None and ends[1] is not None and ends[0][0] == ends[1][0] == 2
    assert all(torch.equal(value, ends[1][1][name]) for name, value in ends[0][1].items())
    assert load_detector(whole).sha256 == load_detector(cut).sha256
    rows = [(folder / "run" / "metrics.jsonl").read_text() for folder in (whole, cut)]
    assert rows[0] == rows[1] and [json.loads(row)["step"] for row in rows[0].splitlines()] == [1, 2]


def test_a_loss_that_is_not_finite_moves_no_weight(
    pictures: SplitImages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = detector_learning.new_model(TINY, len(THINGS), CPU, None).train()
    before = {name: value.clone() for name, value in model.named_parameters()}
    batch = next(batches(pictures, TINY, 0))
    broken = [replace(batch[0], image=batch[0].image * torch.nan), *batch[1:]]
    optimizer = detector_learning.new_optimizer(model, TINY)
    assert np.isnan(detector_learning.learn(model, optimizer, broken, TINY, 0, 1.0, CPU))
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    monkeypatch.setattr(detector_learning, "MAX_BAD_STEPS", 3)
    monkeypatch.setattr(detector_learning, "learn", lambda *_: float("nan"))
    with pytest.raises(DataError, match="epoch 1: the loss was not finite 3 times in a row"):
        train_torchvision(pictures, replace(TINY, batch=1), tmp_path, tmp_path / "run", CPU, lambda *_: None)


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("at_home")
def test_torchvision_by_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine"
    words = ("--arch", SMALL, "--data", folder, "--out", out, "--epochs", "1", *WORDS, "--set", "proposals=8")
    assert command.run(parse(*words)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("AP50 ") and said[0].endswith("on 2 held-out images") and said[1] == str(out)
    detector = load_detector(out)
    assert (detector.name, detector.labels) == ("mine", THINGS)
    assert sorted(path.name for path in (out / "run").iterdir()) == [
        "config.json",
        "metrics.jsonl",
        "report.json",
        "status.json",
        "tensorboard",
    ]
    report = unsealed(json.loads((out / "run" / "report.json").read_text()))
    assert (report["trained_on"], report["held_out"]) == (8, 2)
    before = (out / "detector.json").stat().st_mtime_ns
    assert command.run(parse(*words)) == 0
    assert (out / "detector.json").stat().st_mtime_ns == before, "it is not trained again"
    config = out / "run" / "config.json"
    assert command.run(parse("--config", config, "--data", folder, "--out", out, "--device", "cpu")) == 0
    with pytest.raises(ConfigError, match="epochs was 1, is 2"):
        command.run(parse(*words, "--epochs", "2"))
    start = ("--start", out / "model-00001-of-00003.safetensors")
    assert command.run(parse(*words[:4], "--out", tmp_path / "b", *words[6:], *start)) == 0
    again = ("--data", folder, "--weights", out, "--out", tmp_path / "c", *WORDS, "--epochs", "1")
    assert command.run(parse(*again)) == 0, "a detector folder names its architecture"
    assert json.loads((tmp_path / "c" / "run" / "config.json").read_text())["arch"] == SMALL


@pytest.mark.usefixtures("at_home")
def test_ultralytics_by_command(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    words = (*YOLO_WORDS, "--data", folder, "--out", out, "--epochs", "1", "--limit", "6", "--set", "mosaic=0.3")
    assert command.run(parse(*words)) == 0
    detector = load_detector(out)
    assert (detector.name, detector.labels, detector.min_score) == ("mine", THINGS, 0.5)
    written = ["config.json", "report.json", "status.json"]
    assert sorted(path.name for path in (out / "run").iterdir()) == written
    assert json.loads((out / "run" / "report.json").read_text())["trained_on"] == 4
    few = ("--image-size", "32", "--batch", "4", "--held-out", "2", "--epochs", "1", "--limit", "6", "--device", "cpu")
    assert command.run(parse(*few, "--data", folder, "--weights", out, "--out", tmp_path / "further")) == 0
    assert json.loads((tmp_path / "further" / "detector.json").read_text())["architecture"] == "yolo11n.yaml"


@pytest.mark.parametrize(("words", "count"), [((), 10), (("--no-negatives",), 9)])
def test_images_of_nothing_are_learned_unless_they_are_dropped(
    words: tuple[str, ...], count: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_home: None
) -> None:
    shutil.copytree(folder, tmp_path / "data")
    for path in (tmp_path / "data" / "annotations").iterdir():
        content = json.loads(path.read_text())
        first = min(row["id"] for row in content["images"])
        content["annotations"] = [row for row in content["annotations"] if row["image_id"] != first]
        path.write_text(json.dumps(content))

    def training(request: command.DetectorRequest) -> Callable[[SplitImages], None]:
        def train(images: SplitImages) -> None:
            assert len(images.learned) + len(images.held_out) == count
            raise Killed

        return train

    monkeypatch.setattr(command, "_training", training)
    with pytest.raises(Killed):
        command.run(parse("--arch", SMALL, "--data", tmp_path / "data", "--out", tmp_path / "out", *WORDS, *words))


def test_a_config_then_the_arguments_then_set(tmp_path: Path) -> None:
    file, few = tmp_path / "it.yaml", ("--data", "data", "--out", "out", "--config", tmp_path / "it.yaml")
    file.write_text(f"arch: {SMALL}\nepochs: 3\nimage_size: 96\nheld_out: 7\nproposals: 16\nmomentum: 0.5\n")
    plain = command.request_of(parse(*few))
    assert (plain.architecture, plain.epochs, plain.image_size, plain.batch, plain.held_out) == (SMALL, 3, 96, 16, 7)
    config = command._config(plain)
    assert (config.epochs, config.image_size, config.proposals, config.momentum) == (3, 96, 16, 0.5)
    later = command.request_of(
        parse(*few, "--epochs", "4", "--arch", "retinanet_resnet50_fpn", "--set", "momentum=0.8")
    )
    config = command._config(later)
    assert (config.architecture, config.epochs, config.proposals, config.momentum) == (
        "retinanet_resnet50_fpn",
        4,
        16,
        0.8,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 1", "give --arch, or a --config that names one"),
        (f"arch: {SMALL}\nepochs: many", "epochs many needs to be a whole number of 1 or more"),
        (f"arch: {SMALL}\nheld_out: 0", "held_out 0 needs to be a whole number of 1 or more"),
        (f"arch: {SMALL}\nmomentun: 1", r"it\.yaml: momentun: there is no such field; did you mean momentum"),
        ("arch: yolo11n\nmosaic: much", r"it\.yaml: mosaic=much: ultralytics takes numbers"),
        ("- 1", r"it\.yaml needs fields and their values"),
    ],
)
def test_bad_configs(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "it.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        command.run(parse("--data", tmp_path, "--out", tmp_path / "out", "--config", tmp_path / "it.yaml"))


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (
            ("--arch", "fasterrcnn"),
            DetectorError,
            f"'fasterrcnn.yaml' is no built-in .* of torchvision .*{SMALL}",
        ),
        (("--arch", SMALL, "--image-size", "32"), ConfigError, "image_size 32 needs to be a whole number of 64"),
        (("--arch", SMALL, "--set", "mosaic=1"), ConfigError, "mosaic: there is no such field; known: learning_rate"),
        (("--arch", SMALL, "--set", "momentum=1"), ConfigError, "momentum 1.0 "),
        (("--arch", SMALL, "--set", "proposals=8.5"), ConfigError, "proposals=8.5: needs a value like 512"),
        (("--arch", SMALL, "--set", "learning_rate"), ConfigError, "--set takes field=value"),
        (("--arch", SMALL, "--device", "abacus"), ConfigError, "--device abacus"),
        (("--arch", SMALL, "--weights", "absent.pth"), DataError, r"absent\.pth: no such file"),
        ((), ConfigError, "give --arch, or a --config .* or --weights of a .pt file"),
        (("--arch", SMALL, "--held-out", "10"), DataError, "10 images, 10 of them held out"),
        (("--arch", SMALL, "--limit", "1"), DataError, "1 images, 1 of them held out"),
        (("--arch", "yolo11n", "--set", "mosaic=much"), ConfigError, "mosaic=much: ultralytics takes numbers"),
        (
            ("--arch", "yolo11n", "--set", "mosaik=1"),
            ConfigError,
            "no setting mosaik; did you mean mosaic",
        ),
    ],
)
def test_bad_words(words: Sequence[str], error: type[Exception], message: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        command.run(parse("--data", folder, "--out", tmp_path / "out", "--epochs", "1", *words))


@pytest.mark.usefixtures("at_home")
def test_another_detector_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "detector.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds a detector of another origin"):
        command.run(parse("--arch", SMALL, "--data", folder, "--out", tmp_path))


def test_the_pictures_hold_still(dataset: Dataset) -> None:
    first, again = (choose_images(dataset, 6, None, 3) for _ in range(2))
    assert first == again
    assert len(first.learned) == 5 and len(first.held_out) == 1
    assert not set(first.learned) & set(first.held_out)
    assert choose_images(dataset, 6, None, 4) != first


@pytest.mark.parametrize(
    ("words", "numbers"), [([], {}), (["a=1", "b=0.5", "c=-2e-3"], {"a": 1, "b": 0.5, "c": -0.002})]
)
def test_settings_are_numbers(words: list[str], numbers: dict[str, Any]) -> None:
    settings = parse_settings(words)
    assert settings == numbers
    assert all(type(value) is type(numbers[name]) for name, value in settings.items())


@pytest.mark.parametrize(
    ("pictures", "batch", "updates", "fits"),
    [(4, 4, 0, True), (5, 4, 0, False), (5, 4, 1, True), (5, 4, 2, False), (1, 4, 0, False), (3, 1, 0, False)],
)
def test_ssd_is_given_two_images_or_more(pictures: int, batch: int, updates: int, fits: bool) -> None:
    config = DetectorTraining(SSD[0], 320, 3, batch, updates=updates)
    replace(config, architecture=SMALL).check_batches(pictures)
    replace(config, image_size=544).check_batches(pictures)
    if fits:
        config.check_batches(pictures)
    else:
        with pytest.raises(ConfigError, match="needs two images or more in each batch"):
            config.check_batches(pictures)


def test_a_single_image_is_too_few_for_ssd_up_to_512_pixels() -> None:
    model = build_model(SSD[0], 2, None).backbone.train()
    with pytest.raises(ValueError, match="more than 1 value"):
        model(torch.zeros(1, 3, 512, 512))
    assert [one.shape[-1] for one in model(torch.zeros(1, 3, 544, 544)).values()][-1] == 2
