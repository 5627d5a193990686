"""python -m training trainability: does a detector learn from generated pictures (main paper, Table 2).

A detector is trained on real pictures, and on real and generated ones, with the same updates and seeds; COCO's scores
on real pictures that it has not seen. Each training keeps its own result, so the whole can be done in pieces.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.core.arguments import add_device, add_old_name, natural, out_folder, paths, positive, seed_list
from detdiffusion.core.devices import check_device, device_of
from detdiffusion.core.files import claim, put_in_place, write_sealed
from detdiffusion.core.settings import check_settings, keep_settings
from detdiffusion.detectors import architecture_of, check_weights_file
from detdiffusion.detectors.architectures import ARCHITECTURES, check_any
from detdiffusion.errors import ConfigError, DetectorError
from detdiffusion.evaluation.effect import numbers
from training.core.cli import add_dry_run, add_image_size, add_weights, check_there, nothing_is_missing, progress
from training.core.status import STATUS, RunState, status_writer, tells
from training.data.datasets import Dataset, open_dataset
from training.data.filters import all_objects
from training.data.forms.recognise import check_data
from training.data.request import AS_IT_IS, Reading, add_data_arguments, add_negatives_argument, reading_of
from training.detector.config import DetectorTraining
from training.studies.config import TRAINABILITY, TrainabilityConfig
from training.studies.tables import TRAINABILITY_SCORES
from training.studies.trainability_table import result_path, summarise

if TYPE_CHECKING:
    from detdiffusion.detection import Detector
    from training.studies.trainability_data import Plan, Row

RESULT = "trainability.json"
LOADERS = 2  # processes that prepare ultralytics' pictures
# What ultralytics does to pictures beside mirroring them: nothing in plain rows, its own choice in the augmented one.
PLAIN = {"mosaic": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "translate": 0.0, "scale": 0.0}


@dataclass(frozen=True, slots=True)
class TrainabilityRequest:
    """What a table of trainability is asked for.

    data, split, val_split: the data set, what is learned of it, what is measured on. limit, subset_seed: how many of
    its images, and which. synthetic: folders of `generate`; share: of them among what is shown (None: by number).
    start: weights. most: trainings now, at most.
    """

    config: TrainabilityConfig
    data: Path
    synthetic: Sequence[Path]
    detector: str
    out: Path
    seeds: Sequence[int]
    split: str | None
    val_split: str
    limit: int | None
    subset_seed: int
    share: float | None
    augment: bool
    val_attributes: Path | None
    start: Path | None
    most: int | None
    keep: bool
    device: str | None
    reading: Reading = AS_IT_IS
    negatives: bool = True

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share < 1:
            raise ConfigError(f"--share {self.share} needs to be above 0 and below 1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training trainability`."""
    add_data_arguments(parser)
    add_old_name(parser, "--real", "--data")
    add_negatives_argument(parser)
    parser.add_argument("--synthetic", type=paths, required=True, metavar="DIR,...", help="of generate")
    parser.add_argument(
        "--detector",
        required=True,
        metavar="NAME|PATH",
        help="an architecture, trained from scratch (fasterrcnn_resnet50_fpn, fasterrcnn_resnet18_fpn, yolo11n, ...), "
        "or a detector of ultralytics, trained further",
    )
    parser.add_argument(
        "--seeds", type=seed_list, default=[0, 1, 2], metavar="0:3", help="FIRST:END or a list (default 0,1,2)"
    )
    parser.add_argument("--out", type=out_folder, required=True, metavar="DIR", help=f"the table is DIR/{RESULT}")
    parser.add_argument("--preset", choices=tuple(TRAINABILITY), default="small", help="size and updates (small)")
    parser.add_argument("--updates", type=positive, metavar="N", help="updates of the training (preset default)")
    parser.add_argument("--batch", type=positive, metavar="N", help="images per batch (preset default)")
    add_image_size(parser, "image_size", "of the preset")
    parser.add_argument("--learning-rate", type=float, metavar="R", help="default: the preset's or the library's")
    parser.add_argument("--val-split", default="val", metavar="NAME", help="to validate on (val)")
    parser.add_argument("--limit", type=positive, metavar="N", help="learn from at most N images")
    parser.add_argument("--subset-seed", type=natural, default=0, metavar="N", help="seed that selects them (0)")
    parser.add_argument(
        "--share", type=float, metavar="S", help="share of generated images among those shown (default: by number)"
    )
    parser.add_argument(
        "--augment-all",
        dest="augment",
        action="store_true",
        help="ordinary augmentation in every row, not only in its own row",
    )
    add_old_name(parser, "--augment", "--augment-all")
    parser.add_argument(
        "--val-attributes", type=Path, metavar="FILE.jsonl", help="of annotate: also recall on easy and hard objects"
    )
    add_weights(parser, "torchvision: weights to start from, used where they fit (.pth, .safetensors)")
    parser.add_argument(
        "--most", type=positive, metavar="N", help="train at most N detectors now; the same command resumes"
    )
    parser.add_argument("--keep", action="store_true", help="keep the detectors, not only their scores")
    add_device(parser)
    add_dry_run(parser)


@tells(lambda arguments: arguments.out / STATUS, shared=True)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""

    request = request_of(arguments)
    check(request)
    out = request.out
    plan, validation = _plan(request)
    attributes = _attributes(request.val_attributes, validation)
    settings = _settings(request, plan)
    check_settings(out / "config.json", settings)
    _check_weights(request, plan)
    if arguments.dry_run:
        return nothing_is_missing()
    keep_settings(out / "config.json", settings)
    waiting = [(row, seed) for seed in request.seeds for row in plan.rows if not result_path(out, row, seed).exists()]
    for row, seed in waiting[: request.most]:
        result = result_path(out, row, seed)
        with claim(result.with_name("claim")) as mine:
            if not mine or result.exists():  # another process on this folder has it
                continue
            print(f"{row.name}, seed {seed}", file=sys.stderr)
            detector = _train(request, plan, row, seed, result.parent)
            write_sealed(result, _measure(detector, validation, plan.union.things, attributes))
            shutil.rmtree(result.with_name("work"))
            if not request.keep:
                shutil.rmtree(result.with_name("detector"))
    table = summarise(plan.rows, request.seeds, out, settings)
    write_sealed(out / RESULT, table.to_json())
    print("\n".join(table.lines()))
    left = len(waiting) - len(waiting[: request.most])
    if left:
        said = f"{left} trainings are left; the same command goes on"
        status_writer().end(RunState.STOPPED, said)
        print(said, file=sys.stderr)
    print(out / RESULT)
    return 0


def request_of(arguments: argparse.Namespace) -> TrainabilityRequest:
    """The request that the arguments are: the preset, and what was given beside it."""
    names = [field.name for field in fields(TrainabilityConfig) if getattr(arguments, field.name) is not None]
    config = replace(TRAINABILITY[arguments.preset], **{name: getattr(arguments, name) for name in names})
    own = {field.name for field in fields(TrainabilityRequest)} - {"config", "reading"}
    given = {name: getattr(arguments, name) for name in own}
    return TrainabilityRequest(config=config, reading=reading_of(arguments), **given)


def check(request: TrainabilityRequest) -> None:
    """What can be seen to be wrong before the data are read and libraries are loaded.

    Raises:
        ConfigError: there is no such device.
        DataError: a folder or a file is missing.
        DetectorError: the detector is neither there nor a known architecture.
    """
    check_device(request.device)
    for data in (request.data, *request.synthetic):
        check_data(data)
    check_there(request.start, request.val_attributes, what="file")
    if request.start is not None:
        check_weights_file(request.start)
    if Path(request.detector).exists():
        _architecture(request.detector)
    else:
        check_any(request.detector)
    if request.start is not None and request.detector not in ARCHITECTURES:
        raise ConfigError(f"--weights {request.start} is for torchvision's detectors; give those weights as --detector")


def _check_weights(request: TrainabilityRequest, plan: Plan) -> None:
    """DetectorError where a detector of torchvision cannot start from the weights, ConfigError where it cannot learn
    from the batches: said before the first training."""
    if request.detector not in ARCHITECTURES:
        return
    updates = request.config.updates
    training = DetectorTraining(request.detector, request.config.image_size, 1, request.config.batch, updates=updates)
    training.check_batches(plan.epoch)
    if request.start is not None:
        from training.detector.recipe import new_model

        new_model(training, len(plan.union.things), device_of(request.device), request.start)


# --- what is learned ------------------------------------------------------------------------------


def _plan(request: TrainabilityRequest) -> tuple[Plan, Dataset]:
    bounds = all_objects(negatives=request.negatives)
    real, validation = (
        open_dataset(request.data, filter=bounds, split=split, reading=request.reading)
        for split in (request.split, request.val_split)
    )
    synthetic = [open_dataset(folder, filter=bounds) for folder in request.synthetic]
    for dataset in (real, validation, *synthetic):
        print("\n".join(dataset.describe()), file=sys.stderr)
    from training.data.subset import choose
    from training.studies.trainability_data import make_plan

    chosen = choose(real, request.limit or len(real), request.subset_seed)
    return make_plan(real, validation, synthetic, chosen, request.share), validation


def _settings(request: TrainabilityRequest, plan: Plan) -> dict[str, Any]:
    """What every training depends on. Names, not paths."""
    from detdiffusion.core.files import file_hash

    start = None if request.start is None else file_hash(request.start)
    config = replace(request.config, updates=updates_of(request, plan))
    epochs = config.updates / an_epoch(config, plan)
    counts = {"real": plan.rows[0].real, "validation": len(plan.held_out), "an_epoch": plan.epoch, "epochs": epochs}
    synthetic = [part.name for part in plan.union.parts[1:-1]]
    about = {"real": plan.union.parts[0].name, "synthetic": synthetic, "detector": Path(request.detector).name}
    more = {"share": request.share, "augment": request.augment, "start": start}
    return {**about, "data": plan.union.fingerprint, **asdict(config), **more, "pictures": counts}


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


def _train(request: TrainabilityRequest, plan: Plan, row: Row, seed: int, folder: Path) -> Detector:
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
        # Nothing is measured while it learns: the last weights count, whatever the validation pictures say.
        pictures = replace(plan.pictures(row), held_out=())
        device = device_of(request.device)
        train_torchvision(pictures, training, out, out.parent / "work", device, report, start=request.start)


def _train_ultralytics(request: TrainabilityRequest, plan: Plan, row: Row, seed: int, out: Path) -> None:
    from detdiffusion.detectors.ultralytics.training import train_ultralytics
    from training.detector.command import copy_images
    from training.studies.trainability_data import write_repeats

    work, data = out.parent / "work", out.parent / "work" / "data"
    different = sorted(set(row.learned))
    if not (data / "linked").exists():
        shutil.rmtree(data, ignore_errors=True)
        copy_images(plan.union, different, data, "train")
        copy_images(plan.union, plan.held_out[:1], data, "val")
        where = {place: number for number, place in enumerate(different)}
        write_repeats(data, "train", [where[place] for place in row.learned])
        (data / "linked").touch()
    architecture, start = _architecture(request.detector)
    epochs = epochs_of(request.config, plan)
    changes = {"close_mosaic": epochs // 5} if row.augment or request.augment else PLAIN
    changes = {**changes, "nbs": request.config.batch}  # else the library gathers 64 pictures for an update
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
            start=start,
            device=device_of(request.device),
            val=False,
            **changes,
            **rate,
        )
    put_in_place(made, out)


def _architecture(detector: str) -> tuple[str, Path | None]:
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


# --- what comes of it -----------------------------------------------------------------------------


def _measure(
    detector: Detector, validation: Dataset, things: Sequence[str], attributes: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Scores on all validation pictures, by class too, and recall by attribute where attributes are known."""
    from itertools import islice

    from detdiffusion.evaluation.coco_ap import coco_ap
    from training.core.reading import read_ahead
    from training.data.datasets import Sample

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
    return result


def _recall(layouts: Sequence[Any], found: Sequence[Any], detector: Detector) -> dict[str, Any]:
    """Share of the easy and of the hard objects that the detector is sure of."""
    from detdiffusion.evaluation.effect import measure

    groups = measure(layouts, found, detector).by_attribute
    return numbers({name: group.recall50 for name, group in groups.items()})


def _attributes(path: Path | None, validation: Dataset) -> Mapping[str, Any] | None:
    if path is None:
        return None
    from training.data.attributes import read_attributes

    return read_attributes(path, validation)
