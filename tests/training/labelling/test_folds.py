"""K-fold labelling: every picture is labelled by a detector that has not seen it; killed and run again."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detdiffusion.attributes import AttributeRule
from detdiffusion.detectors.ultralytics import training as adapter
from detdiffusion.errors import ConfigError, DataError, DetectorError
from training.data.attributes import read_attributes, read_file
from training.data.datasets import Dataset, open_dataset
from training.data.filters import EVERYTHING, NO_FILTER, LayoutFilter
from training.data.papercut.classes import STUFF, THINGS
from training.data.papercut.coco_export import write_dataset
from training.labelling.annotate import annotate_shares
from training.labelling.folds import FoldConfig, fold_of, like_detector, split_folds, train_folds

TINY = FoldConfig("yolo11n.yaml", image_size=32, folds=2, epochs=1, batch=4)
SEEDS = range(920_000, 920_006)
FOLDS = {0: [0, 1, 3], 1: [2, 4, 5]}  # of these seeds: an accident of the hash, which must hold still


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("papercut")
    write_dataset(folder / "data", SEEDS, size=64, workers=1)
    return open_dataset(folder / "data", index=folder / "index.sqlite")


def test_folds_hold_still() -> None:
    """Attributes that were begun with another version go on with this one."""
    assert [fold_of(0, str(number), 3) for number in range(10)] == [0, 1, 2, 0, 0, 2, 2, 1, 1, 0]
    assert [fold_of(1, str(number), 3) for number in range(10)] == [2, 0, 1, 2, 1, 0, 0, 2, 0, 1]


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_are_about_even(folds: int) -> None:
    sizes = Counter(fold_of(7, f"picture {number}", folds) for number in range(4000))
    assert set(sizes) == set(range(folds))
    assert all(size == pytest.approx(4000 / folds, rel=0.15) for size in sizes.values())


def test_every_picture_is_in_one_fold(dataset: Dataset) -> None:
    assert split_folds(dataset, TINY) == FOLDS
    many = split_folds(dataset, replace(TINY, folds=50))
    assert sorted(place for places in many.values() for place in places) == list(range(len(dataset)))
    assert all(many.values()), "folds without images are left out"


def test_too_little_data_is_said(dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(tmp_path / "one", SEEDS[:1], size=64, workers=1)
    with pytest.raises(DataError, match="1 images do not fill two of 2 folds"):
        split_folds(open_dataset(tmp_path / "one", index=tmp_path / "one.sqlite"), TINY)
    no_things = LayoutFilter(min_area=0, min_objects=1, max_objects=100, crowds=True, ignored=THINGS)
    stuff = open_dataset(dataset.root, filter=no_things, index=tmp_path / "stuff.sqlite")
    assert set(stuff.stuff) == set(STUFF)
    with pytest.raises(DataError, match="no classes of things"):
        split_folds(stuff, TINY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"folds": 1}, "1 folds"), ({"folds": 0}, "0 folds"), ({"epochs": 0}, "epochs 0"), ({"image_size": -1}, "image_")],
)
def test_bad_settings(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **changes)


def test_a_detector_or_an_architecture_says_what_is_trained(tmp_path: Path) -> None:
    assert like_detector("yolo11n.yaml", tmp_path) == ("yolo11n.yaml", 640)
    for name in ("yolo99n.yaml", "absent"):
        with pytest.raises(DetectorError, match=name):
            like_detector(name, tmp_path)


@pytest.mark.model
def test_detectors_like_the_bundled_one() -> None:
    from detdiffusion.core.assets import BUNDLED_MODEL

    assert like_detector("bundled", BUNDLED_MODEL) == ("yolo11n.yaml", 160)


def pictures(folder: Path) -> set[bytes]:
    return {np.asarray(Image.open(path)).tobytes() for path in (folder / "images").iterdir()}


def test_images_of_nothing_are_learned_from_and_labelled_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(tmp_path / "data", SEEDS, size=64, workers=1)
    for name in ("instances", "stuff"):
        path = tmp_path / "data" / "annotations" / f"{name}.json"
        content = json.loads(path.read_text())
        content["annotations"] = [row for row in content["annotations"] if row["image_id"] != SEEDS[0]]
        path.write_text(json.dumps(content))
    some, everything = (
        open_dataset(tmp_path / "data", filter=bounds, index=tmp_path / "index.sqlite")
        for bounds in (NO_FILTER, EVERYTHING)
    )
    assert (len(some), len(everything)) == (len(SEEDS) - 1, len(SEEDS))
    seen = []

    def watched(architecture: str, data: Path, *more: Any, **others: Any) -> Path:
        seen.append((pictures(data / "train"), pictures(data / "val")))
        raise Killed

    monkeypatch.setattr(adapter, "train_ultralytics", watched)
    with pytest.raises(Killed):
        train_folds(some, TINY, tmp_path / "a.folds", 0.5, everything)
    ((learned, labelled),) = seen
    nothing = np.asarray(everything[0].load_image()).tobytes()
    assert nothing in learned and nothing not in labelled
    assert len(learned) + len(labelled) == len(SEEDS)


@pytest.mark.slow
def test_nobody_labels_what_he_has_seen(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trainings, killed before the second; then the same again, and once more when all is done."""
    train: Callable[..., Path] = adapter.train_ultralytics
    seen: list[tuple[set[bytes], set[bytes]]] = []
    kill = True

    def watched(architecture: str, data: Path, *more: Any, **others: Any) -> Path:
        if seen and kill:
            raise Killed
        seen.append((pictures(data / "train"), pictures(data / "val")))
        return train(architecture, data, *more, **others)

    monkeypatch.setattr(adapter, "train_ultralytics", watched)
    work = tmp_path / "a.folds"
    with pytest.raises(Killed):
        train_folds(dataset, TINY, work, 0.5)
    kill = False
    shares = train_folds(dataset, TINY, work, 0.5)
    assert len(seen) == 2, "the finished detector was not trained again"
    assert [list(share.places) for share in shares] == list(FOLDS.values())
    everything = {np.asarray(sample.load_image()).tobytes() for sample in dataset}
    for (trained_on, measured_on), share in zip(seen, shares, strict=True):
        own = {np.asarray(dataset[place].load_image()).tobytes() for place in share.places}
        assert measured_on == own and trained_on == everything - own
        assert share.detector.labels == THINGS

    again = train_folds(dataset, TINY, work, 0.2)
    assert len(seen) == 2, "another threshold needs no new training"
    assert {share.detector.min_score for share in again} == {0.2}
    hashes = [share.detector.sha256 for share in shares]
    assert [share.detector.sha256 for share in again] == hashes and len(set(hashes)) == 2
    assert sorted(path.name for path in work.iterdir()) == ["config.json", "detector-0", "detector-1"]
    assert not list(work.rglob("data")), "the copies of the images are gone"
    with pytest.raises(ConfigError, match="epochs was 1, is 2"):
        train_folds(dataset, replace(TINY, epochs=2), work, 0.5)

    out = annotate_shares(dataset, shares, tmp_path / "a.jsonl", AttributeRule(), on_step=lambda *_: None)
    assert {image_id: len(given) for image_id, given in read_attributes(out, dataset).items()} == {
        sample.image_id: len(sample.layout.boxes) for sample in dataset
    }
    content = read_file(out)
    assert [detector["name"] for detector in content.header["detector"]] == ["yolo11n-fold-0", "yolo11n-fold-1"]
    assert [image_id for image_id, _ in content.rows] == [str(SEEDS[place]) for place in (0, 1, 3, 2, 4, 5)]
