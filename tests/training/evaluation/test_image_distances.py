"""Distances of drawn from real pictures: by made-up eyes whose features are colours, so that the answers are known."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from detdiffusion.evaluation.fid import Inception, Moments, frechet_distance
from detdiffusion.layout import Box, Layout
from training.core.chunks import Chunks
from training.core.typed_json import to_json
from training.evaluation.image_distances import Distances
from training.evaluation.store import Detected, SeenImages

COUNT = 5
LAYOUTS = [Layout(8, 8, (Box("car", (0, 0, 0.5, 1)), Box("road", (0.5, 0, 1, 1))))] * COUNT


class Colours:
    """A picture's mean colours and their spread; counts what it looks at."""

    def __init__(self, sha256: str = "1" * 64) -> None:
        self.sha256, self.seen, self.sizes = sha256, 0, set[tuple[int, int]]()

    def features(self, images: Sequence[Image.Image]) -> np.ndarray:
        self.seen += len(images)
        self.sizes |= {image.size for image in images}
        pixels = np.stack([np.asarray(image, np.float32) for image in images])
        return np.concatenate([pixels.mean((1, 2)), pixels.std((1, 2))], axis=1)


class Blind:
    """A detector that tells no features."""

    sha256 = "3" * 64


def pictures(seed: int) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)) for _ in range(COUNT)]


def stored(folder: Path, images: Sequence[Image.Image], count: int = COUNT) -> SeenImages:
    chunks = SeenImages(Chunks(folder.parent, folder.name, count, 2))
    chunks.fill(
        lambda chunk: Detected([images[number] for number in chunk], {}),
        lambda path, image, _: image.save(path, format="PNG"),
        lambda *_: None,
    )
    return chunks


def distances(
    real: SeenImages | None, eyes: object, inception: Colours | None = None, crops: bool = False
) -> Distances:
    return Distances(real, LAYOUTS, cast(Any, eyes), cast(Inception | None, inception), crops)


@pytest.fixture
def real(tmp_path: Path) -> SeenImages:
    return stored(tmp_path / "real", pictures(0))


@pytest.fixture
def drawn(tmp_path: Path) -> SeenImages:
    return stored(tmp_path / "easy", pictures(1))


def expected(eyes: Colours, one: Sequence[Image.Image], other: Sequence[Image.Image]) -> float:
    sides = Moments(), Moments()
    for side, images in zip(sides, (one, other), strict=True):
        side.add(eyes.features(images))
    return frechet_distance(*sides)


def test_each_has_its_own_name(real: SeenImages, drawn: SeenImages) -> None:
    found = distances(real, Colours(), Colours(), crops=True).of(drawn, "easy")
    distance = expected(Colours(), pictures(0), pictures(1))
    assert found.fid == found.detector_feature_distance == pytest.approx(distance, abs=1e-5) and distance > 0
    assert found.fid_note is None and found.scene_fid > 0


def test_the_same_pictures_are_no_distance_apart(real: SeenImages, tmp_path: Path) -> None:
    found = distances(real, Colours(), Colours(), crops=True).of(stored(tmp_path / "twin", pictures(0)), "twin")
    assert [found.fid, found.detector_feature_distance, found.scene_fid] == pytest.approx([0] * 3, abs=1e-6)


def test_crops_are_those_of_every_object(real: SeenImages, drawn: SeenImages) -> None:
    inception = Colours()
    distances(real, Blind(), inception, crops=True).of(drawn, "easy")
    assert inception.seen == 2 * (COUNT + 2 * COUNT) and inception.sizes == {(8, 8), (224, 224)}


@pytest.mark.parametrize(
    ("eyes", "inception", "count", "note"),
    [
        (Colours(), None, COUNT, "no --inception FILE was given"),
        (Blind(), None, COUNT, "no --inception FILE was given"),
        (Colours(), Colours(), 1, "it needs two images or more"),
    ],
)
def test_what_cannot_be_told_is_null(
    tmp_path: Path, eyes: object, inception: Colours | None, count: int, note: str
) -> None:
    real = stored(tmp_path / "real", pictures(0), count)
    found = to_json(distances(real, eyes, inception).of(stored(tmp_path / "easy", pictures(1), count), "easy"))
    assert (found["fid"], found["fid_note"], found["scene_fid"]) == (None, note, None)
    assert (found["detector_feature_distance"] is None) == (count == 1 or not isinstance(eyes, Colours))


def test_without_real_pictures(drawn: SeenImages) -> None:
    found = to_json(distances(None, Colours(), Colours()).of(drawn, "easy"))
    assert set(found.values()) == {None, "the layouts have no images"}


def test_kept_until_something_changes(real: SeenImages, drawn: SeenImages, tmp_path: Path) -> None:
    eyes = Colours()
    first = to_json(distances(real, eyes).of(drawn, "easy"))
    assert eyes.seen == 2 * COUNT
    assert to_json(distances(real, eyes).of(drawn, "easy")) == first and eyes.seen == 2 * COUNT
    both = distances(real, eyes)
    other = SeenImages(Chunks(tmp_path, "hard", COUNT, 2))
    stored(tmp_path / "hard", pictures(2))
    both.of(other, "hard")
    stored(tmp_path / "third", pictures(3))
    both.of(SeenImages(Chunks(tmp_path, "third", COUNT, 2)), "third")
    assert eyes.seen == 5 * COUNT, "the real images are looked at once for all views"
    assert not math.isnan(distances(real, eyes, Colours()).of(drawn, "easy").fid)
    drawn.chunks.take_away(1)
    stored(drawn.folder, pictures(4))
    assert to_json(distances(real, eyes).of(drawn, "easy")) != first
    (drawn.folder / "distances.json").write_text("torn")
    distances(real, Colours("2" * 64)).of(drawn, "easy")
