"""python -m training diagnose: what a detector gets wrong on real data; and, of two diagnoses, what changed."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path

from detdiffusion.core.arguments import add_batch, add_device, out_folder
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.devices import check_device, device_of
from detdiffusion.detectors import KINDS, detector_path, load_detector
from detdiffusion.errors import ConfigError
from training.core.cli import add_dry_run, nothing_is_missing
from training.core.status import STATUS, tells
from training.data.datasets import annotation_file, check_dataset, open_dataset
from training.data.filters import EVERYTHING
from training.data.forms.recognise import check_data
from training.data.request import AS_IT_IS, Reading, add_data_arguments, reading_of

BATCH = 16  # images
PAGE = "report.html"
BOUNDS = replace(EVERYTHING, crowds=False)  # images of nothing show false alarms; a crowd is no object


@dataclass(frozen=True, slots=True)
class DiagnoseRequest:
    """What `diagnose` is asked for. detector: a name or a path; compare: two folders of this verb, before and after, in
    place of data and detector.

    Raises:
        ConfigError: something that is needed is missing.
    """

    out: Path
    data: Path | None = None
    detector: str | None = None
    split: str | None = None
    reading: Reading = AS_IT_IS
    model: Path = BUNDLED_MODEL
    min_score: float | None = None
    batch: int = BATCH
    device: str | None = None
    compare: tuple[Path, Path] | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.compare is None and (self.data is None or self.detector is None):
            raise ConfigError("give --data and --detector, or --compare with two folders of this command")
        if self.compare is not None and (self.data is not None or self.detector is not None):
            raise ConfigError("--compare reads two finished diagnoses: leave --data and --detector out")
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise ConfigError(f"--min-score {self.min_score} needs to be from 0 to 1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training diagnose`."""
    add_data_arguments(parser, required=False)
    parser.add_argument(
        "--detector", metavar="NAME|PATH", help=f"one of the model's, or {KINDS}. It must not have learned these images"
    )
    parser.add_argument(
        "--out", type=out_folder, required=True, metavar="DIR", help=f"gets diagnosis.json and {PAGE}; resumable"
    )
    parser.add_argument(
        "--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"), help="two folders of this command: what changed"
    )
    parser.add_argument(
        "--model", type=Path, default=BUNDLED_MODEL, metavar="DIR", help="model folder that names are looked up in"
    )
    parser.add_argument(
        "--min-score", type=float, metavar="S", help="score from which an object counts as found (the detector's own)"
    )
    add_batch(parser, BATCH)
    add_device(parser)
    add_dry_run(parser)


def request_of(arguments: argparse.Namespace) -> DiagnoseRequest:
    """The request that the arguments are."""
    names = {field.name for field in fields(DiagnoseRequest)} - {"reading", "compare"}
    compare = None if arguments.compare is None else (arguments.compare[0], arguments.compare[1])
    given = {name: getattr(arguments, name) for name in names}
    return DiagnoseRequest(reading=reading_of(arguments), compare=compare, **given)


@tells(lambda arguments: arguments.out / STATUS)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    request = request_of(arguments)
    if request.compare is not None:
        return _compare(request, *request.compare)
    assert request.data is not None and request.detector is not None  # the request has checked it
    return _diagnose(request, request.data, request.detector)


def _diagnose(request: DiagnoseRequest, data: Path, name: str) -> int:
    check_device(request.device)
    check_data(data)
    path = detector_path(name, request.model)
    source = check_dataset(data, request.split, request.reading)
    print(f"diagnosing {path} on {source.about}", file=sys.stderr)
    dataset = open_dataset(data, filter=BOUNDS, split=request.split, reading=request.reading)
    print("\n".join(dataset.describe()), file=sys.stderr)
    from training.diagnosis.diagnose import Job, check_job, diagnose
    from training.diagnosis.health import other_splits
    from training.diagnosis.page import summary, write_page
    from training.labelling.annotate import check_answers, spoken

    annotations = annotation_file(data, request.split, request.reading)
    device = None if request.device is None else device_of(request.device)
    detector = load_detector(name, request.model, annotations=annotations, device=device)
    check_answers(detector, dataset)
    detector = spoken(detector, dataset)
    min_score = detector.min_score if request.min_score is None else request.min_score
    job = Job(dataset, detector, request.out, min_score, request.split, request.batch)
    if request.dry_run:
        check_job(job)
        return nothing_is_missing()
    others = dict(other_splits(data, dataset, request.split, request.reading))
    found, evidence = diagnose(job, others)
    page = write_page(found, evidence, dataset, request.out / PAGE)
    print("\n".join(summary(found)))
    print(page)
    return 0


def _compare(request: DiagnoseRequest, before: Path, after: Path) -> int:
    from training.diagnosis.compare import compare, read_side, write_comparison

    sides = read_side(before), read_side(after)
    if request.dry_run:
        return nothing_is_missing()
    print(f"comparing {before} and {after}", file=sys.stderr)
    comparison = compare(*sides)
    print("\n".join(comparison.lines()))
    print(write_comparison(comparison, request.out))
    return 0
