"""python -m training trainability: does a detector learn from generated images (main paper, Table 2), or from others.

A detector is trained on real images, and on real and other ones, with the same updates and seeds; COCO's scores on real
images that it has not seen. Each training keeps its own result, so the whole can be done in pieces.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.core.arguments import (
    add_device,
    add_old_name,
    amount,
    natural,
    out_folder,
    paths,
    positive,
    seed_list,
    words,
)
from detdiffusion.core.devices import check_device, device_of
from detdiffusion.core.files import claim, write_sealed
from detdiffusion.core.settings import check_settings, keep_settings
from detdiffusion.detectors import check_weights_file
from detdiffusion.detectors.architectures import ARCHITECTURES, check_any
from detdiffusion.diffusion.manifest import check_model
from detdiffusion.errors import ConfigError, DetectorError
from training.core.cli import add_dry_run, add_image_size, add_weights, check_there, nothing_is_missing
from training.core.status import STATUS, RunState, status_writer, tells
from training.data.datasets import Dataset, open_dataset
from training.data.filters import all_objects
from training.data.forms.recognise import check_data
from training.data.request import add_data_arguments, add_negatives_argument, reading_of
from training.data.subset import choose
from training.detector.command import weights_hash
from training.detector.config import DetectorTraining
from training.diagnosis.result import read_diagnosis
from training.studies.config import TRAINABILITY, TrainabilityConfig
from training.studies.trainability_images import ImageOrder
from training.studies.trainability_request import TrainabilityRequest
from training.studies.trainability_rows import USUAL, Kind, check_apart, make_plan
from training.studies.trainability_table import result_path, summarise
from training.studies.trainability_training import an_epoch, learner, measure, train, updates_of
from training.synthesis.pasting import MOST, PastedImages, cut_outs

if TYPE_CHECKING:
    from training.studies.trainability_rows import Plan
    from training.studies.trainability_slices import Slices

RESULT, CONFIG = "trainability.json", "config.json"
ALL = "all"
MOST_SHARE = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training trainability`."""
    add_data_arguments(parser)
    add_old_name(parser, "--real", "--data")
    add_negatives_argument(parser)
    _add_rows(parser)
    _add_learning(parser)
    parser.add_argument("--out", type=out_folder, required=True, metavar="DIR", help=f"the table is DIR/{RESULT}")
    parser.add_argument("--val-split", default="val", metavar="NAME", help="to validate on (val)")
    parser.add_argument(
        "--val-attributes", type=Path, metavar="FILE.jsonl", help="of annotate: also recall on easy and hard objects"
    )
    parser.add_argument(
        "--most", type=positive, metavar="N", help="train at most N detectors now; the same command resumes"
    )
    parser.add_argument("--keep", action="store_true", help="keep the detectors, not only their scores")
    add_device(parser)
    add_dry_run(parser)


def _add_rows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--synthetic", type=paths, default=[], metavar="DIR,...", help="of generate: rows for each")
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="draws what --synthetic does not name: images of the data's layouts with tags as they are (origin), all "
        "easy, all hard, and with --diagnosis planned ones; DIR/images of --out has them",
    )
    parser.add_argument(
        "--generate",
        type=shlex.split,
        default=[],
        metavar="'WORDS'",
        help="further arguments of generate for --model, as '--workers 2 --augment'",
    )
    parser.add_argument(
        "--rows",
        type=rows_of,
        default=list(USUAL),
        metavar="NAME,...",
        help=f"{ALL} (with --weights: also from nothing), or some of {', '.join(Kind)} (default {','.join(USUAL)})",
    )
    parser.add_argument(
        "--shares",
        type=_shares,
        default=[],
        metavar="S,...",
        help="generated or pasted images for one real one, a row each, as 0.1,0.5,1 (default: one row with all)",
    )
    parser.add_argument(
        "--also",
        type=paths,
        default=[],
        metavar="DIR,...",
        help="of generate: what every row learns, beside real images",
    )
    parser.add_argument(
        "--paste", type=positive, default=MOST, metavar="N", help=f"objects that a pasted image gets at most ({MOST})"
    )
    parser.add_argument(
        "--diagnosis",
        type=Path,
        metavar="DIR",
        help="of diagnose: gains on each of its slices, and their objects are pasted more often",
    )
    parser.add_argument(
        "--share", type=float, metavar="S", help="share of generated images among those shown (default: by number)"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="learn from at most N images")
    parser.add_argument("--subset-seed", type=natural, default=0, metavar="N", help="seed that selects them (0)")


def _add_learning(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--preset", choices=tuple(TRAINABILITY), default="small", help="size and updates (small)")
    parser.add_argument("--updates", type=positive, metavar="N", help="updates of the training (preset default)")
    parser.add_argument("--batch", type=positive, metavar="N", help="images per batch (preset default)")
    add_image_size(parser, "image_size", "of the preset")
    parser.add_argument("--learning-rate", type=float, metavar="R", help="default: the preset's or the library's")
    parser.add_argument(
        "--augment-all",
        dest="augment",
        action="store_true",
        help="ordinary augmentation in every row, not only in its own row",
    )
    add_old_name(parser, "--augment", "--augment-all")
    add_weights(
        parser,
        "weights to start from, used where they fit: as those of the verb detector (default: from scratch)",
    )
    parser.add_argument("--from-nothing", action="store_true", help="with --weights: every row from nothing, too")


@tells(lambda arguments: arguments.out / STATUS, shared=True)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""

    request = request_of(arguments)
    check(request)
    out = request.out
    real, validation = _real(request)
    chosen = choose(real, request.limit or len(real), request.subset_seed)
    attributes, slices = _attributes(request.val_attributes, validation), _slices(request)
    order = ImageOrder.of(request, real, chosen)
    if order is not None:
        _check_weights(request, real.things, len(chosen) + order.count)
        check_apart(real, chosen, validation)
        order.check(begun=(out / CONFIG).exists())
        if arguments.dry_run and not order.finished:  # what the images are is not known yet
            return nothing_is_missing()
        request = replace(request, synthetic=(*request.synthetic, *order.make()))
    plan = _plan(request, real, validation, chosen)
    settings = _settings(request, plan, slices)
    check_settings(out / CONFIG, settings)
    _check_weights(request, real.things, plan.epoch)
    if arguments.dry_run:
        return nothing_is_missing()
    keep_settings(out / CONFIG, settings)
    waiting = [(row, seed) for seed in request.seeds for row in plan.rows if not result_path(out, row, seed).exists()]
    for row, seed in waiting[: request.most]:
        result = result_path(out, row, seed)
        with claim(result.with_name("claim")) as mine:
            if not mine or result.exists():  # another process on this folder has it
                continue
            print(f"{row.name}, seed {seed}", file=sys.stderr)
            detector = train(request, plan, row, seed, result.parent)
            write_sealed(result, measure(detector, validation, plan.union.things, attributes, slices))
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
        CheckpointError: there is no such model.
        ConfigError: there is no such device, or the detector has weights already.
        DataError: a folder or a file is missing.
        DetectorError: the detector is neither there nor a known architecture, or the weights are none.
    """
    check_device(request.device)
    for data in (request.data, *request.synthetic, *request.also):
        check_data(data)
    check_there(request.start, request.val_attributes, what="file")
    if request.model is not None:
        check_model(request.model)
    if request.diagnosis is not None:
        read_diagnosis(request.diagnosis)
    there = Path(request.detector).exists()
    if request.start is not None:
        check_weights_file(request.start)
        if there:
            raise ConfigError(
                f"--detector {request.detector} has weights already: with --weights, name an architecture"
            )
        if request.detector not in ARCHITECTURES and not (request.start.is_dir() or request.start.suffix == ".pt"):
            raise DetectorError(f"{request.start}: {request.detector} starts from a detector folder or a .pt file")
    if there:
        learner(request.detector)
    else:
        check_any(request.detector)


def _check_weights(request: TrainabilityRequest, things: Sequence[str], an_epoch: int) -> None:
    """DetectorError where a detector cannot start from the weights, ConfigError where one of torchvision cannot learn
    from the batches: said before the first training. an_epoch: images."""
    if request.detector not in ARCHITECTURES:
        if request.start is not None:
            from detdiffusion.detectors.ultralytics.training import check_training

            check_training(learner(request.detector)[0], request.start)
        return
    updates = request.config.updates
    training = DetectorTraining(request.detector, request.config.image_size, 1, request.config.batch, updates=updates)
    training.check_batches(an_epoch)
    if request.start is not None:
        from training.detector.recipe import new_model

        new_model(training, len(things), device_of(request.device), request.start)


def rows_of(text: str) -> list[Kind]:
    """ "all", or "real,pasted"."""
    try:
        return list(Kind) if text == ALL else list(dict.fromkeys(Kind(word) for word in words(text)))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}: take {ALL}, or some of {', '.join(Kind)}") from error


def _shares(text: str) -> list[float]:
    """ "0.1,1.5": each above 0 and at most 100, none twice."""
    shares = [amount(word) for word in words(text)]
    if not all(0 < share <= MOST_SHARE for share in shares) or len(set(shares)) < len(shares):
        raise argparse.ArgumentTypeError(
            f"{text!r} needs different numbers above 0 and up to {MOST_SHARE}, as 0.1,0.5,1"
        )
    return shares


# --- what is learned ------------------------------------------------------------------------------


def _real(request: TrainabilityRequest) -> tuple[Dataset, Dataset]:
    """What is learned from, and what is measured on."""
    bounds = all_objects(negatives=request.negatives)
    real, validation = (
        open_dataset(request.data, filter=bounds, split=split, reading=request.reading)
        for split in (request.split, request.val_split)
    )
    _say(real, validation)
    return real, validation


def _plan(request: TrainabilityRequest, real: Dataset, validation: Dataset, chosen: Sequence[int]) -> Plan:
    bounds = all_objects(negatives=request.negatives)
    synthetic, also = ([open_dataset(one, filter=bounds) for one in some] for some in (request.synthetic, request.also))
    _say(*synthetic, *also)
    pasted = _pasted(request, real, chosen)
    return make_plan(real, validation, synthetic, chosen, request.wanted, pasted=pasted, also=also)


def _say(*datasets: Dataset) -> None:
    for dataset in datasets:
        print("\n".join(dataset.describe()), file=sys.stderr)


def _pasted(request: TrainabilityRequest, real: Dataset, chosen: Sequence[int]) -> PastedImages | None:
    """As many as the largest share needs, or as there are real ones; None where no row learns from them."""
    if not any(kind.value.startswith(Kind.PASTED) for kind in request.rows):
        return None
    slices = _slices(request)
    cuts = cut_outs(real, chosen) if slices is None else slices.cut_outs(real, chosen)
    count = max(1, round(max(request.shares, default=1) * len(chosen)))
    pasted = PastedImages(real, chosen, cuts, count, most=request.paste)
    print(f"pasted: {count} images with {pasted.used} of {len(cuts)} objects of the data", file=sys.stderr)
    return pasted


def _settings(request: TrainabilityRequest, plan: Plan, slices: Slices | None) -> dict[str, Any]:
    """What every training depends on. Names, not paths; what only some tables have is named in those alone."""
    config = replace(request.config, updates=updates_of(request, plan))
    epochs = config.updates / an_epoch(config, plan)
    counts = {"real": plan.rows[0].real, "validation": len(plan.held_out), "an_epoch": plan.epoch, "epochs": epochs}
    synthetic = [part.name for part in plan.union.parts[1:-1]]
    about = {"real": plan.union.parts[0].name, "synthetic": synthetic, "detector": Path(request.detector).name}
    more = {"share": request.share, "augment": request.augment, "start": weights_hash(request.start)}
    own = {**({"diagnosis": slices.key} if slices else {}), **({"from_nothing": True} if request.both else {})}
    return {**about, "data": plan.union.fingerprint, **asdict(config), **more, **own, "pictures": counts}


def _attributes(path: Path | None, validation: Dataset) -> Mapping[str, Any] | None:
    if path is None:
        return None
    from training.data.attributes import read_attributes

    return read_attributes(path, validation)


def _slices(request: TrainabilityRequest) -> Slices | None:
    if request.diagnosis is None:
        return None
    from training.studies.trainability_slices import Slices

    return Slices.read(request.diagnosis)
