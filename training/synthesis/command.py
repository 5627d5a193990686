"""python -m training generate: layouts -> a COCO data set of pictures, by any number of processes, resumable.

The same command goes on after a stop, a kill or a crash. docs/DATA_ENGINE.md has the format.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from detdiffusion.attributes import Strategy
from detdiffusion.core.arguments import (
    DRAWING_DEVICE,
    add_batch,
    add_detector_guidance,
    add_device,
    add_fix_boxes,
    add_gligen_beta,
    add_old_name,
    add_sampling,
    amount,
    natural,
    out_folder,
    positive,
    seed_number,
)
from detdiffusion.sampling_config import SamplingRequest
from training.core.cli import add_dry_run, nothing_is_missing
from training.core.status import STATUS, tells
from training.data.filters import add_filter_arguments, filter_of
from training.data.layout_sources import describe, layout_spec
from training.data.request import add_reading_arguments, reading_of
from training.evaluation.inputs import BATCH
from training.synthesis.augment import Augmentation
from training.synthesis.request import NO_DETECTOR, Request, alone, begin
from training.synthesis.store import REFINEMENTS, THREADS
from training.synthesis.workers import check_ray

CHUNK = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training generate`."""
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="model folder")
    parser.add_argument(
        "--layouts",
        type=layout_spec,
        required=True,
        metavar="papercut:COUNT@FIRST_SEED|DIR|FILE.jsonl",
        help="scenes of the built-in world, a data set's folder, or a file of python -m training layouts",
    )
    parser.add_argument(
        "--strategy", type=Strategy, choices=list(Strategy), required=True, help="tags: true ones, all easy or all hard"
    )
    parser.add_argument("--count", type=positive, required=True, metavar="N", help="total number of images")
    parser.add_argument("--out", type=out_folder, required=True, metavar="DIR", help="folder of the data set")
    _add_layouts(parser)
    _add_sampling(parser)
    _add_detector(parser)
    _add_work(parser)
    _add_exports(parser)
    add_filter_arguments(parser)


def _add_layouts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("layouts")
    add_reading_arguments(group)
    group.add_argument(
        "--attributes", type=Path, metavar="FILE.jsonl", help="of `python -m training annotate`, for a data set"
    )
    group.add_argument(
        "--augment",
        nargs="?",
        const=Augmentation.SIDEWAYS,
        type=Augmentation,
        choices=list(Augmentation),
        help="mirror layouts and shift them: sideways, by up to a third of the width, or (around) both ways, what "
        "leaves on one side coming in on the other, for images without up and down (default of the option: sideways)",
    )
    group.add_argument(
        "--add-missed",
        type=natural,
        default=0,
        metavar="N",
        help="add one to N things to every layout, of classes that the detector misses by --attributes (0)",
    )


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sampling")
    group.add_argument(
        "--seed", type=seed_number, default=0, metavar="N", help="seed of all noise and shifts (default 0)"
    )
    add_sampling(group)
    group.add_argument(
        "--attribute-guidance",
        type=amount,
        default=0.0,
        metavar="A",
        help="above 0 towards hard, below 0 towards easy (default 0)",
    )
    add_old_name(parser, "--difficulty", "--attribute-guidance")
    add_detector_guidance(group)
    add_fix_boxes(group)
    add_gligen_beta(group)


def _add_detector(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("detector")
    group.add_argument(
        "--detector",
        metavar=f"NAME|PATH|{NO_DETECTOR}",
        help="checks every image; its confidence in each object is saved (default: the model's own, if it has one)",
    )
    group.add_argument(
        "--refine",
        choices=REFINEMENTS,
        help="missing objects: drop their annotations, or first generate the image again with other "
        "noise; hard objects stay if the detector suspects them or the perception head sees them",
    )
    group.add_argument("--snap", action="store_true", help="move boxes to confident detections")
    group.add_argument(
        "--check",
        action="store_true",
        help="--refine redraw and --snap, and refuse images whose labels would be false: most things absent, a wrong "
        "class, things that nobody asked for, a copy of an original; reasons are in refused.json",
    )
    group.add_argument(
        "--check-by",
        metavar="NAME|PATH",
        help="second detector that --check asks (default: the model's held-out one, if it has one)",
    )
    group.add_argument(
        "--originals",
        type=Path,
        metavar="DIR",
        help="data set that the model learned: --check refuses near copies of its images",
    )


def _add_work(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("work")
    group.add_argument("--workers", type=positive, default=1, metavar="N", help="processes (default 1)")
    group.add_argument("--engine", choices=("local", "ray"), default="local", help="processes here, or a Ray cluster")
    add_batch(group, BATCH)
    group.add_argument("--chunk", type=positive, default=CHUNK, metavar="N", help=f"images per chunk ({CHUNK})")
    group.add_argument(
        "--threads", type=positive, default=THREADS, metavar="N", help=f"threads per worker on the CPU ({THREADS})"
    )
    add_device(parser, DRAWING_DEVICE)
    add_dry_run(parser)


def _add_exports(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("exports")
    group.add_argument("--yolo", action="store_true", help="also write labels/ and data.yaml")
    group.add_argument("--voc", action="store_true", help="also write voc/, in the form of Pascal VOC")
    group.add_argument(
        "--huggingface", action="store_true", help="also write metadata.jsonl, for imagefolder of Hugging Face"
    )
    group.add_argument("--captions", action="store_true", help="also write captions.jsonl, for pre-training")
    group.add_argument("--webdataset", action="store_true", help="also write shards/, for pre-training")


def request_of(arguments: argparse.Namespace) -> Request:
    """The request that the arguments are."""
    names = {field.name for field in fields(Request)} - {"bounds", "sampling", "reading"}
    asked = SamplingRequest(
        arguments.steps,
        arguments.guidance,
        arguments.attribute_guidance,
        arguments.sampler,
        arguments.detector_guidance,
        arguments.fix_boxes,
        arguments.gligen_beta,
    )
    given = {name: getattr(arguments, name) for name in names}
    return Request(bounds=filter_of(arguments), sampling=asked, reading=reading_of(arguments), **given)


@tells(lambda arguments: arguments.out / STATUS, "image", shared=True)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    request = request_of(arguments)
    if arguments.engine == "ray":
        check_ray()
    job = begin(request, dry=arguments.dry_run)
    for line in describe(job.source):
        print(line, file=sys.stderr)
    if arguments.dry_run:
        return nothing_is_missing()
    from training.synthesis.exports import export
    from training.synthesis.workers import run_local, run_ray

    if arguments.engine == "ray":
        run_ray(job)
    else:
        run_local(job, arguments.workers)
    forms = ("yolo", "voc", "huggingface", "captions", "webdataset")
    extras = {form: getattr(arguments, form) for form in forms}
    with alone(job.out):
        said = export(job.out, **extras)
    print("\n".join(said))
    print(job.out)
    return 0
