"""--split-by: seeded, by image, and near-duplicates in one part."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.sparse.csgraph import connected_components

from detdiffusion.errors import ConfigError, DataError
from training.data.datasets import Dataset, open_dataset
from training.data.images import SIGNATURE
from training.data.request import Reading, SplitBy, add_reading_arguments, reading_of
from training.data.splitting import groups_of


def scene(seed: int) -> Image.Image:
    """Coarse noise: what near-duplicates have in common, and others do not."""
    rough = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(rough).resize((64, 48), Image.Resampling.BICUBIC)


def folder(root: Path, images: dict[str, Image.Image]) -> Path:
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for name, image in images.items():
        image.save(root / "images" / name)
        (root / "labels" / name).with_suffix(".txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "classes.txt").write_text("cat\n")
    return root


def part(root: Path, name: str | None, by: SplitBy) -> Dataset:
    return open_dataset(root, split=name, index=root.parent / "index.sqlite", reading=Reading(split_by=by))


def stems(dataset: Dataset) -> set[str]:
    return {sample.path.stem for sample in dataset}


def test_two_parts_of_one_piece(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", {f"{number:02d}.png": scene(number) for number in range(20)})
    train, val = part(root, None, SplitBy(0.8)), part(root, "val", SplitBy(0.8))
    assert (len(train), len(val)) == (16, 4)
    assert not stems(train) & stems(val)
    assert stems(part(root, "train", SplitBy(0.8))) == stems(train)
    assert stems(part(root, "train", SplitBy(0.8, seed=1))) != stems(train)
    assert train.fingerprint != val.fingerprint != part(root, "val", SplitBy(0.8, seed=1)).fingerprint
    assert train.unfiltered().fingerprint == train.fingerprint
    assert "part train of --split-by 0.8" in train.describe()[0]


def test_near_duplicates_stay_together(tmp_path: Path) -> None:
    """Each scene as it is, brighter by a little, compressed, and under Roboflow's names as another version."""
    images = {}
    for number in range(8):
        image = scene(number)
        images[f"{number}-a.png"] = image
        images[f"{number}-b.png"] = image.point(lambda value: min(255, value + 3))
        images[f"{number}-c.jpg"] = image
        images[f"{number}_jpg.rf.1.png"] = image
        images[f"{number}_jpg.rf.2.png"] = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    root = folder(tmp_path / "data", images)
    for seed in range(3):
        train, val = (stems(part(root, name, SplitBy(0.5, seed))) for name in ("train", "val"))
        assert {stem[0] for stem in train}.isdisjoint({stem[0] for stem in val})
        assert len(train) == len(val) == 20


def test_flat_images_are_told_apart_by_their_colours() -> None:
    def signature(colour: tuple[int, int, int]) -> bytes:
        return bytes(colour) * 72

    flat = [signature((10, 10, 10)), signature((12, 9, 11)), signature((200, 10, 10))]
    assert groups_of(["a", "b", "c"], flat) == [[0, 1], [2]]


def signatures(count: int, rng: np.random.Generator) -> list[bytes]:
    """Random thumbnails, each third one like the one before but for some pixels, and one that is there twenty times."""
    columns, rows = SIGNATURE
    thumbs = rng.integers(0, 256, (count, rows, columns, 3), np.uint8)
    thumbs[2::3] = thumbs[1::3][: len(thumbs[2::3])]
    for thumb in thumbs[2::3]:
        changed = rng.integers(0, rows * columns, int(rng.integers(0, 8)))
        thumb.reshape(-1, 3)[changed] = rng.integers(0, 256, (len(changed), 3))
    thumbs[:20] = thumbs[0]
    return [thumb.tobytes() for thumb in thumbs]


def test_what_looks_alike_is_found_as_by_comparing_all() -> None:
    """Images are looked up by parts of their hashes; here every pair is compared."""
    rows = signatures(400, np.random.default_rng(0))
    thumbs = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), *SIGNATURE[::-1], 3).astype(np.int16)
    grey = thumbs.mean(axis=-1)
    bits = (grey[:, :, :-1] > grey[:, :, 1:] + 3).reshape(len(rows), -1)
    alike = np.zeros((len(rows), len(rows)), np.bool_)
    for place, one in enumerate(bits):
        levels = np.abs(thumbs - thumbs[place]).reshape(len(rows), -1).mean(axis=1)
        alike[place] = ((bits != one).sum(axis=1) <= 6) & (levels <= 6)
    count, expected = connected_components(alike)
    groups = groups_of([f"{number}.png" for number in range(len(rows))], rows)
    assert count == len(groups) < 350
    assert {frozenset(group) for group in groups} == {
        frozenset(np.flatnonzero(expected == number).tolist()) for number in range(count)
    }


def test_parts_that_cannot_be_made(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", {f"{number}.png": scene(0) for number in range(4)})
    with pytest.raises(
        DataError, match="of 4 images, of which 4 look alike and stay together, one part would be empty"
    ):
        part(root, None, SplitBy(0.5))
    with pytest.raises(DataError, match="no split 'test' here; --split-by makes train and val"):
        part(root, "test", SplitBy(0.5))


@pytest.mark.parametrize(
    ("text", "expected"), [("0.8", SplitBy(0.8)), (".5@7", SplitBy(0.5, 7)), ("0.25@0", SplitBy(0.25))]
)
def test_the_argument(text: str, expected: SplitBy) -> None:
    parser = argparse.ArgumentParser()
    add_reading_arguments(parser)
    assert reading_of(parser.parse_args(["--split-by", text])).split_by == expected
    assert SplitBy.parse(str(expected)) == expected


@pytest.mark.parametrize("text", ["1", "0", "80%", "0.8@", "nan", ""])
def test_arguments_that_are_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_reading_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--split-by", text])
    assert "--split-by" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        SplitBy.parse(text)
