"""What the page does, without the page: a present model, others beside it to compare with, detectors that look at what
they draw. The present model may be exchanged between two generations; one generation at a time."""

import logging
import math
import queue
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from app.engine.turns import Turns
from app.store.history import Entry, Found, History
from detdiffusion.assets import BUNDLED_MODEL
from detdiffusion.attributes import Strategy
from detdiffusion.detection import Detections, Detector
from detdiffusion.detectors import BUNDLED, load_detector
from detdiffusion.detectors.names import speak
from detdiffusion.diffusion.checkpoint import model_hash
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, StepInfo, load_pipeline
from detdiffusion.diffusion.sampling import check_sampler
from detdiffusion.errors import Cancelled, ConfigError, LayoutError
from detdiffusion.evaluation.comparison import object_confidences
from detdiffusion.layout import Layout, save_png
from detdiffusion.text.vocabulary import Vocabulary
from training.core.devices import device_of, memory_gb

PREVIEW_EVERY = 3  # steps: a preview costs about as much as a step
MAX_SEED = 2**32 - 1
MAX_STEPS = 100
MAX_GUIDANCE = 15.0
MAX_DIFFICULTY = 4.0  # beyond 2 pictures fall apart (docs/EVALUATION.md)
WORKER = "drawing"  # name of the threads
KEPT = 4  # models in memory beside the present one
NOTHING = Detections((), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))

AUTOMATIC = "automatic"
PRECISIONS = {AUTOMATIC: None, "float32": torch.float32, "bfloat16": torch.bfloat16}
DETECTORS = "detectors"  # in the workspace: a person's own, folders and .pt files

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """What computes. device: as torch names it (cpu, cuda:1); None: an accelerator where there is one.

    Raises:
        ConfigError: there is no such device or precision.
    """

    device: str | None = None
    precision: str = AUTOMATIC

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(f"there is no precision {self.precision!r}; choose one of {', '.join(PRECISIONS)}")
        device_of(self.device)

    @property
    def torch_device(self) -> torch.device:
        """With its number, as the page lists devices and as a moved model names its own."""
        device = device_of(self.device)
        return torch.device(device.type, device.index or 0) if device.type == "cuda" else device

    @property
    def dtype(self) -> torch.dtype | None:
        """Of the arithmetic; None: what the device is fast in."""
        return PRECISIONS[self.precision]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a picture is made. ConfigError for what no model can do."""

    seed: int
    steps: int = 20
    guidance: float = 3.0
    difficulty: float = 0.0  # of attribute guidance: 0 is the plain prompt
    sampler: str = ""  # of `sampling.SAMPLERS`; empty: the kind that the model came with

    def __post_init__(self) -> None:
        if self.sampler:
            check_sampler(self.sampler)
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"seed {self.seed} needs to be from 0 to {MAX_SEED}")
        if not 1 <= self.steps <= MAX_STEPS:
            raise ConfigError(f"{self.steps} steps; choose 1 to {MAX_STEPS}")
        if not 1 <= self.guidance <= MAX_GUIDANCE:
            raise ConfigError(f"guidance {self.guidance:g} needs to be from 1 to {MAX_GUIDANCE:g}")
        if not -MAX_DIFFICULTY <= self.difficulty <= MAX_DIFFICULTY:
            raise ConfigError(
                f"difficulty {self.difficulty:g} needs to be from -{MAX_DIFFICULTY:g} to {MAX_DIFFICULTY:g}"
            )


@dataclass(frozen=True, slots=True)
class Ask:
    """One picture: what is asked of which model, and who looks at it.

    model: one of `Studio.models`; None is the present one.
    detectors: of `Studio.detectors`; none: the model's own.
    """

    layout: Layout
    recipe: Recipe
    strategy: Strategy = Strategy.ORIGIN
    model: str | None = None
    detectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """`previews` holds the latest look at each picture; None before its first. `before`: how many others have to be
    finished first."""

    step: int
    steps: int
    previews: tuple[Image.Image | None, ...]
    before: int = 0


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
class Look:
    """What a detector makes of a picture.

    confidences: [N] for the N objects of the layout; 0 = not found, NaN = a class that the detector cannot know.
    """

    detector: Detector
    detections: Detections
    confidences: np.ndarray


@dataclass(frozen=True, eq=False)
class Result:
    """A finished picture, saved with its layout and seed.

    looks: of each detector that was asked, or of the model's own.
    seconds: that the whole run took. memory_gb: the most that this process has held until then.
    flagged: the model's safety checker made the picture black; then nothing was looked for, and all is NaN.
    """

    file: Path
    layout: Layout
    recipe: Recipe
    strategy: Strategy
    model: Model
    looks: tuple[Look, ...]
    seconds: float
    memory_gb: float
    flagged: bool

    @property
    def detections(self) -> Detections:
        return self.looks[0].detections

    @property
    def confidences(self) -> np.ndarray:
        return self.looks[0].confidences

    def found(self) -> Iterator[Found]:
        """What the first detector is sure of."""
        seen = self.detections.at_least(self.looks[0].detector.min_score)
        boxes, scores = seen.boxes_xyxy.tolist(), seen.scores.tolist()
        for label, (x1, y1, x2, y2), score in zip(seen.labels, boxes, scores, strict=True):
            yield Found(label, (x1, y1, x2, y2), score)


class Studio:
    """A model with its detector, and a folder for pictures.

    Args:
        bundled: model folder whose detector is used where neither a model nor the one at the start brings its own.
        engine: what computes.

    Raises:
        CheckpointError, DetectorError: the model folder is missing, damaged or of another kind.
    """

    def __init__(
        self, model: Path, workspace: Path, bundled: Path = BUNDLED_MODEL, engine: Engine | None = None
    ) -> None:
        self.home, self._bundled = model.resolve(), bundled
        self.engine = engine or Engine()
        self.model = self._load(self.home, self.home.name)
        self.eye = BUNDLED  # which of `detectors` looks
        self._eyes: dict[Path, Detector] = {}
        self._beside: OrderedDict[str, Model] = OrderedDict()  # the least recently used one first
        self.workspace, self.pictures = workspace, workspace / "pictures"
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.history = History(workspace)
        self._turns = Turns()
        self._stops: dict[str, threading.Event] = {}
        self._closed = threading.Event()

    def _load(self, folder: Path, name: str) -> Model:
        """A model folder with its own detector, or with another that knows at least one of its classes."""
        pipeline = load_pipeline(folder, device=self.engine.torch_device)
        detector = self._own_detector(folder, pipeline.vocabulary)
        return Model(name, folder, model_hash(folder), pipeline, detector)

    def _own_detector(self, folder: Path, vocabulary: Vocabulary) -> Detector:
        own = folder != self.home and _has_detector(folder)
        detector = load_detector(BUNDLED, folder) if own else self._detector_at_home
        return detector if set(detector.labels) & set(vocabulary.labels) else NoDetector()

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
        with self._turns.take():
            self.model, self.eye = loaded, BUNDLED

    def go_home(self) -> None:
        """Goes back to the model that the studio was started with. Raises as `exchange` does."""
        self.exchange(self.home, self.home.name)

    def set_engine(self, engine: Engine) -> None:
        """From the next generation on. On another device, models beside the present one are loaded anew."""
        with self._turns.take():
            if engine.torch_device != self.model.pipeline.device:
                self.model.pipeline.to(engine.torch_device)
                self._beside.clear()
            self.engine = engine

    def use_detector(self, name: str) -> None:
        """Another detector looks at what the present model draws. One that knows no class of it is refused.

        Raises:
            ConfigError: there is none of this name, or it knows nothing that the model draws.
            DetectorError: it cannot be loaded.
        """
        own = name == BUNDLED
        found = self._own_detector(self.model.folder, self.vocabulary) if own else self._detector(name)
        if not own and not set(found.labels) & set(self.vocabulary.labels):
            raise ConfigError(f"{name} knows none of the classes that {self.model.name} draws")
        with self._turns.take():
            self.model, self.eye = replace(self.model, detector=found), name

    def models(self) -> dict[str, Path]:
        """Name -> folder of the models to compare with: the present one, that of the start, and what ships."""
        shipped = sorted(path.parent for path in self._bundled.parent.glob("*/model_index.json"))
        folders = [self.model.folder, self.home, *(folder.resolve() for folder in shipped)]
        names = {folder: folder.name for folder in dict.fromkeys(folders)}
        names[self.model.folder] = self.model.name
        return {name: folder for folder, name in names.items()}

    def knows(self, name: str, layout: Layout) -> bool:
        """Whether a model has all classes of a layout. Raises as `run` does for a model that cannot be loaded."""
        try:
            self._model(name).vocabulary.resolve(layout)
        except LayoutError:
            return False
        return True

    def detectors(self) -> list[str]:
        """Names of the detectors that may look at a picture: the present model's, those that lie beside it, and those
        that a person has put into the workspace."""
        folder = self._detectors_folder / "detectors"
        beside = sorted(path.name for path in folder.glob("*/") if path.name != BUNDLED)
        own = sorted(path.name for path in (self.workspace / DETECTORS).glob("*") if _may_be_detector(path))
        return [BUNDLED, *beside, *(name for name in own if name not in (BUNDLED, *beside))]

    @property
    def _detectors_folder(self) -> Path:
        return self.model.folder if _has_detector(self.model.folder) else self.home

    def _detector(self, name: str) -> Detector:
        """ConfigError for an unknown name; DetectorError if it is damaged."""
        if name == BUNDLED:
            return self.model.detector
        if name not in self.detectors():
            raise ConfigError(f"there is no detector {name!r}; choose one of {', '.join(self.detectors())}")
        folder = self._detectors_folder / "detectors" / name
        place = folder if folder.is_dir() else self.workspace / DETECTORS / name
        if place not in self._eyes:
            self._eyes[place] = load_detector(str(place), self._detectors_folder)
        return speak(self._eyes[place], self.vocabulary.labels)[0]  # the next model may have other names

    def _model(self, name: str | None) -> Model:
        """ConfigError for an unknown name; CheckpointError, DetectorError if it cannot be loaded."""
        if name is None or name == self.model.name:
            return self.model
        folders = self.models()
        if name not in folders:
            raise ConfigError(f"there is no model {name!r}; choose one of {', '.join(folders)}")
        found = self._beside.pop(name, None)
        if found is None or found.folder != folders[name]:
            found = self._load(folders[name], name)
        self._beside[name] = found
        while len(self._beside) > KEPT:
            self._beside.popitem(last=False)
        return found

    def run(self, asked: Sequence[Ask], user: str) -> Iterator[Progress | tuple[Result, ...]]:
        """Yields progress, and at last a result for each picture, in order. Pictures of one seed start from the same
        noise; neighbours that differ in layout and seed alone are drawn together.

        Leaving the iterator, or `cancel(user)` from elsewhere, stops the work after the step that it is at.

        Raises:
            Cancelled: by `cancel`.
            LayoutError: a class that a model does not know.
            ConfigError: a model or a detector that is not there, or a model that cannot do what is asked.
        """
        stop = threading.Event()
        news: queue.SimpleQueue[Progress | tuple[Result, ...] | Exception] = queue.SimpleQueue()
        worker = threading.Thread(target=self._work, args=(tuple(asked), stop, news), name=WORKER)
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

    @contextmanager
    def lend(self, name: str | None) -> Iterator[Model]:
        """One of `models` (None: the present one), while nobody else draws. Raises as `run` does."""
        with self._turns.take():
            yield self._model(name)

    def cancel(self, user: str) -> None:
        """Stops what this user is generating, if anything."""
        if stop := self._stops.get(user):
            stop.set()

    def close(self) -> None:
        """Stops everything after the step that it is at; nothing starts any more."""
        self._closed.set()

    def _work(
        self,
        asked: tuple[Ask, ...],
        stop: threading.Event,
        news: "queue.SimpleQueue[Progress | tuple[Result, ...] | Exception]",
    ) -> None:
        """Runs in a thread of its own; everything that happens goes into `news`."""

        groups = _together(asked)
        whole = sum(group[0].recipe.steps for group in groups)
        previews: list[Image.Image | None] = [None] * len(asked)
        done = first = 0

        def check() -> None:
            if stop.is_set() or self._closed.is_set():
                raise Cancelled("cancelled")

        def on_step(info: StepInfo) -> None:
            check()
            last = info.step == info.steps  # its picture is shown while the next group is drawn
            if (last and len(groups) > 1) or (not last and info.step % PREVIEW_EVERY == 0):
                shown = info.preview()
                previews[first : first + len(shown)] = shown
            news.put(Progress(done + info.step, whole, tuple(previews)))

        def wait(before: int) -> None:
            check()
            news.put(Progress(0, whole, tuple(previews), before))

        try:
            with self._turns.take(wait):
                started = time.perf_counter()
                drawn = []
                for group in groups:
                    check()
                    drawn += self._draw(self._model(group[0].model), group, on_step)
                    done, first = done + group[0].recipe.steps, first + len(group)
                seconds = time.perf_counter() - started
                results = tuple(self._finish(one, seconds) for one in drawn)
                self._record(results)
                news.put(results)
        except Exception as error:  # handed to the thread that waits, which raises it
            news.put(error)

    def _draw(self, model: Model, asked: Sequence[Ask], on_step: Callable[[StepInfo], None]) -> list["_Drawn"]:
        """Pictures that differ in layout and seed alone, and what detectors make of them."""
        recipe = asked[0].recipe
        layouts = [model.vocabulary.resolve(ask.layout) for ask in asked]
        drawn = model.pipeline(
            layouts,
            seeds=[ask.recipe.seed for ask in asked],
            steps=recipe.steps,
            guidance_scale=recipe.guidance,
            difficulty=recipe.difficulty,
            sampler=recipe.sampler or None,
            on_step=on_step,
            dtype=self.engine.dtype,
        )
        flags = drawn.flagged or [False] * len(layouts)
        eyes = [self._detector(name) for name in asked[0].detectors] or [model.detector]
        seen = [eye.detect(drawn.images) for eye in eyes]
        made = []
        for place, (ask, layout, image, flagged) in enumerate(zip(asked, layouts, drawn.images, flags, strict=True)):
            looks = []
            for eye, found in zip(eyes, seen, strict=True):
                visible, known = (NOTHING, ()) if flagged else (found[place], eye.labels)
                looks.append(Look(eye, visible, object_confidences(layout, visible, known_labels=known)))
            made.append(_Drawn(replace(ask, layout=layout), model, image, tuple(looks), flagged))
        return made

    def _finish(self, drawn: "_Drawn", seconds: float) -> Result:
        ask = drawn.ask
        file = self._save(drawn.model, drawn.image, ask.layout, ask.recipe, ask.strategy)
        memory = memory_gb(self.engine.torch_device)
        return Result(
            file, ask.layout, ask.recipe, ask.strategy, drawn.model, drawn.looks, seconds, memory, drawn.flagged
        )

    def _record(self, results: Sequence[Result]) -> None:
        run, now = uuid.uuid4().hex, time.time()
        try:
            self.history.record([_entry(result, run, place, now) for place, result in enumerate(results)])
        except Exception as error:  # whatever it is, the pictures are there, and are shown
            log.error("not in the history: %s", error)

    def _save(self, model: Model, image: Image.Image, layout: Layout, recipe: Recipe, strategy: Strategy) -> Path:
        file = self.pictures / f"{time.strftime('%Y%m%d-%H%M%S')}-seed{recipe.seed}-{uuid.uuid4().hex[:6]}.png"
        made_by = {"model": model.name, "model_sha256": model.sha256, "detector": model.detector.name}
        how = {"seed": recipe.seed, "steps": recipe.steps, "guidance": recipe.guidance, "strategy": strategy.value}
        if recipe.difficulty:
            how["difficulty"] = recipe.difficulty
        if recipe.sampler:
            how["sampler"] = recipe.sampler
        save_png(file, image, layout, {**made_by, **how})
        return file


def _may_be_detector(path: Path) -> bool:
    return path.suffix == ".pt" or (path / "detector.json").is_file()


def _has_detector(folder: Path) -> bool:
    return (folder / "detectors" / BUNDLED).is_dir()


def _entry(result: Result, run: str, place: int, made_at: float) -> Entry:
    recipe, eye = result.recipe, result.looks[0].detector
    return Entry(
        run,
        place,
        result.file.name,
        made_at,
        result.model.name,
        result.model.sha256,
        recipe.seed,
        recipe.steps,
        recipe.guidance,
        recipe.difficulty,
        recipe.sampler,
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


def _together(asked: Sequence[Ask]) -> list[list[Ask]]:
    """Neighbours of one model, size, recipe (but for the seed) and detectors, which are drawn as one batch."""

    def alike(ask: Ask) -> tuple[object, ...]:
        return ask.model, ask.detectors, ask.layout.width, ask.layout.height, replace(ask.recipe, seed=0)

    return [list(group) for _, group in groupby(asked, key=alike)]
