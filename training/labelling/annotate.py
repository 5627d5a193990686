"""Attributes by Eq. 2: a detector looks at real pictures; what it finds is easy, what it misses is hard.

It must not have been trained on these pictures: a detector that labels its own training data finds nearly everything,
and the attribute would mean nothing (`--folds` trains detectors that have not seen what they label).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from detdiffusion.attributes import AttributeRule, label_attributes
from detdiffusion.core.arguments import add_batch, add_device, natural, out_file, positive
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.devices import check_device, device_of
from detdiffusion.detection import AnswersById, Detections, Detector, look
from detdiffusion.detectors import KINDS, detector_path, load_detector
from detdiffusion.detectors.architectures import built_in
from detdiffusion.detectors.names import check_knows, remap_labels
from detdiffusion.errors import ConfigError, DataError, DetectorError, why
from detdiffusion.layout import Attribute, Layout
from training.core.cli import add_dry_run, add_image_size, nothing_is_missing, progress
from training.core.reading import read_ahead
from training.core.status import status_beside, tells
from training.data.attributes import (
    check_same,
    continue_file,
    encode_row,
    make_header,
    read_attributes,
    read_file,
)
from training.data.datasets import Dataset, Sample, annotation_file, open_dataset
from training.data.filters import LayoutFilter, add_filter_arguments, filter_of
from training.data.forms.recognise import check_data
from training.data.request import AS_IT_IS, Reading, add_data_arguments, add_negatives_argument, reading_of
from training.labelling.folds import FoldConfig, Share, like_detector, split_folds, train_folds
from training.labelling.summary import AttributeReport

if TYPE_CHECKING:
    from PIL import Image

    from training.core.schedule import OnStep

BATCH = 16  # pictures
LEAST_SHARE = 0.2  # of easy things and of hard ones, that attributes mean something
SUFFIX = ".jsonl"


def label_images(
    layouts: Sequence[Layout],
    images: Sequence[Image.Image],
    detector: Detector,
    known_labels: Collection[str],
    rule: AttributeRule,
) -> list[Layout]:
    """Eq. 2 on real pictures: found is easy, missed is hard, outside `known_labels` is background."""
    return _by_rule(layouts, detector.detect(images), known_labels, rule)


def _by_rule(
    layouts: Sequence[Layout], found: Sequence[Detections], known_labels: Collection[str], rule: AttributeRule
) -> list[Layout]:
    pairs = zip(layouts, found, strict=True)
    return [label_attributes(layout, detections, known_labels, rule) for layout, detections in pairs]


# --- a data set -----------------------------------------------------------------------------------


def annotate_dataset(
    dataset: Dataset,
    detector: Detector,
    out: Path,
    rule: AttributeRule,
    *,
    batch: int = BATCH,
    on_step: OnStep | None = None,
) -> Path:
    """Writes the attributes of every object; stuff and things that the detector does not know are background.

    The same call goes on where it was stopped, and asks the detector nothing once all is done.

    Args:
        batch: pictures that the detector gets at once.
        on_step: gets the finished pictures, all pictures, and the easy share of this call's things.

    Raises:
        DataError: `out` belongs to other data, another detector or another rule; or a picture cannot be read.
    """
    everything = Share(detector, range(len(dataset)))
    return annotate_shares(dataset, [everything], out, rule, batch=batch, on_step=on_step or (lambda *_: None))


def annotate_shares(
    dataset: Dataset,
    shares: Sequence[Share],
    out: Path,
    rule: AttributeRule,
    *,
    batch: int = BATCH,
    on_step: OnStep,
) -> Path:
    """`annotate_dataset` by several detectors, each for its own part of the pictures (together: all of them)."""
    order = [place for share in shares for place in share.places]
    header = make_header(dataset, rule, [share.detector for share in shares])
    counts = Counter[Attribute | None]()
    done = skip = continue_file(out, header, (dataset[place] for place in order))
    try:
        with out.open("ab") as file:
            for detector, places in shares:
                for labelled in _labelled(dataset, places[skip:], detector, rule, batch):
                    file.write(b"".join(encode_row(image_id, layout) for image_id, layout in labelled))
                    file.flush()
                    done += len(labelled)
                    counts.update(box.attribute for _, layout in labelled for box in layout.boxes)
                    things = counts[Attribute.EASY] + counts[Attribute.HARD]
                    on_step(done, len(order), {"easy_share": counts[Attribute.EASY] / max(1, things)})
                skip = max(0, skip - len(places))
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(f"{out} cannot be written ({why(error)}); free some space, then run the same again") from error
    return out


def with_attributes(sample_layout: Layout, attributes: Sequence[Attribute]) -> Layout:
    """The layout of a sample with what `read_attributes` gives for its picture."""
    return sample_layout.with_attributes(attributes)


def _labelled(
    dataset: Dataset, places: Sequence[int], detector: Detector, rule: AttributeRule, batch: int
) -> Iterator[list[tuple[str, Layout]]]:
    """Batches of image ids and labelled layouts; while the detector looks at one, the next is read."""
    known = frozenset(detector.labels) & frozenset(dataset.things)
    read = read_ahead((dataset[place] for place in places), Sample.load_image, ahead=batch)
    while pairs := list(islice(read, batch)):
        found = look(detector, [image for _, image in pairs], [sample.image_id for sample, _ in pairs])
        layouts = _by_rule([sample.layout for sample, _ in pairs], found, known, rule)
        yield [(sample.image_id, layout) for (sample, _), layout in zip(pairs, layouts, strict=True)]


# --- python -m training annotate ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnnotateRequest:
    """What `annotate` is asked for.

    detector: a name, a path, or with folds an architecture too. min_score, min_iou: gamma and beta of Eq. 2 (gamma
    None: the detector's own). folds: detectors to train; seed, epochs, image_size are theirs.
    """

    data: Path
    detector: str
    out: Path
    model: Path
    bounds: LayoutFilter
    split: str | None
    min_score: float | None
    min_iou: float
    match_class: bool
    batch: int
    device: str | None
    folds: int | None
    seed: int
    epochs: int
    image_size: int | None
    reading: Reading = AS_IT_IS
    negatives: bool = True

    def rule(self, min_score: float) -> AttributeRule:
        """Eq. 2 as it is asked for; `min_score` is what counts where none was."""
        return AttributeRule(min_score if self.min_score is None else self.min_score, self.min_iou, self.match_class)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training annotate`."""
    rule, folds = AttributeRule(), FoldConfig("", 1)
    add_data_arguments(parser)
    parser.add_argument(
        "--detector",
        required=True,
        metavar="NAME|PATH",
        help=f"one of the model's, {KINDS}; with --folds also an architecture to train, such as yolo11n.yaml. Nothing "
        "is downloaded",
    )
    parser.add_argument("--out", type=out_file, required=True, metavar=f"FILE{SUFFIX}", help="file to write")
    parser.add_argument(
        "--model", type=Path, default=BUNDLED_MODEL, metavar="DIR", help="model folder that names are looked up in"
    )
    parser.add_argument("--min-score", type=float, metavar="S", help="gamma of Eq. 2 (default: the detector's own)")
    parser.add_argument("--min-iou", type=float, default=rule.min_iou, metavar="IOU", help=f"beta ({rule.min_iou})")
    parser.add_argument(
        "--any-class", action="store_true", help="a detection of any class counts as finding the object"
    )
    add_batch(parser, BATCH)
    add_device(parser)
    add_filter_arguments(parser)
    group = parser.add_argument_group("K-fold labelling, for data that the detector was trained on")
    add_negatives_argument(group)
    group.add_argument("--folds", type=positive, metavar="K", help="train K detectors like --detector, from scratch")
    for name, kind, default in (("seed", natural, folds.seed), ("epochs", positive, folds.epochs)):
        what = f"{name} of the training (default {default})"
        group.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=what)
    add_image_size(group, "image_size", "that of --detector")
    add_dry_run(parser)


@tells(lambda arguments: status_beside(arguments.out))
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    request = request_of(arguments)
    out = request.out
    if out.suffix != SUFFIX or out.is_dir():
        raise ConfigError(f"{out}: --out names the file to write, and needs to end with {SUFFIX}")
    _check(request)
    dataset = open_dataset(request.data, filter=request.bounds, split=request.split, reading=request.reading)
    print("\n".join(dataset.describe()), file=sys.stderr)
    _check_out(request, dataset)
    if arguments.dry_run:
        return _dry_run(request, dataset)
    shares, rule = _shares(request, dataset)
    shares = [share._replace(detector=spoken(share.detector, dataset)) for share in shares]
    with progress("attributes", "image") as report:
        annotate_shares(dataset, shares, out, rule, batch=request.batch, on_step=report)
    written = write_report(dataset, out, [share.detector for share in shares])
    print("\n".join(written.lines()))
    if advice := _advice(written.total.easy_share, rule):
        print(f"note: {advice}", file=sys.stderr)
    print(out)
    return 0


def _advice(easy: float | None, rule: AttributeRule) -> str:
    """What to change where nearly all things are of one kind, so that the words would say nothing; else empty.

    easy: share of the things; None: there are none.
    """
    if easy is None or LEAST_SHARE <= easy <= 1 - LEAST_SHARE:
        return ""
    kind, other = ("easy", "higher") if easy > 0.5 else ("hard", "lower")
    return (
        f"{max(easy, 1 - easy):.0%} of the things are {kind} for this detector, so the word "
        f"says little; a {other} --min-score than {rule.min_score:g} parts them more evenly"
    )


def write_report(dataset: Dataset, path: Path, detectors: Sequence[Detector]) -> AttributeReport:
    """Writes the summary of an attributes file and its chart beside it, and returns what it says."""
    from detdiffusion.core.files import write_json

    attributes = read_attributes(path, dataset)
    report = AttributeReport.of(with_attributes(sample.layout, attributes[sample.image_id]) for sample in dataset)
    about = {"name": dataset.name, **read_file(path).header}
    write_json(path.with_suffix(".summary.json"), {**about, **report.to_json()})
    name = detectors[0].name if len(detectors) == 1 else f"each of {len(detectors)} detectors"
    report.chart(name).save(path.with_suffix(".png"), optimize=True)
    return report


def request_of(arguments: argparse.Namespace) -> AnnotateRequest:
    """The request that the arguments are."""
    own = {field.name for field in fields(AnnotateRequest)} - {"bounds", "match_class", "reading"}
    given = {name: getattr(arguments, name) for name in own}
    return AnnotateRequest(
        bounds=filter_of(arguments), match_class=not arguments.any_class, reading=reading_of(arguments), **given
    )


def _dry_run(request: AnnotateRequest, dataset: Dataset) -> int:
    """What is wrong with the detector, or with the folds."""
    if request.folds is not None:
        split_folds(dataset, _folds(request, dataset))
        return nothing_is_missing()
    shares, rule = _shares(request, dataset)
    check_same(request.out, make_header(dataset, rule, [spoken(shares[0].detector, dataset)]))
    return nothing_is_missing()


def _check_out(request: AnnotateRequest, dataset: Dataset) -> None:
    """DataError where `out` holds attributes of other data or by another rule: before a detector is loaded."""
    header = make_header(dataset, request.rule(AttributeRule().min_score))
    if request.folds is None and request.min_score is None:
        del header["rule"]  # the detector says the rest of it
    check_same(request.out, header)


def _check(request: AnnotateRequest) -> None:
    """What can be seen to be wrong before the data are read and libraries are loaded."""
    check_device(request.device)
    request.rule(AttributeRule().min_score)
    if request.folds is not None:
        FoldConfig("", 1, folds=request.folds)
    check_data(request.data)
    if request.folds is not None and request.detector.endswith(".yaml"):
        built_in(request.detector)
    else:
        detector_path(request.detector, request.model)


def _shares(request: AnnotateRequest, dataset: Dataset) -> tuple[list[Share], AttributeRule]:
    """Who labels which pictures, and by which rule."""
    if request.folds is None:
        annotations = annotation_file(request.data, request.split, request.reading)
        device = None if request.device is None else device_of(request.device)
        detector = load_detector(request.detector, request.model, annotations=annotations, device=device)
        check_answers(detector, dataset)
        return [Share(detector, range(len(dataset)))], request.rule(detector.min_score)
    work, rule = _work(request.out), request.rule(AttributeRule().min_score)
    config = _folds(request, dataset)
    everything = None
    if request.negatives:
        bounds = replace(request.bounds, min_objects=0)
        everything = open_dataset(request.data, filter=bounds, split=request.split, reading=request.reading)
    return train_folds(dataset, config, work, rule.min_score, everything, device_of(request.device)), rule


def _folds(request: AnnotateRequest, dataset: Dataset) -> FoldConfig:
    """The folds that are asked for. DataError if `out` holds attributes of one detector."""
    if request.out.exists() and not _work(request.out).exists():
        raise DataError(f"{request.out} holds attributes of another detector; delete it or give another --out")
    architecture, image_size = like_detector(request.detector, request.model)
    numbers = {"folds": request.folds or 0, "epochs": request.epochs, "seed": request.seed}
    return FoldConfig(architecture, request.image_size or image_size, **numbers)


def _work(out: Path) -> Path:
    """Where the detectors of the folds lie."""
    return out.with_suffix(".folds")


def check_answers(detector: Detector, dataset: Dataset) -> None:
    """DetectorError where a results file is of other pictures."""
    if isinstance(detector, AnswersById) and not any(sample.image_id in detector.ids for sample in dataset):
        theirs, ours = next(iter(detector.ids)), dataset[0].image_id
        raise DetectorError(
            f"{detector.name} is a file of results for other images: it has image ids such as {theirs}, and "
            f"{dataset.name} has such as {ours}"
        )


def spoken(detector: Detector, dataset: Dataset) -> Detector:
    """The detector with its classes under the data's names; says on standard error which ones have no partner.

    Raises:
        DetectorError: it knows no class of the data.
    """
    named, match = remap_labels(detector, dataset.things)
    check_knows(named, dataset.things, "the data")
    for line in match.lines(detector.name):
        print(line, file=sys.stderr)
    if match.unknown:
        print(
            f"note: {detector.name} does not know {len(match.unknown)} of the {len(dataset.things)} classes of things; "
            "their objects are background (--folds trains detectors that know them): " + ", ".join(match.unknown),
            file=sys.stderr,
        )
    return named
