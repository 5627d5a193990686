"""K-fold labelling: K detectors of one kind, each for the pictures that it was not trained on.

For data on which a detector was trained: it finds nearly everything there, and "easy" would mean nothing. So the data
set is cut into K folds, a detector is trained on the other K - 1, and labels the one that it has not seen.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from detdiffusion.core.files import hash_number
from detdiffusion.core.settings import keep_settings
from detdiffusion.detection import Detector
from detdiffusion.detectors import load_detector
from detdiffusion.detectors.architectures import built_in, with_yaml
from detdiffusion.detectors.folder import set_min_score
from detdiffusion.errors import ConfigError, DataError, DetectorError
from training.core.cli import progress
from training.core.reading import read_ahead
from training.data.datasets import Dataset, Sample

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from detdiffusion.layout import Layout

AHEAD = 16  # pictures read before they are needed
NEGATIVES = "negatives"  # pictures of nothing: no fold labels them, and every detector learns from them
LOADERS = 2  # processes that prepare a detector's training pictures


class Share(NamedTuple):
    """A detector, and the places in the data set of the pictures that it labels."""

    detector: Detector
    places: Sequence[int]


@dataclass(frozen=True, slots=True)
class FoldConfig:
    """How many folds, and the detector that is trained from scratch for each of them.

    Raises:
        ConfigError: there are fewer than two folds, or a number is not positive.
    """

    architecture: str  # a built-in model of ultralytics, by name
    image_size: int  # pixels, the side of the square that the detector sees
    folds: int = 5
    epochs: int = 100
    batch: int = 16
    seed: int = 0  # of the folds and of the training

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ConfigError(
                f"{self.folds} folds: there need to be 2 or more, so that something is left to learn from"
            )
        for name in ("image_size", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} needs to be 1 or more")


def like_detector(name: str, model: Path) -> tuple[str, int]:
    """Architecture and image size of detectors like this one: a detector that `load_detector` knows, or the name of a
    built-in architecture ("yolo11n.yaml"), which is trained at its usual 640 pixels.

    Raises:
        DetectorError: there is no such detector, or it is of a kind that cannot be trained here.
    """
    if name.endswith(".yaml"):
        architecture, image_size = name, 640
    else:
        from detdiffusion.detectors.ultralytics.detector import UltralyticsDetector

        detector = load_detector(name, model)
        if not isinstance(detector, UltralyticsDetector):
            raise DetectorError(f"{detector.name} cannot be trained here; name an architecture, such as yolo11n.yaml")
        architecture, image_size = with_yaml(detector.architecture), detector.image_size
    built_in(architecture)
    return architecture, image_size


def fold_of(seed: int, image_id: str, folds: int) -> int:
    """The fold of a picture, whatever else is in its data set."""
    return hash_number(f"{seed}/{image_id}") % folds


def split_folds(dataset: Dataset, config: FoldConfig) -> dict[int, list[int]]:
    """Fold -> places of its pictures; a fold that no picture falls into (small data sets) is not there.

    Raises:
        DataError: all pictures fall into one fold, or the data set has no things to learn.
    """
    if not dataset.things:
        raise DataError(f"{dataset.root}: there are no classes of things here, so no detector can be trained on it")
    folds: dict[int, list[int]] = {}
    for place, sample in enumerate(dataset):
        folds.setdefault(fold_of(config.seed, sample.image_id, config.folds), []).append(place)
    if len(folds) < 2:
        raise DataError(f"{dataset.root}: {len(dataset)} images do not fill two of {config.folds} folds")
    return dict(sorted(folds.items()))


def train_folds(
    dataset: Dataset,
    config: FoldConfig,
    work: Path,
    min_score: float,
    everything: Dataset | None = None,
    device: torch.device | None = None,
) -> list[Share]:
    """Trains a detector for every fold in the folder `work`, and returns each with the pictures of its own fold.

    The same call goes on: finished detectors are only loaded, one in training continues from its last epoch. The copies
    of the pictures that training needs are gone when all are done; the detectors, `work/detector-0/model` and so on,
    stay.

    Args:
        everything: the same data with pictures of nothing, from which every detector learns.

    Raises:
        ConfigError: `work` was started with other settings or other data.
        DataError: see `split_folds`, or a picture cannot be read.
    """
    folds = split_folds(dataset, config)
    identity = {"data": dataset.fingerprint, "pictures": len(dataset)}
    whole = dataset if everything is None else everything
    nothing = [place for place, sample in enumerate(whole) if not sample.layout.boxes]
    shared = {NEGATIVES: len(nothing)} if nothing else {}
    keep_settings(work / "config.json", {**identity, **shared, **asdict(config)})
    missing = [fold for fold in folds if not _finished(work, fold)]
    for fold in folds if missing else ():
        _copy_images(dataset, folds[fold], _images(work, fold))
    if missing and nothing:
        _copy_images(whole, nothing, _negatives(work))
    for fold in missing:
        _train(dataset, config, work, list(folds), fold, device)
    for copies in (work / "pictures", *(_detector(work, fold) / "data" for fold in folds)):
        shutil.rmtree(copies, ignore_errors=True)
    shares = []
    for fold, places in folds.items():
        folder = _detector(work, fold) / "model"
        set_min_score(folder, min_score)  # another one needs no new training
        shares.append(Share(load_detector(folder, device=device), places))
    return shares


def _train(
    dataset: Dataset, config: FoldConfig, work: Path, folds: Sequence[int], fold: int, device: torch.device | None
) -> None:
    """Its own fold is what the detector is measured on after every epoch; nothing is chosen by that."""
    from detdiffusion.detectors.ultralytics.training import train_ultralytics

    out = _detector(work, fold)
    data = out / "data"
    for other in folds:
        _link(_images(work, other), data / ("val" if other == fold else "train"), prefix=f"{other}-")
    if _negatives(work).is_dir():
        _link(_negatives(work), data / "train", prefix=f"{NEGATIVES}-")
    with progress(f"fold {fold + 1} of {config.folds}", "epoch") as report:
        train_ultralytics(
            config.architecture,
            data,
            dataset.things,
            image_size=config.image_size,
            epochs=config.epochs,
            batch=config.batch,
            seed=config.seed,
            out=out,
            name=f"{Path(config.architecture).stem}-fold-{fold}",
            workers=LOADERS,
            on_epoch=report,
            device=device,
            nbs=config.batch,  # else the library gathers 64 pictures for an update: too few updates on small data
        )


def _copy_images(dataset: Dataset, places: Sequence[int], folder: Path) -> None:
    """A fold in YOLO form; one that a kill left half written is written again."""
    from detdiffusion.detectors.ultralytics.yolo_folder import write_yolo_folder

    if (folder / "written").exists():
        return
    with progress(f"images of {folder.name}", "image") as report:

        def pairs() -> Iterator[tuple[Image.Image, Layout]]:
            read = read_ahead((dataset[place] for place in places), Sample.load_image, AHEAD)
            for done, (sample, image) in enumerate(read, start=1):
                yield image, sample.layout
                report(done, len(places), {})

        write_yolo_folder(folder.parent, pairs(), dataset.things, folder.name)
    (folder / "written").touch()


def _link(source: Path, target: Path, prefix: str) -> None:
    """A fold's files under another folder, without taking their room on the disk again."""
    for kind in ("images", "labels"):
        (target / kind).mkdir(parents=True, exist_ok=True)
        for file in (source / kind).iterdir():
            twin = target / kind / f"{prefix}{file.name}"
            twin.unlink(missing_ok=True)
            try:
                twin.hardlink_to(file)
            except OSError:  # this file system has no hard links
                shutil.copyfile(file, twin)


def _images(work: Path, fold: int) -> Path:
    return work / "pictures" / f"fold-{fold}"


def _negatives(work: Path) -> Path:
    return work / "pictures" / NEGATIVES


def _detector(work: Path, fold: int) -> Path:
    return work / f"detector-{fold}"


def _finished(work: Path, fold: int) -> bool:
    """The description is the last file that is written of a detector."""
    return (_detector(work, fold) / "model" / "detector.json").is_file()
