"""One chunk of a data set: true layouts -> what is asked for -> pictures -> what the detector sees in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from detdiffusion.attributes import AttributeRule, apply_strategy, label_attributes
from detdiffusion.core.devices import device_of
from detdiffusion.detection import Detections, Detector
from detdiffusion.detectors import load_detector
from detdiffusion.detectors.names import remap_labels
from detdiffusion.diffusion.manifest import model_hash
from detdiffusion.diffusion.masks import object_masks
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.evaluation.comparison import object_confidences
from detdiffusion.evaluation.effect import numbers
from detdiffusion.image_record import ImageRecord, save_image
from detdiffusion.layout import Attribute, Layout
from training.core.chunks import Row
from training.data.datasets import open_dataset
from training.data.filters import EVERYTHING
from training.evaluation.inputs import image_size
from training.synthesis.augment import augmented
from training.synthesis.checking import Checker, Refusal, faults, read_originals
from training.synthesis.refinement import ATTEMPTS, ObjectStatus, snapped, statuses
from training.synthesis.store import REDRAW, Job, missed_things, saver

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Asked:
    """One picture that is to be drawn. `true`: the attributes that the objects have on real pictures, where known."""

    number: int
    place: int  # of its layout in the source
    layout: Layout
    true: tuple[Attribute | None, ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture of it."""

    image: Image.Image
    seed: int  # of its noise
    layout: Layout
    confidences: tuple[float | None, ...]  # of the detector; None where it cannot know, or there is none
    statuses: tuple[ObjectStatus, ...] | None = None  # None: nobody asked whether the objects are there
    boxes: tuple[tuple[float, ...] | None, ...] | None = None  # of sure detections, where boxes snap to them
    refusals: tuple[Refusal, ...] = ()  # why it cannot be learned from
    attempt: int = 0
    batch: int = 1  # images drawn together


class Generator:
    """Draws chunks of a job. It holds the model, so that there is one in a process."""

    def __init__(self, job: Job) -> None:
        """Raises what loading raises (`load_pipeline`, `load_detector`)."""
        self.job, self.device = job, device_of(job.device, draws=True)
        if self.device.type == "cpu":
            torch.set_num_threads(job.threads)
        self.pipe: DetDiffusionPipeline = load_pipeline(job.model, device=job.device or self.device)
        self.pipe.set_progress_bar_config(disable=True)  # the command has its own
        self.sha256 = model_hash(job.model)
        self.size = image_size(self.pipe)
        self.missed = missed_things(job.source) if job.add_missed else None
        self.detector: Detector | None = None
        if job.detector is not None:
            detector = load_detector(job.detector, job.model, device=self.device)
            self.detector = remap_labels(detector, self.pipe.vocabulary.labels)[0]
        self.checker = self._checker() if job.check else None

    def make(self, chunk: int) -> bool:
        """Draws and commits a chunk; False if someone else had committed it meanwhile.

        Raises:
            DataError: the disk is full.
        """
        chunks = self.job.chunks
        asked = [self.asked(number) for number in chunks.numbers(chunk)]
        drawn = [
            one for first in range(0, len(asked), self.job.batch) for one in self._draw(asked[first:][: self.job.batch])
        ]
        saves, rows = [], []
        for one, made in zip(asked, drawn, strict=True):
            saves.append(saver(made.image, self._writer(made)))
            rows.append(_row(one, made))
        return chunks.commit(chunk, saves, rows)

    def asked(self, number: int) -> Asked:
        """What picture `number` is to show: layouts in turn, mirrored and shifted where the job says so."""
        place = number % len(self.job.source)
        layout, known = self._labelled(place)
        if self.job.augment:
            layout = augmented(layout, self.job.image_seed(number), self.job.augment)
        if self.missed is not None:
            layout = self.missed.add(layout, self.job.image_seed(number), self.job.add_missed)
        true = tuple(box.attribute if known else None for box in layout.boxes)
        return Asked(number, place, apply_strategy(layout, self.job.strategy), true)

    def _labelled(self, place: int) -> tuple[Layout, bool]:
        """A layout of the source with attributes, and whether they are true ones: they come with it, or the detector
        gives them on its real picture (Eq. 2)."""
        image, layout = self.job.source.sample(place, self.size)
        vocabulary, detector = self.pipe.vocabulary, self.detector
        if self.job.source.labelled or image is None or detector is None:
            return vocabulary.resolve(layout), self.job.source.labelled
        known = set(detector.labels) - set(vocabulary.stuff)
        rule = AttributeRule(min_score=detector.min_score)
        return label_attributes(vocabulary.resolve(layout), detector.detect([image])[0], known, rule), True

    def _draw(self, asked: Sequence[Asked]) -> list[Drawn]:
        """Pictures in which objects lack are drawn again with other noise where the job says so; the best one stays."""
        drawn = self._attempt(asked, 0)
        for attempt in range(1, ATTEMPTS if self.job.refine == REDRAW else 1):
            lacking = [place for place, one in enumerate(drawn) if _faults(one)]
            again = self._attempt([asked[place] for place in lacking], attempt) if lacking else []
            for place, new in zip(lacking, again, strict=True):
                drawn[place] = min(drawn[place], new, key=_faults)
        return drawn

    def _attempt(self, asked: Sequence[Asked], attempt: int) -> list[Drawn]:
        seeds = [self.job.image_seed(one.number, attempt) for one in asked]
        layouts = [one.layout for one in asked]
        images = self._images(layouts, seeds)
        found = self._look(images)
        masks = self._masks(images, layouts)
        second = [None] * len(images) if self.checker is None else self.checker.look(images)
        drawn = []
        for layout, image, seed, seen, shapes, other in zip(layouts, images, seeds, found, masks, second, strict=True):
            one = Drawn(image, seed, layout, self._confidences(layout, seen), attempt=attempt, batch=len(asked))
            one = one if seen is None else self._refined(one, seen, shapes)
            drawn.append(one if seen is None or other is None else self._checked(one, seen, other))
        return drawn

    def _checker(self) -> Checker:
        """The second detector, and the originals as it sees them."""
        second: Any = self.detector
        if self.job.check_by is not None:
            second = load_detector(self.job.check_by, self.job.model, device=self.device)
            second = remap_labels(second, self.pipe.vocabulary.labels)[0]
        if self.job.originals is None:
            return Checker(second)
        dataset = open_dataset(self.job.originals, filter=EVERYTHING)
        return Checker(second, read_originals(dataset, second, self.job.out / "originals.npz"))

    def _checked(self, drawn: Drawn, seen: Detections, other: Detections) -> Drawn:
        """With what the second detector says of it."""
        if self.checker is None:
            return drawn
        after, refusals = self.checker.check(drawn.image, drawn.layout, drawn.statuses or (), (other, seen))
        return replace(drawn, statuses=tuple(after), refusals=tuple(refusals))

    def _refined(self, drawn: Drawn, seen: Detections, masks: Any) -> Drawn:
        """With whether its objects are there, and where, as far as the job wants to know."""
        if self.detector is not None and self.job.refine:
            drawn = replace(drawn, statuses=tuple(statuses(drawn.layout, seen, self.detector, masks)))
        if self.detector is not None and self.job.snap:
            drawn = replace(drawn, boxes=tuple(snapped(drawn.layout, seen, self.detector)))
        return drawn

    def _masks(self, images: Sequence[Image.Image], layouts: Sequence[Layout]) -> Sequence[Any]:
        if not self.job.refine or self.pipe.perception_head is None:
            return [None] * len(images)
        return object_masks(self.pipe, images, layouts, drawn=False)

    def _images(self, layouts: Sequence[Layout], seeds: Sequence[int]) -> list[Image.Image]:
        """An accelerator that runs out of memory gets half as many at once."""
        try:
            images: list[Image.Image] = self.pipe(
                layouts,
                seeds=seeds,
                detector=self.detector,
                **self.job.sampling.options(),
            ).images
        except torch.OutOfMemoryError:
            if len(layouts) == 1:
                raise
            half = len(layouts) // 2
            torch.cuda.empty_cache()
            return self._images(layouts[:half], seeds[:half]) + self._images(layouts[half:], seeds[half:])
        return images

    def _look(self, images: Sequence[Image.Image]) -> list[Detections | None]:
        return [None] * len(images) if self.detector is None else list(self.detector.detect(images))

    def _confidences(self, layout: Layout, found: Detections | None) -> tuple[float | None, ...]:
        if found is None or self.detector is None:
            return (None,) * len(layout.boxes)
        values = object_confidences(layout, found, known_labels=self.detector.labels).tolist()
        return tuple(numbers({"values": values})["values"])

    def _writer(self, made: Drawn) -> Any:
        job = self.job
        how = replace(job.sampling, seed=made.seed)
        detector = "" if self.detector is None else self.detector.name
        made_by = (job.model.resolve().name, self.sha256, detector, *self.pipe.computed_in())
        record = ImageRecord(made.layout, how, job.strategy, *made_by, batch=made.batch)

        def write(path: Path, image: Image.Image) -> None:
            save_image(path, image, record, durable=False)

        return write


def _faults(drawn: Drawn) -> int:
    return faults(drawn.statuses or (), drawn.refusals)


def _row(asked: Asked, made: Drawn) -> Row:
    refined = {} if made.statuses is None else {"fate": list(made.statuses), "attempt": made.attempt}
    if made.boxes is not None:
        refined["box"] = list(made.boxes)
    if made.refusals:
        refined["refused"] = list(made.refusals)
    return {
        "seed": made.seed,
        "source": asked.place,
        "layout": made.layout.to_json(),
        "true": list(asked.true),
        "confidence": list(made.confidences),
        **refined,
    }
