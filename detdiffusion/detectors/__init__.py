"""Detectors behind one protocol (`detdiffusion.detection.Detector`): by name inside a model folder, or by path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from detdiffusion.errors import DetectorError

if TYPE_CHECKING:
    from detdiffusion.detection import Detector

BUNDLED = "bundled"  # gave the attributes that the model learned
JUDGE = "judge"  # never gave attributes: checks that hard objects are there


def load_detector(path_or_name: Path | str, model_folder: Path | None = None) -> Detector:
    """A detector folder or a .pt file; or, with a model folder, one of those inside it by name (bundled, judge).

    Raises:
        DetectorError: there is no such detector, or it is damaged or unsafe.
    """
    from detdiffusion.detectors.ultralytics import load_ultralytics

    if model_folder is None:
        return load_ultralytics(Path(path_or_name))
    inside = model_folder / "detectors"
    named = inside / path_or_name
    if named.parent == inside and named.is_dir():
        return load_ultralytics(named)
    if Path(path_or_name).exists():
        return load_ultralytics(Path(path_or_name))
    known = sorted(folder.name for folder in inside.glob("*/")) or ["none"]
    raise DetectorError(
        f"no detector {str(path_or_name)!r}: neither a path nor one of this model's ({', '.join(known)})"
    )
