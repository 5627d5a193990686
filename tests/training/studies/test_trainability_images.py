"""`trainability --model`: the table makes the generated images that nobody has named, and goes on after a kill."""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from detdiffusion.core.files import file_hash
from detdiffusion.errors import CheckpointError, ConfigError
from detdiffusion.layout import Attribute
from detdiffusion.text.vocabulary import Vocabulary
from training.data.datasets import open_dataset
from training.data.papercut.classes import STUFF, THINGS
from training.data.papercut.coco_export import write_dataset
from training.diagnosis import command as diagnose
from training.studies import trainability as command

SIZE, DETECTOR = 64, "fasterrcnn_resnet18_fpn"
Build = Callable[..., Path]
Killed = Callable[[Callable[[], object], Callable[[], bool]], None]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images to learn from, to measure on, and to be diagnosed."""
    root = tmp_path_factory.mktemp("images")
    (root / "real" / "annotations").mkdir(parents=True)
    for split, seeds in (("train", range(6)), ("val", range(10, 13)), ("seen", range(20, 28))):
        write_dataset(root / split, seeds, size=SIZE)
        shutil.copytree(root / split / "images", root / "real" / split)
        shutil.copy(
            root / split / "annotations" / "instances.json", root / "real" / "annotations" / f"instances_{split}.json"
        )
    return root / "real"


@pytest.fixture
def diagnosis(data: Path, world_model: Path, tmp_path: Path, at_home: None) -> Path:
    out = tmp_path / "diagnosis"
    ask(diagnose, "--data", data, "--split", "seen", "--detector", world_model / "detectors" / "bundled", "--out", out)
    return out


def ask(verb: object, *words: object) -> int:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)  # type: ignore[attr-defined]
    code: int = verb.run(parser.parse_args([str(word) for word in words]))  # type: ignore[attr-defined]
    return code


def words_of(data: Path, model: Path, out: Path, *more: object) -> list[object]:
    words: list[object] = ["--data", data, "--split", "train", "--model", model, "--detector", DETECTOR]
    words += ["--updates", 1, "--batch", 2, "--image-size", SIZE, "--seeds", "0", "--generate", "--steps 1 --chunk 2"]
    return [*words, "--out", out, *more]


def layouts(folder: Path) -> list[dict[str, object]]:
    return [image["layout"] for image in json.loads((folder / "annotations.json").read_text())["images"]]


def tags(folder: Path) -> set[object]:
    return {row["attribute"] for row in json.loads((folder / "annotations.json").read_text())["annotations"]}


@pytest.mark.long
@pytest.mark.process
def test_all_rows_of_images_that_the_table_makes(
    data: Path, world_model: Path, diagnosis: Path, tmp_path: Path, killed: Killed
) -> None:
    """Every folder but the named one, of the images that are learned from alone; kill -9 between them costs nothing."""
    named, out = [tmp_path / "origin", tmp_path / "hard"], tmp_path / "out"
    for number, folder in enumerate(named):
        write_dataset(folder, range(40 + 10 * number, 46 + 10 * number), size=SIZE)
    more = ("--rows", "generated", "--shares", "1", "--limit", 4, "--diagnosis", diagnosis)
    more = (*more, "--synthetic", ",".join(map(str, named)))
    words = words_of(data, world_model, out, *more)
    images = out / "images"
    killed(lambda: ask(command, *words), lambda: (images / "planned" / "images" / "00000" / "commit.json").exists())
    first = images / "easy" / "images" / "00000" / "000000.png"
    before = file_hash(first), first.stat().st_mtime_ns
    assert ask(command, *words) == 0
    assert (file_hash(first), first.stat().st_mtime_ns) == before
    assert sorted(path.parent.name for path in images.glob("*/manifest.json")) == ["easy", "planned"]
    assert tags(images / "easy") == {Attribute.EASY} and len(tags(images / "planned")) > 1
    learned = {sample.layout.labels for sample in open_dataset(images / "real")}
    assert len(learned) <= 4 and len(layouts(images / "easy")) == 4
    asked = [tuple(box["label"] for box in one["objects"]) for one in layouts(images / "easy")]  # type: ignore[attr-defined]
    assert set(asked) <= learned
    table = json.loads((out / command.RESULT).read_text())
    names = ("origin", "hard", "easy", "planned")
    assert [row["name"] for row in table["rows"]] == [f"real + {name} 100 %" for name in names]
    made = {path: path.stat().st_mtime_ns for path in images.rglob("*.png")}
    assert ask(command, *words) == 0 and made == {path: path.stat().st_mtime_ns for path in images.rglob("*.png")}
    with pytest.raises(ConfigError, match="was started with other settings: count was 4, is 6"):
        ask(command, *words, "--shares", "1.5")


@pytest.mark.model
def test_what_is_wrong_is_said_before_an_image_is_drawn(
    data: Path, world_model: Path, build_world_model: Build, tmp_path: Path, at_home: None
) -> None:
    out = tmp_path / "out"
    words = words_of(data, world_model, out, "--rows", "all")
    assert ask(command, *words, "--dry-run") == 0
    with pytest.raises(CheckpointError):
        ask(command, *words, "--model", tmp_path / "absent")
    with pytest.raises(ConfigError, match="--generate has arguments that the verb generate does not take"):
        ask(command, *words, "--generate", "--colour blue")
    plain = build_world_model(tmp_path / "plain", Vocabulary(things=THINGS[:2], stuff=STUFF, grid=(8, 8)))
    with pytest.raises(ConfigError, match="give --detector"):
        ask(command, *words, "--model", plain)
    with pytest.raises(ConfigError, match="give it, too"):
        ask(command, "--data", data, "--detector", "yolo11n", "--out", out, "--rows", "real", "--generate", "--steps 1")
    assert not out.exists()
    alone = ("--data", data, "--split", "train", "--detector", DETECTOR, "--rows", "real", "--seeds", 0, "--out", out)
    ask(command, *alone, "--updates", 1, "--batch", 2, "--image-size", SIZE)
    with pytest.raises(ConfigError, match="holds a table without images of --model"):
        ask(command, *words)


@pytest.mark.process
@pytest.mark.long
def test_a_model_without_tags_draws_layouts_as_they_are(
    data: Path, build_world_model: Build, tmp_path: Path, at_home: None
) -> None:
    """GeoDiffusion's, which knows neither easy nor hard."""
    words = Vocabulary(things=THINGS, stuff=STUFF, grid=(8, 8), attribute_words=())
    model = build_world_model(tmp_path / "model", words)
    assert ask(command, *words_of(data, model, tmp_path / "out", "--rows", "generated")) == 0
    assert [path.parent.name for path in tmp_path.glob("out/images/*/manifest.json")] == ["origin"]
    assert len(layouts(tmp_path / "out" / "images" / "origin")) == 6
