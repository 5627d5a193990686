"""One training of the trainability table: a row, a seed, torchvision's detectors or ultralytics'."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.core.devices import device_of
from detdiffusion.core.files import put_in_place
from detdiffusion.detectors import architecture_of
from detdiffusion.detectors.architectures import ARCHITECTURES
from detdiffusion.errors import DetectorError
from detdiffusion.evaluation.effect import numbers
from training.core.cli import progress
from training.data.datasets import Dataset, Sample
from training.detector.config import DetectorTraining
from training.report.study_tables import TRAINABILITY_SCORES
from training.studies.config import TrainabilityConfig
from training.studies.trainability_rows import Plan, Row, write_repeats

if TYPE_CHECKING:
    from detdiffusion.detection import Detector
    from training.studies.trainability_request import TrainabilityRequest
    from training.studies.trainability_slices import Slices

LOADERS = 2  # processes that prepare ultralytics' images
# What ultralytics does to images beside mirroring them: nothing in plain rows, its own choice in augmented ones.
PLAIN = {"mosaic": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "translate": 0.0, "scale": 0.0}


def an_epoch(config: TrainabilityConfig, plan: Plan) -> int:
    """Updates of an epoch, the same in every row."""
    return math.ceil(plan.epoch / config.batch)


def epochs_of(config: TrainabilityConfig, plan: Plan) -> int:
    """As many as come nearest to the updates, whole ones: ultralytics knows no others."""
    return max(1, round(config.updates / an_epoch(config, plan)))


def updates_of(request: TrainabilityRequest, plan: Plan) -> int:
    """Those that every row makes: torchvision's detectors as many as were asked for, ultralytics' whole epochs."""
    if request.detector in ARCHITECTURES:
        return request.config.updates
    return epochs_of(request.config, plan) * an_epoch(request.config, plan)


def train(request: TrainabilityRequest, plan: Plan, row: Row, seed: int, folder: Path) -> Detector:
    """The detector of a row and a seed, in `folder/detector`; one that is there already is not trained again."""
    from detdiffusion.detectors import load_detector

    out = folder / "detector"
    if not (out / "detector.json").is_file():
        torchvision = request.detector in ARCHITECTURES
        (_train_torchvision if torchvision else _train_ultralytics)(request, plan, row, seed, out)
    return load_detector(out, device=device_of(request.device))


def _train_torchvision(request: TrainabilityRequest, plan: Plan, row: Row, seed: int, out: Path) -> None:
    from training.detector.recipe import train_torchvision

    training = DetectorTraining(
        request.detector,
        request.config.image_size,
        math.ceil(request.config.updates / an_epoch(request.config, plan)),
        request.config.batch,
        seed,
        augment=row.augment or request.augment,
        warmup_steps=min(200, request.config.updates // 10),
        updates=request.config.updates,
    )
    if request.config.learning_rate is not None:
        training = replace(training, learning_rate=request.config.learning_rate)
    with progress(row.name) as report:
        # Nothing is measured while it learns: the last weights count, whatever the validation images say.
        images = replace(plan.pictures(row), held_out=())
        device = device_of(request.device)
        train_torchvision(images, training, out, out.parent / "work", device, report, start=request.weights(row))


def _train_ultralytics(request: TrainabilityRequest, plan: Plan, row: Row, seed: int, out: Path) -> None:
    from detdiffusion.detectors.ultralytics.training import train_ultralytics
    from training.detector.command import copy_images

    work, data = out.parent / "work", out.parent / "work" / "data"
    different = sorted(set(row.learned))
    if not (data / "linked").exists():
        shutil.rmtree(data, ignore_errors=True)
        copy_images(plan.union, different, data, "train")
        copy_images(plan.union, plan.held_out[:1], data, "val")
        where = {place: number for number, place in enumerate(different)}
        write_repeats(data, "train", [where[place] for place in row.learned])
        (data / "linked").touch()
    architecture, start = learner(request.detector)
    epochs = epochs_of(request.config, plan)
    changes = {"close_mosaic": epochs // 5} if row.augment or request.augment else PLAIN
    changes = {**changes, "nbs": request.config.batch}  # else the library gathers 64 images for an update
    rate = {} if request.config.learning_rate is None else {"lr0": request.config.learning_rate}
    with progress(row.name, "epoch") as report:
        made = train_ultralytics(
            architecture,
            data,
            plan.union.things,
            image_size=request.config.image_size,
            epochs=epochs,
            batch=request.config.batch,
            seed=seed,
            out=work / "ultralytics",
            name=row.slug,
            workers=LOADERS,
            on_epoch=report,
            start=request.weights(row) or start,
            device=device_of(request.device),
            val=False,
            **changes,
            **rate,
        )
    put_in_place(made, out)


def learner(detector: str) -> tuple[str, Path | None]:
    """A name, trained from nothing, or the architecture of a detector that is trained further."""
    path = Path(detector)
    if not path.exists():
        return detector.removesuffix(".yaml") + ".yaml", None
    found = architecture_of(path)
    if found is None or found in ARCHITECTURES:
        raise DetectorError(
            f"{path} cannot be trained further here: give a .pt file or a folder of ultralytics, or an architecture of "
            "torchvision with --weights"
        )
    return found, path


def measure(
    detector: Detector,
    validation: Dataset,
    things: Sequence[str],
    attributes: Mapping[str, Any] | None,
    slices: Slices | None,
) -> dict[str, Any]:
    """Scores on all validation images, by class too; recall by attribute and by slice where these are known."""
    from itertools import islice

    from detdiffusion.evaluation.coco_ap import coco_ap
    from training.core.reading import read_ahead

    layouts, found, ids = [], [], []
    read = read_ahead(iter(validation), Sample.load_image, 16)
    while pairs := list(islice(read, 16)):
        layouts += [sample.layout for sample, _ in pairs]
        ids += [sample.image_id for sample, _ in pairs]
        found += detector.detect([image for _, image in pairs])
    scores = asdict(coco_ap(layouts, found, things))
    classes = {label: numbers(asdict(coco_ap(layouts, found, [label]))) for label in things}
    result = {**numbers({name: scores[name] for name in TRAINABILITY_SCORES}), "sha256": detector.sha256}
    result["by_class"] = {label: {name: one[name] for name in ("mAP", "AP50")} for label, one in classes.items()}
    if attributes is not None:
        labelled = [layout.with_attributes(attributes[key]) for key, layout in zip(ids, layouts, strict=True)]
        result["recall50"] = _recall(labelled, found, detector)
    if slices is not None:
        result["by_slice"] = slices.recalls(validation, found, detector)
    return result


def _recall(layouts: Sequence[Any], found: Sequence[Any], detector: Detector) -> dict[str, Any]:
    """Share of the easy and of the hard objects that the detector is sure of."""
    from detdiffusion.evaluation.effect import measure

    groups = measure(layouts, found, detector).by_attribute
    return numbers({name: group.recall50 for name, group in groups.items()})
