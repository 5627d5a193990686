"""The generation service: images are drawn one generation at a time, detectors are run on them, and both are kept."""

import logging
import math
import queue
import shutil
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from app.engine.compute import computing
from app.engine.detectors import DetectorRegistry
from app.engine.limits import check_limits, check_size
from app.engine.models import Causes, Model, ModelRegistry
from app.engine.own_detectors import NOTHING
from app.engine.turns import Turns
from app.store.entries import Entry, Found
from app.store.history import History, HistoryFullError
from detdiffusion.attributes import Strategy
from detdiffusion.core.devices import memory_gb
from detdiffusion.core.files import written_aside
from detdiffusion.detection import Detections, Detector
from detdiffusion.diffusion.output import StepInfo
from detdiffusion.errors import Cancelled, DataError, why
from detdiffusion.evaluation.comparison import object_confidences
from detdiffusion.image_record import ImageRecord, save_image
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig

PREVIEW_EVERY, PREVIEW_SECONDS = 3, 0.3  # steps and time between two previews: one costs about as much as a step
PRESSED_EARLY, LOOKS_AGAIN = 2.0, 0.02  # seconds that a press of Cancel waits for the run it is meant for
PASSING, MOST_PASSING = "passing", 64  # folder of images that nobody keeps; the oldest of more is deleted
WORKER, MOST_WORKERS = "drawing", 64  # threads: their name, and more than ever wait at once

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ask:
    """One picture: what is asked of which model, and who looks at it.

    model: one of `ModelRegistry.folders`; None is the present one.
    detectors: of `DetectorRegistry.names`; none: the model's own.

    Raises:
        ConfigError: more than the studio draws.
    """

    layout: Layout
    recipe: SamplingConfig
    strategy: Strategy = Strategy.ORIGIN
    model: str | None = None
    detectors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_limits(self.recipe)


@dataclass(frozen=True, slots=True)
class Progress:
    """`previews` holds the latest look at each picture; None before its first. `before`: how many others have to be
    finished first."""

    step: int
    steps: int
    previews: tuple[Image.Image | None, ...]
    before: int = 0


@dataclass(frozen=True, eq=False)
class Look:
    """What a detector makes of a picture.

    confidences: [N] for the N objects of the layout; 0 = not found, NaN = a class that the detector cannot know.
    min_score: from which confidence on an object counts as found; None: the detector's own.
    """

    detector: Detector
    detections: Detections
    confidences: np.ndarray
    min_score: float | None = None

    @property
    def limit(self) -> float:
        """The confidence from which on an object counts as found."""
        return self.detector.min_score if self.min_score is None else self.min_score


@dataclass(frozen=True, eq=False)
class Result:
    """A finished picture, saved with its layout and seed. It may be kept for long, so it holds its model's name alone.

    looks: of each detector that was asked, or of the model's own.
    seconds: that the whole run took. memory_gb: the most that this process has held until then.
    flagged: the model's safety checker made the picture black; then nothing was looked for, and all is NaN.
    causes: of every object; nothing where it was not asked to be hard, or where nobody is sure.
    """

    file: Path
    layout: Layout
    recipe: SamplingConfig
    strategy: Strategy
    model: str
    model_sha256: str
    looks: tuple[Look, ...]
    seconds: float
    memory_gb: float
    flagged: bool
    causes: Causes

    @property
    def detections(self) -> Detections:
        """Of the first detector."""
        return self.looks[0].detections

    @property
    def confidences(self) -> np.ndarray:
        """Of the first detector in each object; NaN where it does not know the class."""
        return self.looks[0].confidences

    def found(self) -> Iterator[Found]:
        """What the first detector is sure of."""
        seen = self.detections.at_least(self.looks[0].limit)
        boxes, scores = seen.boxes_xyxy.tolist(), seen.scores.tolist()
        for label, (x1, y1, x2, y2), score in zip(seen.labels, boxes, scores, strict=True):
            yield Found(label, (x1, y1, x2, y2), score)


class GenerationService:
    """Draws images, one generation at a time, and keeps them in the history. Calls may come from any thread."""

    def __init__(self, models: ModelRegistry, detectors: DetectorRegistry, history: History, turns: Turns) -> None:
        self._models, self._detectors, self._history, self._turns = models, detectors, history, turns
        self._passing: deque[Path] = deque()
        self._stops: dict[str, threading.Event] = {}
        self._closed = threading.Event()
        self._workers = ThreadPoolExecutor(MOST_WORKERS, WORKER)

    def run(
        self, asked: Sequence[Ask], user: str, *, kept: bool = True, watched: bool = True
    ) -> Generator[Progress | tuple[Result, ...], None, None]:
        """Yields progress, and at last a result for each picture, in order. Pictures of one seed start from the same
        noise; neighbours that differ in layout and seed alone are drawn together.

        Leaving the iterator, or `cancel(user)` from elsewhere, stops the work after the step that it is at.

        Args:
            kept: False: the images are not in the history, and their files are there for a while only (see `keep`).
            watched: False: progress comes without previews, which take a quarter of the time.

        Raises:
            Cancelled: by `cancel`.
            LayoutError: a class that a model does not know.
            ConfigError: a model or a detector that is not there, or a model that cannot do what is asked.
        """
        stop = threading.Event()
        news: queue.SimpleQueue[Progress | tuple[Result, ...] | Exception] = queue.SimpleQueue()
        self._stops[user] = stop
        worker = self._workers.submit(self._work, tuple(asked), stop, news, kept, watched)
        try:
            while isinstance(item := news.get(), Progress):
                yield item
            if isinstance(item, Exception):
                raise item
            yield item
        finally:
            stop.set()
            worker.result()
            if self._stops.get(user) is stop:
                del self._stops[user]

    def results(self, asked: Sequence[Ask], user: str, wanted: Callable[[], bool] = lambda: True) -> tuple[Result, ...]:
        """What `run` ends with. Raises as it does. wanted: asked at every step; False stops the work."""
        with closing(self.run(asked, user, watched=False)) as work:
            for last in work:
                if not isinstance(last, Progress):
                    return last
                if not wanted():
                    break
        raise Cancelled("nobody waits for it any more")

    def cancel(self, user: str, patience: float = 0.0) -> None:
        """Stops what this user is generating, if anything, or what begins within `patience` seconds: whoever presses
        Cancel at once is ahead of a run whose start still waits for its turn."""
        deadline = time.monotonic() + patience
        while (stop := self._stops.get(user)) is None and time.monotonic() < deadline:
            time.sleep(LOOKS_AGAIN)
        if stop is not None:
            stop.set()

    def close(self) -> None:
        """Stops everything after the step that it is at; nothing starts any more."""
        self._closed.set()

    def _work(
        self,
        asked: tuple[Ask, ...],
        stop: threading.Event,
        news: "queue.SimpleQueue[Progress | tuple[Result, ...] | Exception]",
        kept: bool,
        watched: bool,
    ) -> None:
        """Runs in a thread of its own, which waits; everything that happens goes into `news`."""
        groups = _together(asked)
        whole = sum(group[0].recipe.steps for group in groups)
        previews: list[Image.Image | None] = [None] * len(asked)
        done = first = 0
        looked = time.perf_counter()

        def check() -> None:
            if stop.is_set() or self._closed.is_set():
                raise Cancelled("cancelled")

        def on_step(info: StepInfo) -> None:
            nonlocal looked
            check()
            last = info.step == info.steps  # its picture is shown while the next group is drawn
            due = info.step % PREVIEW_EVERY == 0 and time.perf_counter() - looked > PREVIEW_SECONDS
            if watched and (len(groups) > 1 if last else due):
                shown = info.preview()
                previews[first : first + len(shown)] = shown
                looked = time.perf_counter()
            news.put(Progress(done + info.step, whole, tuple(previews)))

        def wait(before: int) -> None:
            check()
            news.put(Progress(0, whole, tuple(previews), before))

        try:
            with self._turns.take(wait):
                started = time.perf_counter()
                news.put(Progress(0, whole, tuple(previews)))  # a model may have to be read first
                drawn = []
                for group in groups:
                    check()
                    drawn += computing(self._draw, self._models.get(group[0].model), group, on_step)
                    done, first = done + group[0].recipe.steps, first + len(group)
                seconds = time.perf_counter() - started
                results = self._finished(drawn, seconds, kept)
                if kept:
                    self._record(results)
                news.put(results)
        except Exception as error:  # handed to the thread that waits, which raises it
            news.put(error)

    def _draw(self, model: Model, asked: Sequence[Ask], on_step: Callable[[StepInfo], None]) -> list["_Drawn"]:
        """Pictures that differ in layout and seed alone, and what detectors make of them."""
        layouts = [model.vocabulary.resolve(ask.layout) for ask in asked]
        eyes = [self._detectors.get(name) for name in asked[0].detectors] or [model.detector]
        check_size(model.pipeline.image_size(layouts[0]), model.pipeline.native_size)  # one size: they are alike
        drawn = model.pipeline(
            layouts,
            seeds=[ask.recipe.seed for ask in asked],
            on_step=on_step,
            dtype=self._models.engine.dtype,
            detector=eyes[0],
            **asked[0].recipe.options(),
        )
        flags = drawn.flagged or [False] * len(layouts)
        seen = [eye.detect(drawn.images) for eye in eyes]
        computed_in = model.pipeline.computed_in(self._models.engine.dtype)
        made = []
        for place, (ask, layout, image, flagged) in enumerate(zip(asked, layouts, drawn.images, flags, strict=True)):
            looks = []
            for eye, found in zip(eyes, seen, strict=True):
                visible, known = (NOTHING, ()) if flagged else (found[place], eye.labels)
                looks.append(Look(eye, visible, object_confidences(layout, visible, known_labels=known)))
            causes = ((),) * len(layout.boxes) if flagged else model.causes(image, layout)
            made.append(
                _Drawn(
                    replace(ask, layout=layout), model, image, tuple(looks), flagged, causes, computed_in, len(asked)
                )
            )
        return made

    def keep(self, results: Sequence[Result]) -> tuple[Result, ...]:
        """Images that were drawn to pass, in the history; those that have passed, or are kept, stay as they are.

        Raises:
            DataError: the disk is full.
        """
        if any(result.file.parent.name != PASSING or not result.file.exists() for result in results):
            return tuple(results)
        kept = tuple(replace(result, file=self._history.pictures / result.file.name) for result in results)
        with self._all_or_none(kept):
            for result, copy in zip(results, kept, strict=True):  # the page still shows the one that passes
                with written_aside(copy.file) as aside:
                    shutil.copyfile(result.file, aside)
        self._record(kept)
        return kept

    def _finished(self, drawn: Sequence["_Drawn"], seconds: float, kept: bool) -> tuple[Result, ...]:
        """All of them are saved, or none. DataError: the disk is full."""
        results: list[Result] = []
        with self._all_or_none(results):
            for one in drawn:
                results.append(self._finish(one, seconds, kept))
        return tuple(results)

    @contextmanager
    def _all_or_none(self, results: Sequence[Result]) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            for result in results:
                result.file.unlink(missing_ok=True)
            raise DataError(f"{self._history.pictures} cannot be written ({why(error)}): free some space") from error

    def _finish(self, drawn: "_Drawn", seconds: float, kept: bool) -> Result:
        ask = drawn.ask
        file = self._save(drawn, kept)
        return Result(
            file,
            ask.layout,
            ask.recipe,
            ask.strategy,
            drawn.model.name,
            drawn.model.sha256,
            drawn.looks,
            seconds,
            memory_gb(self._models.engine.torch_device),
            drawn.flagged,
            drawn.causes,
        )

    def _record(self, results: Sequence[Result]) -> None:
        run, now = uuid.uuid4().hex, time.time()
        try:
            self._history.record([_entry(result, run, place, now) for place, result in enumerate(results)])
        except HistoryFullError:
            for result in results:
                result.file.unlink(missing_ok=True)
            raise
        except Exception as error:  # whatever it is, the pictures are there, and are shown
            log.error("not in the history: %s", error)

    def _save(self, drawn: "_Drawn", kept: bool) -> Path:
        ask, model, seed = drawn.ask, drawn.model, drawn.ask.recipe.seed
        folder = self._history.pictures if kept else self._history.pictures / PASSING
        file = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-seed{seed}-{uuid.uuid4().hex[:6]}.png"
        made_by = (model.name, model.sha256, model.detector.name, *drawn.computed_in)
        record = ImageRecord(ask.layout, ask.recipe, ask.strategy, *made_by, batch=drawn.batch)
        save_image(file, drawn.image, record)
        if not kept:
            self._passing.append(file)
            if len(self._passing) > MOST_PASSING:
                self._passing.popleft().unlink(missing_ok=True)
        return file


def _entry(result: Result, run: str, place: int, made_at: float) -> Entry:
    eye = result.looks[0].detector
    return Entry(
        run,
        place,
        result.file.name,
        made_at,
        result.model,
        result.model_sha256,
        result.recipe,
        result.strategy,
        eye.name,
        eye.min_score,
        result.layout,
        tuple(None if math.isnan(value) else float(value) for value in result.confidences),
        tuple(result.found()),
    )


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A picture that is not saved yet: a run that is cancelled leaves nothing behind."""

    ask: Ask
    model: Model
    image: Image.Image
    looks: tuple[Look, ...]
    flagged: bool
    causes: Causes
    computed_in: tuple[str, str]  # precision and device
    batch: int  # images drawn together


def _together(asked: Sequence[Ask]) -> list[list[Ask]]:
    """Neighbours of one model, size, recipe (but for the seed) and detectors, which are drawn as one batch."""

    def alike(ask: Ask) -> tuple[object, ...]:
        return ask.model, ask.detectors, ask.layout.width, ask.layout.height, replace(ask.recipe, seed=0)

    return [list(group) for _, group in groupby(asked, key=alike)]
