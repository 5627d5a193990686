"""The detectors that may be run on the images of the present model."""

from dataclasses import replace
from pathlib import Path

from app.engine.compute import computing
from app.engine.models import ModelRegistry
from app.engine.own_detectors import OwnDetectors, has_detector
from detdiffusion.core import parts
from detdiffusion.detection import Detector
from detdiffusion.detectors import BUNDLED, load_detector
from detdiffusion.detectors.names import remap_labels
from detdiffusion.errors import ConfigError

DETECTORS = "detectors"  # in the workspace: a person's own, folders and .pt files


class DetectorRegistry:
    """The present model's detector, those that lie beside it, and those of a person.

    Args:
        folder: a person's own detectors, folders and .pt files.
    """

    def __init__(self, models: ModelRegistry, own_detectors: OwnDetectors, folder: Path) -> None:
        self.folder = folder
        self._models, self._own_detectors = models, own_detectors
        self._loaded: dict[Path, Detector] = {}

    def names(self, model: Path | None = None) -> list[str]:
        """Those to choose from with a model folder (None: of the present model): `BUNDLED`, the model's own, first."""
        folder = self._model_folder if model is None else self._owner(model)
        beside = sorted(
            path.name for path in parts.part_folder(folder, parts.DETECTORS).glob("*/") if path.name != BUNDLED
        )
        own = sorted(path.name for path in self.folder.glob("*") if _may_be_detector(path))
        return [BUNDLED, *beside, *(name for name in own if name not in (BUNDLED, *beside))]

    def get(self, name: str) -> Detector:
        """By name; `BUNDLED` is the one that the present model is used with.

        Raises:
            ConfigError: an unknown name.
            DetectorError: it is damaged.
        """
        if name == BUNDLED:
            return self._models.present.detector
        if name not in (names := self.names()):
            raise ConfigError(f"there is no detector {name!r}; choose one of {', '.join(names)}")
        beside = parts.part_folder(self._model_folder, parts.DETECTORS) / name
        place = beside if beside.is_dir() else self.folder / name
        if place not in self._loaded:
            self._loaded[place] = computing(load_detector, str(place), self._model_folder)
        labels = self._models.present.vocabulary.labels
        return remap_labels(self._loaded[place], labels)[0]  # the next model may have other names

    def use(self, name: str) -> None:
        """Runs another detector on what the present model draws. One that knows no class of it is refused.

        Raises:
            ConfigError: there is none of this name, or it knows nothing that the model draws.
            DetectorError: it cannot be loaded.
        """
        model = self._models.present
        own = name == BUNDLED
        found = computing(self._own_detectors.of, model.folder, model.vocabulary) if own else self.get(name)
        if not own and not set(found.labels) & set(model.vocabulary.labels):
            raise ConfigError(f"{name} knows none of the classes that {model.name} generates")
        self._models.put(replace(model, detector=found, detector_name=name))

    @property
    def _model_folder(self) -> Path:
        """Beside whose detector others lie."""
        return self._owner(self._models.present.folder)

    def _owner(self, model: Path) -> Path:
        return model if has_detector(model) else self._models.home


def _may_be_detector(path: Path) -> bool:
    return path.suffix == ".pt" or (path / "detector.json").is_file()
