"""A part of a data set as a COCO folder of its own: the same objects and masks, and nothing else."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from detdiffusion.errors import ConfigError, DataError
from training.data import subset as command
from training.data.datasets import open_dataset
from training.data.filters import EVERYTHING
from training.data.papercut.coco_export import write_dataset

REAL = os.environ.get("DETDIFFUSION_REAL_DATA")


def ask(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subset") / "world"
    write_dataset(folder, range(8), size=64)
    return folder


@pytest.mark.usefixtures("at_home")
def test_same_objects_and_masks(world: Path, tmp_path: Path) -> None:
    assert ask("--data", world, "--count", 5, "--seed", 3, "--out", tmp_path / "part") == 0
    whole, part = open_dataset(world), open_dataset(tmp_path / "part", split="train")
    assert (part.things, part.stuff, len(part)) == (whole.things, whole.stuff, 5)
    originals = {sample.path.name: sample for sample in whole}
    for sample in part:
        original = originals[sample.path.name]
        assert sample.path.samefile(original.path), "a link, not a copy"
        order = [sample.layout.boxes.index(box) for box in original.layout.boxes]
        assert sorted(order) == list(range(len(sample.layout.boxes)))
        np.testing.assert_array_equal(sample.masks.decode()[order], original.masks.decode())
    assert len(list((tmp_path / "part" / "train").iterdir())) == 5, "no other image is in the folder"


@pytest.mark.usefixtures("at_home")
def test_pycocotools_reads_it(world: Path, tmp_path: Path) -> None:
    ask("--data", world, "--fraction", "0.3", "--name", "val", "--out", tmp_path / "part")
    coco = COCO(tmp_path / "part" / "annotations" / "instances_val.json")
    assert len(coco.imgs) == 3
    for row in coco.anns.values():
        assert coco.annToMask(row).sum() == row["area"]


@pytest.mark.usefixtures("at_home")
def test_smaller_parts_lie_in_larger_ones(world: Path) -> None:
    dataset = open_dataset(world)
    parts = [set(command.choose(dataset, count, 0)) for count in (2, 5, 8)]
    assert parts[0] < parts[1] < parts[2] == set(range(8))
    assert command.choose(dataset, 5, 1) != command.choose(dataset, 5, 0)
    with pytest.raises(DataError, match="has 8 images, 9 were asked for"):
        command.choose(dataset, 9, 0)


@pytest.mark.usefixtures("at_home")
def test_turned_pictures_are_stored_upright(tmp_path: Path) -> None:
    """A YOLO folder with a photograph on its side, and two of one name."""
    pixels = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    for folder in ("a", "b"):
        (tmp_path / "data" / "images" / folder).mkdir(parents=True)
        (tmp_path / "data" / "labels" / folder).mkdir(parents=True)
        more = {"exif": exif} if folder == "b" else {}
        Image.fromarray(pixels).save(tmp_path / "data" / "images" / folder / "0.png", **more)
        (tmp_path / "data" / "labels" / folder / "0.txt").write_text("0 0.5 0.25 0.2 0.5\n")
    (tmp_path / "data" / "data.yaml").write_text("path: .\ntrain: images\nnames: [cell]\n")
    ask("--data", tmp_path / "data", "--out", tmp_path / "part")
    before, after = open_dataset(tmp_path / "data"), open_dataset(tmp_path / "part")
    assert len({sample.path for sample in after}) == 2
    for old, new in zip(before, after, strict=True):
        assert (old.layout.width, old.layout.height) == (new.layout.width, new.layout.height)
        assert new.masks.orientation == 1
        np.testing.assert_allclose(new.layout.boxes[0].xyxy, old.layout.boxes[0].xyxy, atol=1e-6)
        np.testing.assert_array_equal(np.asarray(new.load_image()), np.asarray(old.load_image()))


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_what_is_written_is_upright_without_exif(orientation: int, suffix: str, tmp_path: Path) -> None:
    """Boxes were drawn on the upright picture, whose file says that it is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "data").mkdir()
    Image.effect_noise((30, 20), 40).convert("RGB").save(tmp_path / "data" / f"a{suffix}", exif=exif)
    (tmp_path / "data" / "a.txt").write_text("0 0.5 0.25 0.2 0.5\n")
    (tmp_path / "data" / "classes.txt").write_text("cell\n")
    ask("--data", tmp_path / "data", "--out", tmp_path / "part")
    (row,) = json.loads((tmp_path / "part" / "annotations" / "instances_train.json").read_text())["images"]
    with Image.open(tmp_path / "part" / "train" / row["file_name"]) as image:
        assert image.size == (row["width"], row["height"]) == ((20, 30) if orientation > 4 else (30, 20))
        assert image.getexif().get(0x0112, 1) == 1
    (before,), (after,) = open_dataset(tmp_path / "data"), open_dataset(tmp_path / "part")
    assert after.path.samefile(before.path) is (orientation == 1)
    np.testing.assert_array_equal(np.asarray(after.load_image()), np.asarray(before.load_image()))


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(("words", "expected"), [((), "ab"), (("--no-negatives",), "a"), (("--min-objects", 1), "a")])
def test_images_of_nothing_stay_unless_they_are_dropped(
    words: tuple[str, ...], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """c had an object, which cannot be read: it is no image of nothing."""
    (tmp_path / "data").mkdir()
    for stem, text in {"a": "0 0.5 0.5 0.5 0.5", "b": None, "c": "5 0.5 0.5 0.5 0.5"}.items():
        Image.effect_noise((30, 20), 40).save(tmp_path / "data" / f"{stem}.png")
        if text is not None:
            (tmp_path / "data" / f"{stem}.txt").write_text(text)
    (tmp_path / "data" / "classes.txt").write_text("cell\n")
    ask("--data", tmp_path / "data", "--out", tmp_path / "part", *words)
    content = json.loads((tmp_path / "part" / "annotations" / "instances_train.json").read_text())
    assert "".join(Path(row["file_name"]).stem for row in content["images"]) == expected
    assert len(content["annotations"]) == 1
    said = capsys.readouterr().err
    assert "c.txt, line 1: 5 0.5 0.5 0.5 0.5" in said
    assert "YOLO by classes.txt" in said
    again = open_dataset(tmp_path / "part", filter=EVERYTHING)
    assert [len(sample.layout.boxes) for sample in again] == [1, 0][: len(expected)]
    assert [sample.masks.decode().shape[0] for sample in again] == [1, 0][: len(expected)]


@pytest.mark.usefixtures("at_home")
def test_what_is_there_is_not_written_over(world: Path, tmp_path: Path) -> None:
    ask("--data", world, "--count", 2, "--out", tmp_path)
    before = (tmp_path / "annotations" / "instances_train.json").read_bytes()
    with pytest.raises(ConfigError, match="is there already"):
        ask("--data", world, "--count", 3, "--out", tmp_path)
    assert (tmp_path / "annotations" / "instances_train.json").read_bytes() == before


@pytest.mark.parametrize("words", [("--fraction", "0"), ("--fraction", "1.5"), ("--count", "2", "--fraction", "0.5")])
def test_bad_arguments(words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        ask("--data", tmp_path, "--out", tmp_path, *words)


@pytest.mark.skipif(not REAL, reason="needs DETDIFFUSION_REAL_DATA")
@pytest.mark.usefixtures("at_home")
def test_a_fifth_of_the_microscope_pictures(tmp_path: Path, capsys: Any) -> None:
    ask("--data", Path(str(REAL)) / "bccd", "--split", "trainval", "--fraction", "0.2", "--out", tmp_path)
    content = json.loads((tmp_path / "annotations" / "instances_train.json").read_text())
    assert len(content["images"]) == 59 and len(content["categories"]) == 3
    assert all(row["bbox"][2] > 0 and row["bbox"][3] > 0 for row in content["annotations"])
    assert "empty box" in capsys.readouterr().err
