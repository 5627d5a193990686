"""What `generate` was asked for: arguments -> a checked job, kept in its folder, where every worker reads it."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.attributes import Strategy
from detdiffusion.detectors import BUNDLED
from detdiffusion.errors import ConfigError, DataError, LayoutError
from detdiffusion.settings import keep_settings
from training.core.devices import device_of
from training.data.filters import filter_of
from training.data.layout_sources import open_source
from training.synthesis.augment import Augmentation
from training.synthesis.store import MANIFEST, Chunks, Job, missed_things

if TYPE_CHECKING:
    from detdiffusion.text.vocabulary import Vocabulary

ORDER = "order.json"  # the arguments
NO_DETECTOR = "none"
_FILES = ("out", "model", "attributes")


def job_of(arguments: argparse.Namespace) -> Job:
    """The job that the arguments ask for.

    Raises:
        DataError: the layouts cannot be read.
    """
    drawing = ("strategy", "count", "seed", "steps", "guidance", "difficulty", "chunk", "batch", "threads")
    names = (*drawing, "augment", "add_missed", "refine", "snap")
    source = open_source(arguments.layouts, filter_of(arguments), arguments.split, arguments.attributes)
    return Job(
        out=arguments.out,
        model=arguments.model,
        source=source,
        detector=_detector(arguments.detector, arguments.model),
        device=arguments.device,
        **{name: getattr(arguments, name) for name in names},
    )


def begin(job: Job, arguments: argparse.Namespace) -> None:
    """Checks all that can be seen to be wrong, keeps the settings, and clears away what was damaged.

    Raises:
        CheckpointError, DetectorError: model or detector is missing or damaged.
        ConfigError: the folder holds a job with other settings, the model knows no attributes, or there is no such
            device.
        LayoutError: the model does not know a class of the layouts.
    """
    from detdiffusion.detectors import load_detector
    from detdiffusion.diffusion.manifest import model_hash, read_vocabulary, verify

    device_of(job.device)
    verify(job.model)
    vocabulary = read_vocabulary(job.model)
    if not vocabulary.attribute_words and (job.strategy is not Strategy.ORIGIN or job.difficulty):
        raise ConfigError(f"{job.model} knows no easy and hard objects: use --strategy origin")
    detector = None if job.detector is None else load_detector(job.detector, job.model)
    if (job.refine or job.snap) and detector is None:
        raise ConfigError("--refine and --snap ask a detector what is there: give one with --detector")
    _check_origin(job, detector is not None, attributes=bool(vocabulary.attribute_words))
    _check_classes(job, vocabulary)
    if job.add_missed:
        missed_things(job.source)
    job.out.mkdir(parents=True, exist_ok=True)
    seen_by = None if detector is None else detector.sha256
    keep_settings(job.out / MANIFEST, job.settings(model_hash(job.model), seen_by, vocabulary))
    (job.out / ORDER).write_text(json.dumps(_plain(arguments)) + "\n", encoding="utf-8")
    chunks = Chunks.of(job)
    chunks.sweep()
    for chunk in range(len(chunks)):
        if chunks.folder(chunk).exists() and (faults := chunks.faults(chunk)):
            print(f"{faults[0]}; its chunk is drawn again")
            chunks.take_away(chunk)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Lets jobs on one folder begin and end one after the other; in between they share the work.

    Nothing is made where the folder is not there yet: bad input leaves no trace.
    """
    place = next(folder for folder in out.absolute().parents if folder.is_dir())
    handle = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def read_job(out: Path) -> Job:
    """The job that was begun in a folder.

    Raises:
        DataError: there is none.
    """
    try:
        values: dict[str, Any] = json.loads((out / ORDER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{out} holds no job of `python -m training generate`: {error}") from error
    values |= {name: Path(values[name]) for name in _FILES if values[name] is not None}
    values["strategy"] = Strategy(values["strategy"])
    values["augment"] = Augmentation(values["augment"]) if values["augment"] else None
    return job_of(argparse.Namespace(**values))


def _plain(arguments: argparse.Namespace) -> dict[str, Any]:
    """As JSON; paths mean the same in every folder."""
    values = {name: value for name, value in vars(arguments).items() if not callable(value)}
    paths = {name: str(Path(values[name]).resolve()) for name in _FILES if values[name] is not None}
    if Path(arguments.layouts).exists():
        paths["layouts"] = str(Path(arguments.layouts).resolve())
    if arguments.detector and Path(arguments.detector).exists():
        paths["detector"] = str(Path(arguments.detector).resolve())
    return {**values, **paths}


def _detector(asked: str | None, model: Path) -> str | None:
    if asked is None:
        return BUNDLED if (model / "detectors" / BUNDLED).is_dir() else None
    return None if asked == NO_DETECTOR else asked


def _check_origin(job: Job, detector: bool, *, attributes: bool) -> None:
    """Attributes "as they are" have to come from somewhere."""
    known = job.source.labelled or (job.source.pictured and detector)
    if job.strategy is Strategy.ORIGIN and attributes and not known:
        raise ConfigError(
            "--strategy origin needs true attributes: give --detector, to look at the real pictures, or --attributes"
        )


def _check_classes(job: Job, vocabulary: Vocabulary) -> None:
    """The nearest known classes stand in the message."""
    for label in sorted(job.source.labels()):
        try:
            vocabulary.class_index(label)
        except LayoutError as error:
            raise LayoutError(f"layouts {job.source.spec}: {error}") from error
