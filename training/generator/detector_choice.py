"""Which detector looks at the samples of a training, and goes with its model."""

from __future__ import annotations

import shutil
from pathlib import Path

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.parts import DETECTORS, part_folder
from detdiffusion.detection import AnswersById, Detector
from detdiffusion.detectors import BUNDLED, load_detector, own_detectors
from detdiffusion.detectors.names import remap_labels
from detdiffusion.errors import ConfigError
from training.data.datasets import Dataset

NO_DETECTOR = "none"


def choose_detector(wanted: str | None, base: str | None, dataset: Dataset) -> Detector | None:
    """The detector that looks at samples: the one asked for, or the base's own where it knows the data.

    Raises:
        DetectorError: the one asked for is not there.
        ConfigError: it knows nothing of the data, or it is a file of results.
    """
    from training.generator.probe import knows_any

    if wanted == NO_DETECTOR:
        return None
    home = detector_home(base)
    if wanted is None and BUNDLED not in own_detectors(home):
        return None
    detector, _ = remap_labels(load_detector(wanted or BUNDLED, home), dataset.things)
    if isinstance(detector, AnswersById):
        raise ConfigError(
            f"{detector.name} is a file of results, which cannot look at samples; give another --detector"
        )
    if knows_any(detector, dataset.things):
        return detector
    if wanted is None:
        return None
    raise ConfigError(f"{detector.name} knows none of the data's classes of things; give --detector {NO_DETECTOR}")


def detector_home(base: str | None) -> Path:
    """The model folder whose detectors have names: the base, or the bundled one."""
    return Path(base) if base is not None and part_folder(Path(base), DETECTORS).is_dir() else BUNDLED_MODEL


def copy_detector(wanted: str | None, base: str | None, model: Path) -> None:
    """A detector folder goes with the model, so that the studio can use it; a .pt file stays where it is."""
    inside = part_folder(detector_home(base), DETECTORS) / (wanted or BUNDLED)
    folder = inside if inside.is_dir() else Path(wanted or "")
    if folder.is_dir():
        shutil.copytree(folder, model / "detectors" / BUNDLED, dirs_exist_ok=True)
