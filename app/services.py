"""What the page does, without the page: one model and one detector, loaded once; one generation at a time."""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from detdiffusion.attributes import Strategy
from detdiffusion.checkpoint import model_hash
from detdiffusion.comparison import object_confidences
from detdiffusion.detection import Detections, Detector
from detdiffusion.detectors import load_detector
from detdiffusion.errors import Cancelled, ConfigError
from detdiffusion.layout import Layout, save_png
from detdiffusion.pipeline import DetDiffusionPipeline, StepInfo, load_pipeline
from detdiffusion.vocabulary import Vocabulary

PREVIEW_EVERY = 3  # steps: a preview costs about as much as a step
MAX_SEED = 2**32 - 1
MAX_STEPS = 100
MAX_GUIDANCE = 15.0


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


@dataclass(frozen=True, eq=False)
class Result:
    """A finished picture, saved with its layout and seed, and what the detector makes of it.

    confidences: [N] for the N objects of the layout; 0 = not found, NaN = a class that the detector cannot know.
    """

    file: Path
    layout: Layout
    recipe: Recipe
    detections: Detections
    confidences: np.ndarray
    seconds: float


class Studio:
    """A model, its detector, and a folder for pictures.

    Raises:
        CheckpointError, DetectorError: the model folder is missing, damaged or of another kind.
    """

    def __init__(self, model: Path, workspace: Path) -> None:
        self.pipeline: DetDiffusionPipeline = load_pipeline(model)
        self.detector: Detector = load_detector("bundled", model)
        self.model_name = model.resolve().name
        self.model_hash = model_hash(model)
        self.pictures = workspace / "pictures"
        self.pictures.mkdir(parents=True, exist_ok=True)
        self._turn = threading.Lock()
        self._stops: dict[str, threading.Event] = {}
        self._closed = threading.Event()

    @property
    def vocabulary(self) -> Vocabulary:
        return self.pipeline.vocabulary

    def run(
        self, asked: Mapping[Strategy, Layout], recipe: Recipe, user: str
    ) -> Iterator[Progress | tuple[Result, ...]]:
        """Yields progress, and at last a result for each layout, in order; all start from the same noise.

        Leaving the iterator, or `cancel(user)` from elsewhere, stops the work after the step that it is at.

        Raises:
            Cancelled: by `cancel`.
            LayoutError: a class that the model does not know.
        """
        resolved = {strategy: self.vocabulary.resolve(layout) for strategy, layout in asked.items()}
        stop = threading.Event()
        news: queue.SimpleQueue[Progress | tuple[Result, ...] | Exception] = queue.SimpleQueue()
        worker = threading.Thread(target=self._work, args=(resolved, recipe, stop, news))
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
                news.put(self._generate(asked, recipe, on_step))
        except Exception as error:  # handed to the thread that waits, which raises it
            news.put(error)

    def _generate(
        self, asked: Mapping[Strategy, Layout], recipe: Recipe, on_step: Callable[[StepInfo], None]
    ) -> tuple[Result, ...]:
        started = time.perf_counter()
        images = self.pipeline(
            list(asked.values()),
            seeds=[recipe.seed] * len(asked),
            steps=recipe.steps,
            guidance_scale=recipe.guidance,
            on_step=on_step,
        ).images
        detections = self.detector.detect(images)
        seconds = time.perf_counter() - started
        return tuple(
            Result(
                self._save(image, layout, recipe, strategy),
                layout,
                recipe,
                seen,
                object_confidences(layout, seen, known_labels=self.detector.labels),
                seconds,
            )
            for (strategy, layout), image, seen in zip(asked.items(), images, detections, strict=True)
        )

    def _save(self, image: Image.Image, layout: Layout, recipe: Recipe, strategy: Strategy) -> Path:
        file = self.pictures / f"{time.strftime('%Y%m%d-%H%M%S')}-seed{recipe.seed}-{uuid.uuid4().hex[:6]}.png"
        made_by = {"model": self.model_name, "model_sha256": self.model_hash, "detector": self.detector.name}
        how = {"seed": recipe.seed, "steps": recipe.steps, "guidance": recipe.guidance, "strategy": strategy.value}
        save_png(file, image, layout, {**made_by, **how})
        return file
