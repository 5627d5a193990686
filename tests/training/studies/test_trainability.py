"""python -m training trainability: lists of one length, nothing leaks, paired gains, real tiny trainings."""

import argparse
import json
import math
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.optim.optimizer import register_optimizer_step_post_hook

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.detectors.ultralytics.training import train_ultralytics
from detdiffusion.errors import ConfigError, DataError, DetectorError
from detdiffusion.layout import Attribute
from training.data.attributes import encode_row, make_header
from training.data.datasets import Dataset, open_dataset
from training.data.papercut.coco_export import write_dataset
from training.detector.recipe import DetectorTraining, Example, augmented
from training.report.study_tables import TRAINABILITY_SCORES
from training.studies import trainability as command
from training.studies.config import TrainabilityConfig
from training.studies.trainability_rows import AUGMENTED, REAL, Row, Union, Wanted, make_plan, repeated, write_repeats
from training.studies.trainability_training import epochs_of, updates_of

SIZE = 96


def ask(*words: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Real pictures with a split to measure on, and generated ones (scenes, here)."""
    root = tmp_path_factory.mktemp("trainability")
    real, made = root / "real", root / "hard"
    for split, seeds in (("train", range(4)), ("val", range(10, 13))):
        write_dataset(root / split, seeds, size=SIZE)
        shutil.copytree(root / split / "images", real / split)
        (real / "annotations").mkdir(exist_ok=True)
        for kind in ("instances", "stuff"):
            content = (root / split / "annotations" / f"{kind}.json").read_text()
            (real / "annotations" / f"{kind}_{split}.json").write_text(content)
    write_dataset(made, range(20, 26), size=SIZE)
    return real, made


@pytest.fixture
def opened(folders: tuple[Path, Path], at_home: None) -> tuple[Dataset, Dataset, Dataset]:
    real, made = folders
    return open_dataset(real, split="train"), open_dataset(real, split="val"), open_dataset(made)


# --- what is learned ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "length", "expected"),
    [([4, 5], 5, (4, 5, 4, 5, 4)), (range(3), 3, (0, 1, 2)), ([7, 8, 9], 2, (7, 8)), ([1], 3, (1, 1, 1))],
)
def test_repeated(places: Any, length: int, expected: tuple[int, ...]) -> None:
    assert repeated(places, length) == expected


def test_rows_are_equally_long_and_fair(opened: tuple[Dataset, Dataset, Dataset]) -> None:
    real, validation, made = opened
    plan = make_plan(real, validation, [made], [0, 2, 3])
    assert [row.name for row in plan.rows] == [REAL, AUGMENTED, "real + hard"]
    assert {len(row.learned) for row in plan.rows} == {9} == {plan.epoch}
    alone, augmented_row, both = plan.rows
    assert alone.learned == augmented_row.learned and augmented_row.augment and not alone.augment
    assert Counter(alone.learned) == {0: 3, 2: 3, 3: 3}
    assert sorted(both.learned) == [0, 2, 3, *range(4, 10)]
    assert (both.real, both.synthetic) == (3, 6) and (alone.real, alone.synthetic) == (3, 0)
    assert not {place for row in plan.rows for place in row.learned} & set(plan.held_out)
    half = make_plan(real, validation, [made], [0, 2, 3], Wanted(share=0.5)).rows[2]
    assert len(half.learned) == 9 and sum(place >= 4 for place in half.learned) == 4


def test_union_is_its_parts(opened: tuple[Dataset, Dataset, Dataset]) -> None:
    real, validation, made = opened
    union = Union((real, made, validation))
    assert union.things == real.things
    for number, part in enumerate(union.parts):
        assert [union[place].path for place in union.places(number)] == [sample.path for sample in part]
    with pytest.raises(IndexError):
        union[13]


def test_measured_pictures_are_not_learned(folders: tuple[Path, Path], tmp_path: Path, at_home: None) -> None:
    real = Path(shutil.copytree(folders[0], tmp_path / "real"))
    content = json.loads((real / "annotations" / "instances_val.json").read_text())
    shutil.copy(real / "train" / "000002.png", real / "val" / content["images"][0]["file_name"])
    train, validation, made = open_dataset(real, split="train"), open_dataset(real, split="val"), folders[1]
    with pytest.raises(DataError, match="is among the images to learn from"):
        make_plan(train, validation, [open_dataset(made)], range(4))
    assert make_plan(train, validation, [open_dataset(made)], [0, 1, 3])


def test_other_classes_are_refused(opened: tuple[Dataset, Dataset, Dataset], tmp_path: Path) -> None:
    real, validation, made = opened
    write_dataset(tmp_path / "odd", range(2), size=64)
    path = tmp_path / "odd" / "annotations" / "instances.json"
    path.write_text(path.read_text().replace('"car"', '"spaceship"'))
    with pytest.raises(DataError, match=r"odd has classes that .*real does not have: spaceship"):
        make_plan(real, validation, [open_dataset(tmp_path / "odd")], range(4))
    with pytest.raises(ConfigError, match="different names"):
        make_plan(real, validation, [made, made], range(4))


def test_epochs_make_the_updates() -> None:
    plan: Any = SimpleNamespace(epoch=100)
    for updates, epochs in ((1000, 143), (7, 1), (1, 1), (70, 10)):
        assert epochs_of(TrainabilityConfig(160, updates, batch=16), plan) == epochs


def test_torchvision_makes_the_updates_that_are_asked_for() -> None:
    plan: Any = SimpleNamespace(epoch=100)
    for detector, updates, made in (("fasterrcnn_resnet18_fpn", 2, 2), ("yolo11n", 2, 7), ("yolo11n", 20, 21)):
        request: Any = SimpleNamespace(detector=detector, config=TrainabilityConfig(160, updates, batch=16))
        assert updates_of(request, plan) == made


def test_updates_end_within_an_epoch() -> None:
    exact = DetectorTraining("fasterrcnn_resnet18_fpn", 64, 3, updates=7)
    assert [exact.steps(epoch) for epoch in (2, 3, 4)] == [6, 7, 7]
    assert DetectorTraining("fasterrcnn_resnet18_fpn", 64, 3).steps(4) == 12


def test_augmented_examples() -> None:
    """Other pixels, boxes that follow, the same for the same seed; small leftovers go."""
    picture = torch.zeros(3, 64, 64)
    picture[:, 16:48, 16:48] = 1.0
    example = Example(picture, torch.tensor([[16.0, 16, 48, 48], [0, 0, 0.5, 0.5]]), torch.tensor([2, 3]))
    kinds = set()
    for seed in range(12):
        made, again = augmented(example, seed), augmented(example, seed)
        assert torch.equal(made.image, again.image) and torch.equal(made.boxes, again.boxes)
        assert made.image.shape == (3, 64, 64) and len(made.boxes) == len(made.classes)
        kinds.add(tuple(made.boxes.flatten().round().tolist()))
        for box, label in zip(made.boxes, made.classes, strict=True):
            assert (box >= 0).all() and (box <= 64).all()
            if label == 2:
                x1, y1, x2, y2 = box.round().int().tolist()
                inside = made.image[:, y1:y2, x1:x2].mean()
                assert inside > made.image.mean() - 1e-3, "the bright square is in its box"
    assert len(kinds) > 6


# --- tables ---------------------------------------------------------------------------------------


def write_result(out: Path, row: Row, seed: int, value: float) -> None:
    path = command.result_path(out, row, seed)
    path.parent.mkdir(parents=True)
    by_class = {"car": {"mAP": value, "AP50": value}}
    path.write_text(json.dumps(dict.fromkeys(TRAINABILITY_SCORES, value) | {"by_class": by_class}))


def test_gains_are_paired_by_seed(tmp_path: Path) -> None:
    rows = (Row(REAL, (0,), 1, 0), Row("real + hard", (0, 1), 1, 1))
    base, hard = [0.3, 0.5, 0.4], [0.33, 0.52, 0.45]
    for row, values in zip(rows, (base, hard), strict=True):
        for seed, value in enumerate(values):
            write_result(tmp_path, row, seed, value)
    first, second = command.summarise(rows, [0, 1, 2, 3], tmp_path, {}).to_json()["rows"]
    assert first["gain"]["mAP"] is None and first["seeds"] == [0, 1, 2]
    gains = np.subtract(hard, base)
    half = stats.t.ppf(0.975, 2) * gains.std(ddof=1) / math.sqrt(3)
    assert second["gain"]["mAP"]["mean"] == pytest.approx(gains.mean(), abs=1e-6)
    assert second["gain"]["mAP"]["ci95"] == pytest.approx([gains.mean() - half, gains.mean() + half], abs=1e-6)
    assert second["mAP"]["mean"] == pytest.approx(np.mean(hard), abs=1e-6)
    assert second["by_class"]["car"]["mean"] == pytest.approx(np.mean(hard), abs=1e-6)
    assert second["recall50"] is None
    table = "\n".join(command.summarise(rows, [0, 1, 2], tmp_path, {}).lines())
    assert "3.3 +- 3.8" in table and "43.3" in table


def test_a_gain_needs_both(tmp_path: Path) -> None:
    rows = (Row(REAL, (0,), 1, 0), Row("real + hard", (0, 1), 1, 1))
    write_result(tmp_path, rows[0], 0, 0.3)
    write_result(tmp_path, rows[1], 1, 0.4)
    _, second = command.summarise(rows, [0, 1], tmp_path, {}).to_json()["rows"]
    assert second["gain"] == {"mAP": None, "AP50": None}


# --- trainings ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("at_home")
@pytest.mark.long
def test_torchvision_in_pieces(
    folders: tuple[Path, Path], opened: tuple[Dataset, Dataset, Dataset], tmp_path: Path
) -> None:
    """Two rows now, the rest later; other settings are refused; attributes give recall by attribute."""
    real, made = folders
    validation = opened[1]
    rows = [
        json.dumps(make_header(validation, command_rule(), [SimpleNamespace(name="x", sha256="0")])).encode() + b"\n"
    ]  # type: ignore[list-item]
    for sample in validation:
        names = [Attribute.HARD if i % 2 else Attribute.EASY for i in range(len(sample.layout.boxes))]
        rows.append(encode_row(sample.image_id, sample.layout.with_attributes(names)))
    (tmp_path / "val.jsonl").write_bytes(b"".join(rows))
    few = ("--real", real, "--synthetic", made, "--detector", "fasterrcnn_resnet18_fpn", "--seeds", "0", "--limit", 3)
    few = (*few, "--updates", 2, "--batch", 5, "--image-size", SIZE, "--out", tmp_path / "out")
    few = (*few, "--val-attributes", tmp_path / "val.jsonl")
    made_updates: list[object] = []
    counting = register_optimizer_step_post_hook(lambda *_: made_updates.append(1))
    assert ask(*few, "--most", 2) == 0
    counting.remove()
    assert len(made_updates) == 2 * 2, "two rows, two updates each"
    table = json.loads((tmp_path / "out" / command.RESULT).read_text())
    assert [len(row["seeds"]) for row in table["rows"]] == [1, 1, 0]
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("result.json")}
    assert ask(*few) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    table = json.loads((tmp_path / "out" / command.RESULT).read_text())
    assert [len(row["seeds"]) for row in table["rows"]] == [1, 1, 1]
    assert table["rows"][2]["gain"]["mAP"]["ci95"] == [None, None]
    assert set(table["rows"][0]["recall50"]) == {"easy", "hard"}
    assert table["settings"]["pictures"] == {"real": 3, "validation": 3, "an_epoch": 9, "epochs": 1}
    assert str(tmp_path) not in (tmp_path / "out" / command.RESULT).read_text()
    assert not list((tmp_path / "out").rglob("*.safetensors")), "scores alone are kept"
    with pytest.raises(ConfigError, match="updates was 2, is 4"):
        ask(*few, "--updates", 4)


def command_rule() -> Any:
    from detdiffusion.attributes import AttributeRule

    return AttributeRule()


@pytest.mark.usefixtures("at_home")
@pytest.mark.long
@pytest.mark.model
def test_ultralytics_from_a_detector_of_the_user(folders: tuple[Path, Path], tmp_path: Path) -> None:
    real, made = folders
    theirs = BUNDLED_MODEL / "detectors" / "bundled"
    few = ("--real", real, "--synthetic", made, "--detector", theirs, "--seeds", "0", "--updates", 1, "--batch", 5)
    assert ask(*few, "--image-size", 64, "--out", tmp_path / "out", "--keep") == 0
    table = json.loads((tmp_path / "out" / command.RESULT).read_text())
    assert [len(row["seeds"]) for row in table["rows"]] == [1, 1, 1]
    folders_kept = sorted(path.parent.parent.name for path in (tmp_path / "out").rglob("detector.json"))
    assert folders_kept == ["real+hard-seed0", "real-augmented-seed0", "real-only-seed0"]


def test_pictures_that_are_shown_again(tmp_path: Path) -> None:
    for kind, suffix in (("images", "png"), ("labels", "txt")):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "train" / kind / f"{number:06d}.{suffix}").write_text(f"{kind} {number}")
    write_repeats(tmp_path, "train", [1, 0, 1])
    for kind, suffix in (("images", "png"), ("labels", "txt")):
        shown = sorted((tmp_path / "train" / kind).iterdir())
        assert [path.name for path in shown] == [f"{number:06d}.{suffix}" for number in range(3)]
        assert [path.read_text() for path in shown] == [f"{kind} {number}" for number in (1, 0, 1)]


@pytest.mark.model
def test_a_start_that_does_not_fit(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    theirs = BUNDLED_MODEL / "detectors" / "bundled"
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
        shutil.copy(next((folders[0] / split).glob("*.png")), tmp_path / "data" / split / "images" / "0.png")
        (tmp_path / "data" / split / "labels" / "0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    few: dict[str, Any] = {"image_size": 64, "epochs": 1, "batch": 1, "seed": 0}
    with pytest.raises(DetectorError, match="are not of yolov5n"):
        train_ultralytics("yolov5n.yaml", tmp_path / "data", ("a",), out=tmp_path / "a", start=theirs, **few)
    with pytest.raises(DetectorError, match="no such weights to start from"):
        train_ultralytics("yolo11n.yaml", tmp_path / "data", ("a",), out=tmp_path / "b", start=tmp_path / "x", **few)


def test_bad_arguments(folders: tuple[Path, Path], tmp_path: Path, at_home: None) -> None:
    real, made = folders
    few = ("--real", real, "--detector", "yolo11n", "--out", tmp_path / "out")
    for more, error, reason in (
        (("--synthetic", made, "--share", "1"), ConfigError, "share 1"),
        (("--synthetic", made, "--limit", 9), DataError, "has 4 images, 9 were asked for"),
        (("--synthetic", made, "--val-split", "test"), DataError, "no split 'test' here; there are: train, val"),
        (("--synthetic", tmp_path), DataError, "no data set in a known form"),
    ):
        with pytest.raises(error, match=reason):
            ask(*few, *more)
    assert not (tmp_path / "out").exists()


def test_ordinary_augmentation_is_a_setting() -> None:
    assert DetectorTraining("fasterrcnn_resnet18_fpn", 64, 1).augment is False
