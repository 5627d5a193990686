"""From a data set and a detector to a diagnosis: looked at in chunks that are committed once, matched, counted."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from detdiffusion.core.files import write_sealed
from detdiffusion.core.settings import check_settings, keep_settings
from detdiffusion.detection import AnswersById, Detector, identity
from detdiffusion.errors import DataError
from detdiffusion.evaluation.bootstrap import Estimate, resamples
from detdiffusion.evaluation.tide import ErrorType, error_costs
from training.core.chunks import Chunks
from training.core.cli import progress
from training.core.reading import read_ahead
from training.data.datasets import Dataset, Sample
from training.diagnosis.axes import Axis, Cuts, axes_of
from training.diagnosis.evidence import FILE as EVIDENCE
from training.diagnosis.evidence import Evidence, gather
from training.diagnosis.health import check_health
from training.diagnosis.measures import (
    calibration,
    coco_scores,
    confusion,
    hardest,
    map_interval,
    objects_of,
    overall,
)
from training.diagnosis.result import FILE, FORMAT, Diagnosis, Source
from training.diagnosis.slices import find_slices
from training.evaluation.store import Detected, SeenImages

if TYPE_CHECKING:
    from PIL import Image

SETTINGS, FOUND = "settings.json", "found"
CHUNK = 256  # images whose detections are committed together
NAME = "detector"  # of what is kept of an image


@dataclass(frozen=True, slots=True)
class Job:
    """Whose detections on which data, and where they are kept. min_score: from which on an object counts as found."""

    dataset: Dataset
    detector: Detector
    out: Path
    min_score: float
    split: str | None = None
    batch: int = 16

    @property
    def seen(self) -> SeenImages:
        """What the detector said, in chunks."""
        return SeenImages(Chunks(self.out, FOUND, len(self.dataset), CHUNK))


def look_at_all(job: Job) -> Evidence:
    """Asks the detector about every image that it was not asked about before, and matches what it said.

    Raises:
        ConfigError: the folder holds the diagnosis of other data or another detector.
        DataError: an image cannot be read, or the disk is full.
    """
    keep_settings(job.out / SETTINGS, _settings(job))
    path = job.out / EVIDENCE
    if path.is_file():
        try:
            return Evidence.load(path)
        except DataError as error:
            print(f"{error.args[0]}; it is matched anew", file=sys.stderr)
    with progress("looking", "image") as report:

        def done(numbers: range, made: bool) -> None:
            report(numbers.stop, len(job.dataset), {})

        job.seen.fill(lambda numbers: _look(job, numbers), _nowhere, done)
    with progress("matching", "image") as report:
        evidence = gather(job.dataset, job.seen.each(NAME), job.detector.labels, report)
    evidence.save(path)
    return evidence


def diagnose(job: Job, others: Mapping[str, Dataset]) -> tuple[Diagnosis, Evidence]:
    """Writes `out/diagnosis.json` and `out/evidence.npz`. others: other splits of the data, for leaks."""
    evidence = look_at_all(job)
    print("counting: COCO's scores, slices, errors, health of the data", file=sys.stderr)
    cuts = Cuts.of(evidence)
    objects, drawn = objects_of(evidence, job.min_score), resamples(len(evidence.ids))
    with progress("scores", "class", tell=False) as report:
        scores = coco_scores(evidence, objects, report)
    errors = evidence.errors()
    least = errors.best_score()
    slices = find_slices(objects, counted_axes(evidence, cuts), drawn=drawn)
    objects_hard, images_hard = hardest(evidence, job.min_score)
    found = Diagnosis(
        format=FORMAT,
        source=_source(job, evidence),
        metrics=scores.metrics,
        mAP=Estimate(scores.metrics["mAP"], map_interval(evidence, drawn)),
        recall=overall(objects.found, objects, drawn),
        confidence=overall(objects.confidence, objects, drawn),
        errors={kind.value: cost for kind, cost in error_costs(errors).items()},
        error_counts={kind.value: errors.count(kind, least) for kind in ErrorType},
        slices=slices.named,
        others=slices.others,
        tested=slices.tested,
        cuts=asdict(cuts),
        classes=scores.classes,
        calibration=calibration(evidence),
        confusion=confusion(evidence, job.min_score),
        hardest_objects=objects_hard,
        hardest_images=images_hard,
        health={"read": job.dataset.report.to_json(), **check_health(job.dataset, evidence, others)},
        error_score=least,
    )
    write_sealed(job.out / FILE, found.to_json())
    return found, evidence


def counted_axes(evidence: Evidence, cuts: Cuts) -> list[Axis]:
    """Those of the objects that recall is of."""
    counted = evidence.counted
    return [Axis(one.name, one.words, one.bounds, one.codes[counted]) for one in axes_of(evidence, cuts)]


def check_job(job: Job) -> None:
    """ConfigError where the folder holds the diagnosis of other data or another detector; nothing is written."""
    check_settings(job.out / SETTINGS, _settings(job))


def _settings(job: Job) -> dict[str, object]:
    return {"data": job.dataset.fingerprint, "detector": identity(job.detector)}


def _nowhere(path: Path, image: Image.Image, number: int) -> None:
    """No image is kept: they are the data's own."""


def _look(job: Job, numbers: range) -> Detected:
    """While the detector looks at one batch, the next is read; one that knows the images by their ids gets none."""
    samples = job.dataset[numbers.start : numbers.stop]
    if isinstance(job.detector, AnswersById):
        sizes = [(sample.layout.width, sample.layout.height) for sample in samples]
        return Detected(None, {NAME: job.detector.for_images([sample.image_id for sample in samples], sizes)})
    read, found = read_ahead(samples, Sample.load_image, ahead=job.batch), []
    while pairs := list(islice(read, job.batch)):
        found += job.detector.detect([image for _, image in pairs])
    return Detected(None, {NAME: found})


def _source(job: Job, evidence: Evidence) -> Source:
    data, known = job.dataset, frozenset(job.detector.labels)
    return Source(
        data=data.name,
        words=tuple(data.words),
        fingerprint=data.fingerprint,
        split=job.split,
        images=len(evidence.ids),
        objects=int(evidence.counted.sum()),
        detector=job.detector.name,
        sha256=job.detector.sha256,
        min_score=job.min_score,
        unknown=tuple(label for label in data.things if label not in known),
    )
