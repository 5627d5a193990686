"""The studio without its page: models, detectors, generation, and a workspace with the history of its images."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.components.places import Places
from app.engine.compute import Engine
from app.engine.detectors import DETECTORS, DetectorRegistry
from app.engine.generation import PASSING, GenerationService
from app.engine.models import Model, ModelRegistry
from app.engine.own_detectors import OwnDetectors
from app.engine.turns import Turns
from app.store.history import History
from detdiffusion.core.assets import BUNDLED_MODEL


@dataclass(frozen=True, eq=False, slots=True)
class Studio:
    """What every tab is given; each takes the part that it needs."""

    models: ModelRegistry
    detectors: DetectorRegistry
    generation: GenerationService
    history: History
    workspace: Path
    places: Places

    @property
    def model(self) -> Model:
        """The present one."""
        return self.models.present

    @property
    def pictures(self) -> Path:
        """Folder of the generated images."""
        return self.history.pictures


def open_studio(
    model: Path,
    workspace: Path,
    bundled: Path = BUNDLED_MODEL,
    engine: Engine | None = None,
    roots: Sequence[Path] = (),
) -> Studio:
    """A studio that starts with a model folder, and keeps what it makes in a workspace.

    Args:
        bundled: model folder whose detector is used where neither a model nor the one at the start brings its own.
        engine: what computes.
        roots: folders that the page may read and show, besides the workspace and the models beside this one.

    Raises:
        CheckpointError, DetectorError: the model folder is missing, damaged or of another kind; then the workspace
            stays as it was.
        ConfigError: a root is no folder.
    """
    own_detectors, turns = OwnDetectors(model.resolve(), bundled), Turns()
    registry = ModelRegistry(own_detectors, turns, engine or Engine())
    detectors = DetectorRegistry(registry, own_detectors, workspace / DETECTORS)
    history = History(workspace)
    shutil.rmtree(history.pictures / PASSING, ignore_errors=True)  # of a studio that was here before
    (history.pictures / PASSING).mkdir(parents=True, exist_ok=True)
    models = [model, bundled.parent, *(path.parent for path in model.resolve().parent.glob("*/model_index.json"))]
    places = Places([workspace, *roots], also=models, workspace=workspace)
    return Studio(
        registry, detectors, GenerationService(registry, detectors, history, turns), history, workspace, places
    )
