"""A job that makes a data set: what its pictures depend on, and where it keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.attributes import Strategy
from detdiffusion.bounds import IMAGES_OF_A_JOB
from detdiffusion.core.devices import OPENVINO, device_of
from detdiffusion.core.files import hash_number, read_json
from detdiffusion.errors import DataError
from detdiffusion.sampling_config import SamplingConfig, SamplingRequest
from training.core.chunks import Chunks, Save
from training.data.layout_sources import LayoutSource
from training.synthesis.augment import Augmentation, Missed

if TYPE_CHECKING:
    from PIL import Image

    from detdiffusion.text.vocabulary import Vocabulary

FORMAT = "generation-1"
MANIFEST, IMAGES = "manifest.json", "images"
DROP, REDRAW = REFINEMENTS = ("drop", "redraw")  # what happens to objects that are not there
MOST_LAYOUTS = 5_000  # that are asked what a detector misses
SQUARE = (256, 256)  # pixels: boxes are fractions, whatever the size
THREADS = 1  # of a worker on the CPU: more workers use more cores


@dataclass(frozen=True, slots=True)
class Job:
    """Which pictures to make, and where. `detector`: name or path; None: nobody looks at them."""

    out: Path
    model: Path
    source: LayoutSource
    strategy: Strategy
    count: int
    sampling: SamplingConfig  # its seed gives every picture its own
    detector: str | None
    chunk: int = 64  # pictures that are committed together
    batch: int = 16  # pictures that are drawn together
    threads: int = THREADS
    augment: Augmentation | None = None
    add_missed: int = 0  # things more in a layout, at most
    refine: str | None = None  # of REFINEMENTS; None: every object stays in the annotations
    snap: bool = False  # boxes move to sure detections
    check: bool = False  # images are refused whose labels would be false
    check_by: str | None = None  # second detector, name or path; None: the first one again
    originals: Path | None = None  # data set that the model has learned; None: copies are not looked for
    device: str | None = None

    @property
    def chunks(self) -> Chunks:
        """The chunks of its images."""
        return job_chunks(self.out, self.count, self.chunk)

    def settings(
        self, model: str, detector: str | None, vocabulary: Vocabulary, check: Mapping[str, str | None] | None = None
    ) -> dict[str, Any]:
        """All that the pictures depend on. model, detector: SHA-256s; check: those of the second detector and of the
        originals, where images are checked."""
        from detdiffusion.models.precision import preferred_dtype

        device = device_of(self.device, draws=True)
        source = {"spec": self.source.spec, "fingerprint": self.source.fingerprint}
        names = ("chunk", "batch", "augment", "add_missed", "refine", "snap")
        return {
            "format": FORMAT,
            "model": model,
            "layouts": source,
            "strategy": self.strategy.value,
            "count": self.count,
            "seed": self.sampling.seed,
            **sampling_to_json(self.sampling),
            **{name: getattr(self, name) for name in names},
            "detector": detector,
            "device": OPENVINO if self.device == OPENVINO else device.type,
            "threads": self.threads if device.type == "cpu" else None,
            "precision": str(preferred_dtype(device)).removeprefix("torch."),
            "classes": {"things": list(vocabulary.things), "stuff": list(vocabulary.stuff)},
            **({} if check is None else {"check": dict(check)}),
        }

    def image_seed(self, number: int, attempt: int = 0) -> int:
        """Of the noise of a picture: 48 bits, whoever draws it."""
        text = f"{self.sampling.seed}/{number}" + (f"/{attempt}" if attempt else "")
        return hash_number(text, 6)


def sampling_to_json(sampling: SamplingConfig | SamplingRequest) -> dict[str, Any]:
    """All but the seed, by the names of version 0.1, so that its jobs go on."""
    sampler = {"sampler": sampling.sampler} if sampling.sampler else {}
    strength = {"difficulty": sampling.attribute_guidance}
    led = {"detector_guidance": sampling.detector_guidance} if sampling.detector_guidance else {}
    fixed = {"fix_boxes": True} if sampling.fix_boxes else {}
    beta = sampling.gligen_scheduled_sampling_beta
    early = {} if beta is None else {"gligen_scheduled_sampling_beta": beta}
    return {
        "steps": sampling.steps,
        "guidance": sampling.guidance_scale,
        **strength,
        **sampler,
        **led,
        **fixed,
        **early,
    }


def sampling_from_json(values: Mapping[str, Any]) -> SamplingRequest:
    """The inverse of `sampling_to_json`.

    Raises:
        KeyError, ConfigError: a value is missing or out of range.
    """
    steps, guidance, strength = (values[name] for name in ("steps", "guidance", "difficulty"))
    return SamplingRequest(
        steps,
        guidance,
        strength,
        values.get("sampler", ""),
        values.get("detector_guidance", 0.0),
        values.get("fix_boxes", False),
        values.get("gligen_scheduled_sampling_beta"),
    )


def missed_things(source: LayoutSource) -> Missed:
    """Of at most some thousand layouts.

    Raises:
        ConfigError: they have no attributes, or nothing in them is hard.
    """
    step = -(-len(source) // MOST_LAYOUTS)
    places = range(0, len(source), step) if source.labelled else ()
    return Missed.of(source.layout(place, SQUARE) for place in places)


def job_chunks(out: Path, count: int, size: int) -> Chunks:
    """OUT/images/00000/000000.png, ..."""
    return Chunks(out, IMAGES, count, size)


def read_chunks(out: Path) -> Chunks:
    """The chunks of a job that was begun.

    Raises:
        DataError: there is none.
    """
    settings = read_manifest(out)
    return job_chunks(out, int(settings["count"]), int(settings["chunk"]))


def saver(image: Image.Image, write: Callable[[Path, Image.Image], None]) -> Save:
    """Writes an image to whatever path it is given."""
    return lambda path: write(path, image)


def read_manifest(out: Path) -> dict[str, Any]:
    """Settings of the job in a folder.

    Raises:
        DataError: there is none.
    """
    try:
        return read_json(out / MANIFEST, _known, DataError)
    except DataError as error:
        raise DataError(f"{out} holds no job of `python -m training generate`: {error}") from error


def _known(settings: Any) -> dict[str, Any]:
    if settings["format"] != FORMAT:
        raise ValueError(f"its format is {str(settings['format'])[:40]!r}")
    for name in ("count", "chunk"):
        if type(settings[name]) is not int or not 1 <= settings[name] <= IMAGES_OF_A_JOB:
            raise ValueError(f"{name} needs to be a whole number from 1 to {IMAGES_OF_A_JOB:,}")
    classes = settings["classes"]["things"]
    if not isinstance(classes, list) or not all(isinstance(label, str) for label in classes):
        raise ValueError("its classes are no list of names")
    return dict(settings)
