"""What `generate` is asked for, and the checked job that comes of it: every worker reads the request in its folder."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.attributes import Strategy
from detdiffusion.core.devices import check_device
from detdiffusion.core.files import claim, read_json, write_sealed
from detdiffusion.core.settings import check_settings, keep_settings
from detdiffusion.detectors import BUNDLED, HELD_OUT, detector_path, own_detectors
from detdiffusion.errors import ConfigError, DataError, LayoutError
from detdiffusion.sampling_config import AS_RECOMMENDED, SamplingRequest
from training.data.datasets import open_dataset
from training.data.filters import EVERYTHING, NO_FILTER, LayoutFilter
from training.data.forms.recognise import check_data
from training.data.layout_sources import open_source
from training.data.request import AS_IT_IS, Reading
from training.synthesis.augment import Augmentation
from training.synthesis.store import MANIFEST, REDRAW, THREADS, Job, missed_things, sampling_from_json, sampling_to_json

if TYPE_CHECKING:
    from detdiffusion.detection import Detector
    from detdiffusion.text.vocabulary import Vocabulary

ORDER = "order.json"  # the request
NO_DETECTOR = "none"
_NOBODY_LOOKS = "--refine, --snap and --check ask a detector what is there: give one with --detector"
_NOBODY_LEADS = "--detector-guidance and --fix-boxes need a detector: give one with --detector"
_FILES = ("out", "model", "attributes", "originals")
_OLD_BOUNDS = {  # fields of LayoutFilter, as version 0.1 kept them
    "min_area": "min_area",
    "min_objects": "min_objects",
    "max_objects": "max_objects",
    "crowds": "crowds",
    "ignored": "ignore",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What `generate` is asked for. Fields that are not described here are those of `Job`.

    layouts: papercut:COUNT@FIRST_SEED, a data set's folder, or a file. detector: a name, a path, `none`, or None: the
    model's own.
    """

    out: Path
    model: Path
    layouts: str
    strategy: Strategy
    count: int
    seed: int = 0
    sampling: SamplingRequest = AS_RECOMMENDED
    bounds: LayoutFilter = NO_FILTER  # of a data set's objects
    split: str | None = None
    attributes: Path | None = None  # a file of `annotate`
    detector: str | None = None
    chunk: int = 64
    batch: int = 16
    threads: int = THREADS
    augment: Augmentation | None = None
    add_missed: int = 0
    refine: str | None = None
    snap: bool = False
    check: bool = False
    check_by: str | None = None
    originals: Path | None = None
    device: str | None = None
    reading: Reading = AS_IT_IS

    def job(self) -> Job:
        """The job, with its layouts opened.

        Raises:
            CheckpointError: there is no such model.
            DataError: the layouts cannot be read.
        """
        from detdiffusion.diffusion.manifest import read_recommended

        shared = {field.name for field in fields(Job)} & {field.name for field in fields(self)}
        given = {name: getattr(self, name) for name in shared - {"detector", "sampling"}}
        if self.check:  # what it stands on: objects are looked for, images drawn again, boxes moved
            given |= {"refine": REDRAW, "snap": True, "check_by": self.check_by or _second(self.model)}
        return Job(
            source=open_source(self.layouts, self.bounds, self.split, self.attributes, self.reading),
            detector=_detector(self.detector, self.model),
            sampling=self.sampling.of(read_recommended(self.model), self.seed),
            **given,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON has it; paths mean the same in every folder."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {name: str(values[name].resolve()) for name in _FILES if values[name] is not None}
        for name in ("layouts", "detector", "check_by"):
            if values[name] and Path(values[name]).exists():
                values[name] = str(Path(values[name]).resolve())
        sampling = sampling_to_json(values.pop("sampling"))
        own = {
            "bounds": {**asdict(self.bounds), "ignored": list(self.bounds.ignored)},
            "reading": self.reading.to_json(),
        }
        return {**values, **sampling, **own}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Request:
        """Also of a file of version 0.1, which lists the command's arguments: the bounds stand among them.

        Raises:
            KeyError, TypeError, ValueError, ConfigError: a value is missing, or is not what it should be.
        """
        bounds = values["bounds"] if "bounds" in values else {new: values[old] for new, old in _OLD_BOUNDS.items()}
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        known |= {name: Path(values[name]) for name in _FILES if values.get(name) is not None}
        known["sampling"] = sampling_from_json(values)
        known["bounds"] = LayoutFilter(**{**bounds, "ignored": tuple(bounds["ignored"])})
        known["strategy"] = Strategy(values["strategy"])
        known["reading"] = Reading.from_json(values["reading"]) if "reading" in values else AS_IT_IS
        known["augment"] = Augmentation(values["augment"]) if values["augment"] else None
        return cls(**known)


def check_request(request: Request) -> None:
    """What can be seen to be wrong before the model is there, whose own detectors may then have any name.

    Raises:
        ConfigError: options contradict each other, or there is no such device.
        DataError: there is no such folder of originals.
        DetectorError: there is no such detector.
    """
    check_device(request.device, draws=True)
    own = () if request.model.is_dir() else (BUNDLED, HELD_OUT)
    for name in (request.detector, request.check_by):
        if name not in (None, NO_DETECTOR, *own):
            detector_path(str(name), request.model)
    if not request.check and (request.check_by is not None or request.originals is not None):
        raise ConfigError("--check-by and --originals say how --check works: give it, too")
    if request.originals is not None:
        check_data(request.originals)
    if request.detector == NO_DETECTOR and (request.refine or request.snap or request.check):
        raise ConfigError(_NOBODY_LOOKS)
    if request.detector == NO_DETECTOR and (request.sampling.detector_guidance or request.sampling.fix_boxes):
        raise ConfigError(_NOBODY_LEADS)


def _check_beta(job: Job) -> None:
    from detdiffusion.diffusion.manifest import is_gligen

    if job.sampling.gligen_scheduled_sampling_beta is not None and not is_gligen(job.model):
        raise ConfigError(f"{job.model} is not GLIGEN's: --gligen-beta is for its models")


def begin(request: Request, *, dry: bool = False) -> Job:
    """The job that is asked for: checks all that can be seen to be wrong, keeps the request and the settings, and
    clears away what was damaged.

    dry: nothing is written.

    Raises:
        CheckpointError, DetectorError: model or detector is missing or damaged.
        ConfigError: the folder holds a job with other settings, the model knows no attributes, or there is no such
            device.
        DataError: the layouts cannot be read.
        LayoutError: the model does not know a class of the layouts.
    """
    from detdiffusion.detection import scores_boxes
    from detdiffusion.detectors import load_detector
    from detdiffusion.detectors.names import check_knows, remap_labels
    from detdiffusion.diffusion.manifest import check_model, model_hash, read_recommended, read_vocabulary, verify

    check_model(request.model)
    check_request(request)
    job = request.job()
    print(f"checking the model {job.model}", file=sys.stderr)
    verify(job.model)
    if advice := read_recommended(job.model).advice(job.sampling):
        print(f"note: {advice}", file=sys.stderr)
    _check_beta(job)
    vocabulary = read_vocabulary(job.model)
    led = bool(job.sampling.detector_guidance)
    by_words = job.sampling.attribute_guidance or (job.strategy is not Strategy.ORIGIN and not led)
    if not vocabulary.attribute_words and by_words:
        raise ConfigError(
            f"{job.model} knows no easy and hard objects: use --strategy origin, or lead them by --detector-guidance 1"
        )
    if (job.refine or job.snap) and job.detector is None:
        raise ConfigError(_NOBODY_LOOKS)
    if (led or job.sampling.fix_boxes) and job.detector is None:
        raise ConfigError(_NOBODY_LEADS)
    _check_origin(job, job.detector is not None, attributes=bool(vocabulary.attribute_words) or led)
    _check_classes(job, vocabulary)
    if job.add_missed:
        missed_things(job.source)
    detector = None if job.detector is None else load_detector(job.detector, job.model)
    if detector is not None:
        check_knows(remap_labels(detector, vocabulary.labels)[0], vocabulary.labels, "the model")
        if led:
            scores_boxes(detector)
    check = _check_identity(job, detector)
    settings = job.settings(model_hash(job.model), None if detector is None else detector.sha256, vocabulary, check)
    if dry:
        check_settings(job.out / MANIFEST, settings)
        return job
    with alone(job.out):  # only now: bad input leaves no trace
        keep_settings(job.out / MANIFEST, settings)
        write_sealed(job.out / ORDER, {**request.to_json(), **sampling_to_json(job.sampling)})
        chunks = job.chunks
        chunks.sweep()
        for chunk in range(len(chunks)):
            if fault := chunks.repair(chunk):
                print(f"{fault}; its chunk is drawn again")
    return job


def alone(out: Path) -> AbstractContextManager[bool]:
    """Lets jobs on one folder begin and end one after the other; in between they share the work."""
    return claim(out / "claims" / "job", wait=True)


def read_job(out: Path) -> Job:
    """The job that was begun in a folder.

    Raises:
        DataError: there is none.
    """
    try:
        request = read_json(out / ORDER, Request.from_json, DataError)
    except (DataError, ConfigError) as error:
        raise DataError(f"{out} holds no job of `python -m training generate`: {error}") from error
    return request.job()


def _detector(asked: str | None, model: Path) -> str | None:
    if asked is None:
        return BUNDLED if BUNDLED in own_detectors(model) else None
    return None if asked == NO_DETECTOR else asked


def _second(model: Path) -> str | None:
    """The detector that --check asks beside the first: the model's held-out one, if it has one."""
    return HELD_OUT if HELD_OUT in own_detectors(model) else None


def _check_identity(job: Job, detector: Detector | None) -> dict[str, str | None] | None:
    """Who checks, and against which originals; None where nothing is checked."""
    from detdiffusion.detectors import load_detector
    from detdiffusion.evaluation.fid import FeatureTeller

    if not job.check:
        return None
    second = detector if job.check_by is None else load_detector(job.check_by, job.model)
    if second is detector:
        print("note: no second detector; the first alone says whether classes are right (--check-by)", file=sys.stderr)
    if job.originals is not None and not isinstance(second, FeatureTeller):
        raise ConfigError(
            "--originals needs a second detector that tells its features: one of ultralytics or torchvision"
        )
    originals = None if job.originals is None else open_dataset(job.originals, filter=EVERYTHING).fingerprint
    return {"by": None if second is None else second.sha256, "originals": originals}


def _check_origin(job: Job, detector: bool, *, attributes: bool) -> None:
    """Attributes "as they are" have to come from somewhere."""
    known = job.source.labelled or (job.source.pictured and detector)
    if job.strategy is Strategy.ORIGIN and attributes and not known:
        raise ConfigError(
            "--strategy origin needs true attributes: give --detector, to look at the real images, or --attributes"
        )


def _check_classes(job: Job, vocabulary: Vocabulary) -> None:
    """The nearest known classes stand in the message."""
    for label in sorted(job.source.labels()):
        try:
            vocabulary.class_index(label)
        except LayoutError as error:
            raise LayoutError(f"layouts {job.source.spec}: {error}") from error
