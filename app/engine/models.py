"""The models of the studio: a present one, and others beside it to compare with."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from app.engine.compute import Engine
from app.engine.own_detectors import OwnDetectors
from app.engine.turns import Turns
from detdiffusion.detection import Detector
from detdiffusion.detectors import BUNDLED
from detdiffusion.diffusion.manifest import model_hash, read_recommended
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.layout import Attribute, Layout
from detdiffusion.models.cause_classifier import CauseClassifier, load_causes
from detdiffusion.sampling_config import Recommended
from detdiffusion.text.vocabulary import Vocabulary

KEPT = 4  # models in memory beside the present one

Causes = tuple[tuple[str, ...], ...]  # of each object of a layout: what makes it difficult, in words


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model folder: the generator, the detector that is run on its images, and who says why one fails.

    detector_name: of `DetectorRegistry.names`.
    classifier: of causes; None where the folder has none.
    """

    name: str
    folder: Path
    sha256: str
    pipeline: DetDiffusionPipeline
    detector: Detector
    detector_name: str = BUNDLED
    classifier: CauseClassifier | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes and words of the model."""
        return self.pipeline.vocabulary

    @property
    def recommended(self) -> Recommended:
        """How the model wants to be sampled."""
        return self.pipeline.recommended

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
        """Name -> folder of the models to compare with: the present one, that of the start, and what ships."""
        shipped = sorted(path.parent for path in self._own_detectors.bundled.parent.glob("*/model_index.json"))
        folders = [self.present.folder, self.home, *(folder.resolve() for folder in shipped)]
        names = {folder: folder.name for folder in dict.fromkeys(folders)}
        names[self.present.folder] = self.present.name
        return {name: folder for folder, name in names.items()}

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
                self.present.pipeline.draw_on(engine.place, self.present.sha256)
                self._beside.clear()
            self.engine = engine

    def _load(self, folder: Path, name: str) -> Model:
        """A model folder with its own detector, or with another that knows at least one of its classes."""
        pipeline = load_pipeline(folder, device=self.engine.place)
        detector = self._own_detectors.of(folder, pipeline.vocabulary)
        return Model(name, folder, model_hash(folder), pipeline, detector, classifier=load_causes(folder))
