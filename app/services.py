"""What the page does, without the page: one model and one detector at a time, which may be exchanged between two
generations; one generation at a time."""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from detdiffusion.attributes import Strategy
from detdiffusion.checkpoint import model_hash
from detdiffusion.comparison import object_confidences
from detdiffusion.detection import Detections, Detector
from detdiffusion.detectors import BUNDLED, load_detector
from detdiffusion.errors import Cancelled, ConfigError
from detdiffusion.layout import Layout, save_png
from detdiffusion.pipeline import DetDiffusionPipeline, StepInfo, load_pipeline
from detdiffusion.vocabulary import Vocabulary

PREVIEW_EVERY = 3  # steps: a preview costs about as much as a step
MAX_SEED = 2**32 - 1
MAX_STEPS = 100
MAX_GUIDANCE = 15.0
NOTHING = Detections((), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))
BUNDLED_MODEL = Path(__file__).parents[1] / "assets/models/papercut"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a picture is made. ConfigError for what no model can do."""

    seed: int
    steps: int = 20
    guidance: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"seed {self.seed} needs to be from 0 to {MAX_SEED}")
        if not 1 <= self.steps <= MAX_STEPS:
            raise ConfigError(f"{self.steps} steps; choose 1 to {MAX_STEPS}")
        if not 1 <= self.guidance <= MAX_GUIDANCE:
            raise ConfigError(f"guidance {self.guidance:g} needs to be from 1 to {MAX_GUIDANCE:g}")


@dataclass(frozen=True, slots=True)
class Progress:
    """`previews` holds the latest look at each picture; empty before the first."""

    step: int
    steps: int
    previews: tuple[Image.Image, ...] = ()


@dataclass(frozen=True, slots=True)
class NoDetector:
    """Stands in for a detector where none knows a class of the model: it knows nothing and finds nothing."""

    name: str = "no detector"
    sha256: str = ""
    labels: tuple[str, ...] = ()
    min_score: float = 0.5

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        return [NOTHING] * len(images)


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model folder: the generator, and the detector that looks at its pictures."""

    name: str
    folder: Path
    sha256: str
    pipeline: DetDiffusionPipeline
    detector: Detector

    @property
    def vocabulary(self) -> Vocabulary:
        return self.pipeline.vocabulary


@dataclass(frozen=True, eq=False)
class Result:
    """A finished picture, saved with its layout and seed, and what the detector makes of it.

    confidences: [N] for the N objects of the layout; 0 = not found, NaN = a class that the detector cannot know.
    flagged: the model's safety checker made the picture black; then nothing was looked for, and all is NaN.
    """

    file: Path
    layout: Layout
    recipe: Recipe
    model: Model
    detections: Detections
    confidences: np.ndarray
    seconds: float
    flagged: bool


class Studio:
    """A model with its detector, and a folder for pictures.

    Args:
        bundled: model folder whose detector is used where neither a model nor the one at the start brings its own.

    Raises:
        CheckpointError, DetectorError: the model folder is missing, damaged or of another kind.
    """

    def __init__(self, model: Path, workspace: Path, bundled: Path = BUNDLED_MODEL) -> None:
        self.home, self._bundled = model.resolve(), bundled
        self.model = self._load(self.home, self.home.name)
        self.workspace, self.pictures = workspace, workspace / "pictures"
        self.pictures.mkdir(parents=True, exist_ok=True)
        self._turn = threading.Lock()
        self._stops: dict[str, threading.Event] = {}
        self._closed = threading.Event()

    def _load(self, folder: Path, name: str) -> Model:
        """A model folder with its own detector, or with another that knows at least one of its classes."""
        pipeline = load_pipeline(folder)
        own = folder != self.home and _has_detector(folder)
        detector = load_detector(BUNDLED, folder) if own else self._detector_at_home
        if not set(detector.labels) & set(pipeline.vocabulary.labels):
            detector = NoDetector()
        return Model(name, folder, model_hash(folder), pipeline, detector)

    @cached_property
    def _detector_at_home(self) -> Detector:
        owner = next((folder for folder in (self.home, self._bundled) if _has_detector(folder)), None)
        return NoDetector() if owner is None else load_detector(BUNDLED, owner)

    @property
    def vocabulary(self) -> Vocabulary:
        return self.model.vocabulary

    @property
    def tags_matter(self) -> bool:
        """False for a model without words for easy and hard: whatever the tags are, it draws the same."""
        return bool(self.vocabulary.attribute_words)

    @property
    def detector(self) -> Detector:
        return self.model.detector

    @property
    def at_home(self) -> bool:
        """True while it works with the model that it was started with."""
        return self.model.folder == self.home

    def exchange(self, model: Path, name: str) -> None:
        """Goes on with another model folder under `name`. It is loaded first, and takes over between two generations.

        The pictures of a folder without a detector of its own are looked at by the one that the studio started with.

        Raises:
            CheckpointError, DetectorError: the folder is missing, damaged or of another kind; the present model stays.
        """
        loaded = self._load(model, name)
        with self._turn:
            self.model = loaded

    def go_home(self) -> None:
        """Goes back to the model that the studio was started with. Raises as `exchange` does."""
        self.exchange(self.home, self.home.name)

    def run(
        self, asked: Mapping[Strategy, Layout], recipe: Recipe, user: str
    ) -> Iterator[Progress | tuple[Result, ...]]:
        """Yields progress, and at last a result for each layout, in order; all start from the same noise.

        Leaving the iterator, or `cancel(user)` from elsewhere, stops the work after the step that it is at.

        Raises:
            Cancelled: by `cancel`.
            LayoutError: a class that the model does not know.
        """
        stop = threading.Event()
        news: queue.SimpleQueue[Progress | tuple[Result, ...] | Exception] = queue.SimpleQueue()
        worker = threading.Thread(target=self._work, args=(asked, recipe, stop, news))
        self._stops[user] = stop
        worker.start()
        try:
            while isinstance(item := news.get(), Progress):
                yield item
            if isinstance(item, Exception):
                raise item
            yield item
        finally:
            stop.set()
            worker.join()
            if self._stops.get(user) is stop:
                del self._stops[user]

    def cancel(self, user: str) -> None:
        """Stops what this user is generating, if anything."""
        if stop := self._stops.get(user):
            stop.set()

    def close(self) -> None:
        """Stops everything after the step that it is at; nothing starts any more."""
        self._closed.set()

    def _work(
        self,
        asked: Mapping[Strategy, Layout],
        recipe: Recipe,
        stop: threading.Event,
        news: "queue.SimpleQueue[Progress | tuple[Result, ...] | Exception]",
    ) -> None:
        """Runs in a thread of its own; everything that happens goes into `news`."""

        previews: tuple[Image.Image, ...] = ()

        def check() -> None:
            if stop.is_set() or self._closed.is_set():
                raise Cancelled("cancelled")

        def on_step(info: StepInfo) -> None:
            nonlocal previews
            check()
            if info.step % PREVIEW_EVERY == 0 and info.step < info.steps:
                previews = tuple(info.preview())
            news.put(Progress(info.step, info.steps, previews))

        try:
            with self._turn:
                check()
                news.put(self._generate(self.model, asked, recipe, on_step))
        except Exception as error:  # handed to the thread that waits, which raises it
            news.put(error)

    def _generate(
        self, model: Model, asked: Mapping[Strategy, Layout], recipe: Recipe, on_step: Callable[[StepInfo], None]
    ) -> tuple[Result, ...]:
        layouts = {strategy: model.vocabulary.resolve(layout) for strategy, layout in asked.items()}
        started = time.perf_counter()
        drawn = model.pipeline(
            list(layouts.values()),
            seeds=[recipe.seed] * len(layouts),
            steps=recipe.steps,
            guidance_scale=recipe.guidance,
            on_step=on_step,
        )
        detections = model.detector.detect(drawn.images)
        flags = drawn.flagged or [False] * len(layouts)
        seconds = time.perf_counter() - started
        results = []
        for (strategy, layout), image, found, flagged in zip(
            layouts.items(), drawn.images, detections, flags, strict=True
        ):
            seen, known = (NOTHING, ()) if flagged else (found, model.detector.labels)
            confidences = object_confidences(layout, seen, known_labels=known)
            file = self._save(model, image, layout, recipe, strategy)
            results.append(Result(file, layout, recipe, model, seen, confidences, seconds, flagged))
        return tuple(results)

    def _save(self, model: Model, image: Image.Image, layout: Layout, recipe: Recipe, strategy: Strategy) -> Path:
        file = self.pictures / f"{time.strftime('%Y%m%d-%H%M%S')}-seed{recipe.seed}-{uuid.uuid4().hex[:6]}.png"
        made_by = {"model": model.name, "model_sha256": model.sha256, "detector": model.detector.name}
        how = {"seed": recipe.seed, "steps": recipe.steps, "guidance": recipe.guidance, "strategy": strategy.value}
        save_png(file, image, layout, {**made_by, **how})
        return file


def _has_detector(folder: Path) -> bool:
    return (folder / "detectors" / BUNDLED).is_dir()
