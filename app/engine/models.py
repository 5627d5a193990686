"""The models of the studio: a present one, and others beside it to compare with."""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from app.engine.compute import Engine, computing
from app.engine.own_detectors import OwnDetectors
from app.engine.turns import Turns
from detdiffusion.core.files import json_hash
from detdiffusion.core.parts import MANIFEST
from detdiffusion.detection import Detector
from detdiffusion.detectors import BUNDLED
from detdiffusion.diffusion.abilities import read_abilities
from detdiffusion.diffusion.examples import Examples, read_examples
from detdiffusion.diffusion.manifest import (
    is_gligen,
    model_hash,
    read_recommended,
    read_teacher,
    weights_hash,
)
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.errors import CheckpointError, ConfigError, LayoutError
from detdiffusion.layout import Attribute, Layout
from detdiffusion.models.cause_classifier import CauseClassifier, load_causes
from detdiffusion.sampling_config import Recommended
from detdiffusion.text.vocabulary import Vocabulary

log = logging.getLogger(__name__)
KEPT = 4  # models in memory beside the present one

Causes = tuple[tuple[str, ...], ...]  # of each object of a layout: what makes it difficult, in words


def described(name: str, folder: Path) -> str:
    """A model as lists show it, with what it can do, and of a student its steps: "papercut (boxes, attributes)",
    "papercut-fast (boxes, attributes), fast (2 steps)".

    Only named where nobody can tell, which its loading will say.
    """
    try:
        wanted = read_recommended(folder)
        fast = "" if wanted.guided else f", {wanted.named()}"
        return f"{name} ({read_abilities(folder)}){fast}"
    except CheckpointError:
        return name


def _learned_from(folder: Path, other: Path) -> bool:
    """Whether one model is a student of the other; False for one that cannot be read."""
    try:
        teacher = read_teacher(folder)
    except CheckpointError:
        return False
    return teacher is not None and _weighs(other, teacher.sha256)


def _weighs(folder: Path, sha256: str) -> bool:
    """Whether a folder has these weights, as far as its manifest says: without one, all of it would have to be read."""
    try:
        return (folder / MANIFEST).is_file() and weights_hash(folder) == sha256
    except CheckpointError:
        return False


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model folder: the generator, the detector that is run on its images, and who says why one fails.

    detector_name: of `DetectorRegistry.names`.
    classifier: of causes; None where the folder has none.
    examples: its own, or those of the models that ship with it, as far as it knows their classes.
    """

    name: str
    folder: Path
    sha256: str
    pipeline: DetDiffusionPipeline
    detector: Detector
    detector_name: str = BUNDLED
    classifier: CauseClassifier | None = None
    examples: Examples = field(default_factory=Examples)

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes and words of the model."""
        return self.pipeline.vocabulary

    @property
    def world(self) -> str:
        """Names the set of its classes: models of one world share what is drawn on a canvas."""
        return json_hash([self.vocabulary.things, self.vocabulary.stuff])[:12]

    @property
    def recommended(self) -> Recommended:
        """How the model wants to be sampled."""
        return self.pipeline.recommended

    @property
    def early_share(self) -> float | None:
        """The part of the steps in which a GLIGEN model sees the boxes, as its folder says; None for another model."""
        share: float | None = self.pipeline.config.get("gligen_scheduled_sampling_beta")
        return share

    @property
    def tags_matter(self) -> bool:
        """False for a model without words for easy and hard: whatever the tags are, it draws the same."""
        return bool(self.vocabulary.attribute_words)

    @property
    def why_no_tags(self) -> str:
        """Why this model cannot be asked for easy or hard objects; empty where it can."""
        if self.tags_matter:
            return ""
        return f"{self.name} does not know the tags easy and hard, so there is nothing to compare."

    def causes(self, image: Image.Image, layout: Layout) -> Causes:
        """What makes each object difficult that is asked to be hard, where the classifier is sure."""
        asked = [box.attribute is Attribute.HARD for box in layout.boxes]
        if self.classifier is None or not any(asked):
            return ((),) * len(asked)
        words = self.classifier.words(image, layout)
        return tuple(of_one if hard else () for of_one, hard in zip(words, asked, strict=True))


class ModelRegistry:
    """The present model, which may be exchanged between two generations, and those that it is compared with.

    Args:
        turns: of the generations; whoever has the turn has the models for itself.
        engine: what computes.

    Raises:
        CheckpointError, DetectorError: the model folder at the start is missing, damaged or of another kind.
    """

    def __init__(self, own_detectors: OwnDetectors, turns: Turns, engine: Engine) -> None:
        self.home, self.engine = own_detectors.home, engine
        self._own_detectors, self._turns = own_detectors, turns
        self._beside: OrderedDict[str, Model] = OrderedDict()  # the least recently used one first
        self.present = self._load(self.home, self.home.name)

    @property
    def at_home(self) -> bool:
        """True while the present model is the one that the studio was started with."""
        return self.present.folder == self.home

    def folders(self) -> dict[str, Path]:
        """Name -> folder of the models to choose from: the present one, that of the start, those beside it, and what
        ships. Of two of a name the first counts."""
        found = {self.present.name: self.present.folder}
        for place in (self.home.parent, self._own_detectors.bundled.parent):
            beside = sorted(path.parent.resolve() for path in place.glob("*/model_index.json"))
            for folder in (self.home, *beside):
                if folder != self.present.folder:
                    found.setdefault(folder.name, folder)
        return found

    def choices(self) -> list[tuple[str, str]]:
        """`folders` as lists show them: (what is shown, the name)."""
        return [(described(name, folder), name) for name, folder in self.folders().items()]

    def get(self, name: str | None) -> Model:
        """One of `folders`, loaded; None is the present one. To be called by whoever has the turn.

        Raises:
            ConfigError: an unknown name.
            CheckpointError, DetectorError: it cannot be loaded.
        """
        if name is None or name == self.present.name:
            return self.present
        folder = self._folder(name)
        found = self._beside.pop(name, None)
        if found is None or found.folder != folder:
            found = self._load(folder, name)
        self._beside[name] = found
        while len(self._beside) > KEPT:
            self._beside.popitem(last=False)
        return found

    def recommended(self, name: str) -> Recommended:
        """How one of `folders` wants to be sampled, loaded or not. ConfigError, CheckpointError: as `get`."""
        return read_recommended(self._folder(name))

    def is_gligen(self, name: str) -> bool:
        """Whether one of `folders` is a GLIGEN model, loaded or not. ConfigError, CheckpointError: as `get`."""
        return is_gligen(self._folder(name))

    def teacher(self) -> str | None:
        """The name of the model that the present one, a student, has learned from; None where it is not here.

        It is told by its weights: another name is no other model, and other weights are.
        """
        learned_from = read_teacher(self.present.folder)
        if learned_from is None:
            return None
        folders = self.folders()
        likely = sorted(folders, key=lambda name: name != learned_from.name)
        return next((name for name in likely if _weighs(folders[name], learned_from.sha256)), None)

    def students(self) -> list[str]:
        """Names of the models that have learned from the present one, told as `teacher` does."""
        return [name for name, folder in self.folders().items() if _learned_from(folder, self.present.folder)]

    def _folder(self, name: str) -> Path:
        folders = self.folders()
        if name not in folders:
            raise ConfigError(f"there is no model {name!r}; choose one of {', '.join(folders)}")
        return folders[name]

    @contextmanager
    def lend(self, name: str | None) -> Iterator[Model]:
        """As `get`, while nobody else draws."""
        with self._turns.take():
            yield self.get(name)

    def uses(self, folder: Path) -> bool:
        """Whether the present model, or one that is compared with it, lies in a folder."""
        models = (self.present, *self._beside.values())
        return any(model.folder.is_relative_to(folder.resolve()) for model in models)

    def knows(self, name: str, layout: Layout) -> bool:
        """Whether a model has all classes of a layout. Raises as `get` does."""
        try:
            self.get(name).vocabulary.resolve(layout)
        except LayoutError:
            return False
        return True

    def exchange(self, folder: Path, name: str) -> None:
        """Goes on with another model folder under `name`. It is loaded first, and takes over between two generations.

        The detector of the start is run on the images of a folder without a detector of its own.

        Raises:
            CheckpointError, DetectorError: the folder is missing, damaged or of another kind; the present model stays.
        """
        self.put(self._load(folder, name))

    def go_home(self) -> None:
        """Goes back to the model that the studio was started with. Raises as `exchange` does."""
        self.exchange(self.home, self.home.name)

    def put(self, model: Model) -> None:
        """Makes a loaded model the present one, from the next generation on."""
        with self._turns.take():
            self.present = model

    def set_engine(self, engine: Engine) -> None:
        """From the next generation on. On another device, models beside the present one are loaded anew."""
        with self._turns.take():
            if engine.place != self.engine.place:
                computing(self.present.pipeline.draw_on, engine.place, self.present.sha256)
                self._beside.clear()
            self.engine = engine

    def _load(self, folder: Path, name: str) -> Model:
        """A model folder with its own detector, or with another that knows at least one of its classes."""
        return computing(self._read, folder, name)

    def _read(self, folder: Path, name: str) -> Model:
        pipeline = load_pipeline(folder, device=self.engine.place)
        pipeline.set_progress_bar_config(disable=True)  # the page has its own
        words, sha256 = pipeline.vocabulary, model_hash(folder)
        detector, examples = self._own_detectors.of(folder, words), self._examples(folder, words)
        return Model(name, folder, sha256, pipeline, detector, classifier=load_causes(folder), examples=examples)

    def _examples(self, folder: Path, words: Vocabulary) -> Examples:
        """Those of the folder; where it brings none, those that it can draw of the model at the start, or of what
        ships."""
        own = read_examples(folder, words)
        for fault in own.faults:
            log.warning("%s: an example is left out: %s", folder.name, fault)
        if own.layouts or own.faults:
            return own
        others = (read_examples(other, words).layouts for other in (self.home, self._own_detectors.bundled))
        return Examples(next((layouts for layouts in others if layouts), {}))
