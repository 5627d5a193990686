"""Detectors behind one protocol (`detdiffusion.detection.Detector`): by name inside a model folder, or by path."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from detdiffusion.bounds import ZIP_FILES
from detdiffusion.core.parts import DETECTORS, part_folder
from detdiffusion.detectors.architectures import ARCHITECTURES, check_architecture, with_yaml
from detdiffusion.errors import DetectorError

if TYPE_CHECKING:
    import torch

    from detdiffusion.detection import Detector

BUNDLED = "bundled"  # gave the attributes that the model learned
HELD_OUT = "held-out"  # never gave attributes: checks that hard objects are there
_ZIP_END = 70_000  # bytes in which a zip file says how many files are in it
HELD_OUT_FOLDER = "judge"  # its folder in a model, and its name in version 0.1
KINDS = (
    "a detector folder, a .pt file of ultralytics (YOLO, RT-DETR), ARCHITECTURE=WEIGHTS of torchvision (such as "
    "fasterrcnn_resnet50_fpn=FILE.pth or .safetensors), a .weights file of YOLOv4, or a "
    "COCO results file (.json)"
)


def load_detector(
    path_or_name: str | os.PathLike[str],
    model_folder: str | os.PathLike[str] | None = None,
    *,
    annotations: Path | None = None,
    device: torch.device | None = None,
) -> Detector:
    """A detector by path (see `KINDS`); or, with a model folder, one of those inside it by name (bundled, held-out).

    Args:
        annotations: for a results file, the annotation file of its data set, which names the categories.
        device: that it computes on; None: the GPU, else the CPU.

    Raises:
        DetectorError: there is no such detector, or it is damaged or unsafe.
    """
    home = None if model_folder is None else Path(model_folder)
    folder = None if home is None else _inside(home, str(path_or_name))
    if folder is not None:
        return _load_folder(folder, device)
    path = Path(path_or_name)
    if path.is_dir():
        return _load_folder(path, device)
    architecture, equals, weights = str(path_or_name).partition("=")
    if equals and not path.exists():
        from detdiffusion.detectors.torchvision import load_torchvision

        return load_torchvision(architecture, Path(weights), device)
    if not path.is_file():
        raise DetectorError(f"no such detector {str(path_or_name)!r}, {_not_inside(home)}; it may be {KINDS}")
    return _load_file(path, annotations, device)


def detector_path(path_or_name: str, model_folder: Path) -> str:
    """What `load_detector` makes of it, as words that mean the same in every folder and for every model.

    Raises:
        DetectorError: there is nothing of that name.
    """
    folder = _inside(model_folder, path_or_name)
    if folder is not None:
        return str(folder)
    architecture, equals, weights = path_or_name.partition("=")
    whole = Path(path_or_name).expanduser()
    path = Path(weights).expanduser() if equals and not whole.exists() else whole
    if not path.exists():
        raise DetectorError(
            f"no such detector {path_or_name!r}: there is no detector at {path.resolve()}, "
            f"{_not_inside(model_folder)}; it may be {KINDS}"
        )
    check_weights_file(path)
    if path == whole:
        return str(path.resolve())
    check_architecture(architecture)
    return f"{architecture}={path.resolve()}"


def check_weights_file(path: Path) -> None:
    """DetectorError where a checkpoint is not as torch writes them: a zip file of bounded size, or version 0.4's
    pickle. It is seen without torch, and nothing in it is read."""
    if path.suffix.lower() not in (".pt", ".pth") or not path.is_file():
        return
    with path.open("rb") as file:
        begin = file.read(2)
    if begin == b"PK":
        _check_zip(path)
    elif not begin.startswith(b"\x80"):
        raise DetectorError(f"{path} is not a checkpoint of torch, or it is cut off")


def _check_zip(path: Path) -> None:
    """DetectorError where reading it would take more than it is; that it is cut off is seen then."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _ZIP_END))
            end = file.read()
        at, at64 = end.rfind(b"PK\5\6"), end.rfind(b"PK\6\6")
        count = int.from_bytes(end[at64 + 32 : at64 + 40] if at64 >= 0 else end[at + 10 : at + 12], "little")
        if count > ZIP_FILES:
            raise DetectorError(f"{path} is refused: {count:,} files in it, a checkpoint has at most {ZIP_FILES:,}")
        with zipfile.ZipFile(path) as opened:
            if sum(part.file_size for part in opened.infolist()) > size:
                raise DetectorError(f"{path} is refused: it is compressed, which no checkpoint of torch is")
    except (OSError, ValueError, zipfile.BadZipFile):
        return


def architecture_of(weights: Path) -> str | None:
    """What a detector folder or a .pt file of ultralytics is of ("yolo11n.yaml"); None: the file does not say it.

    Raises:
        DetectorError: it is damaged or unsafe.
    """
    from detdiffusion.detectors.folder import ULTRALYTICS, read_description

    check_weights_file(weights)
    if weights.is_dir():
        about = read_description(weights)
        return with_yaml(about.architecture) if about.kind == ULTRALYTICS else about.architecture
    if weights.suffix.lower() != ".pt":
        return None
    from detdiffusion.detectors.ultralytics.detector import load_ultralytics

    return with_yaml(load_ultralytics(weights).architecture)


def own_detectors(model_folder: Path) -> list[str]:
    """Which of `BUNDLED` and `HELD_OUT` a model brings."""
    return [name for name in (BUNDLED, HELD_OUT) if _inside(model_folder, name) is not None]


def _inside(model_folder: Path, name: str) -> Path | None:
    """The folder of a model's own detector."""
    inside = part_folder(model_folder, DETECTORS)
    if name == HELD_OUT and not (inside / HELD_OUT).is_dir():
        name = HELD_OUT_FOLDER
    named = inside / name
    return named if named.parent == inside and named.is_dir() else None


def _not_inside(model_folder: Path | None) -> str:
    if model_folder is None:
        return "no file and no folder"
    known = sorted(folder.name for folder in part_folder(model_folder, DETECTORS).glob("*/")) or ["none"]
    return f"neither a path nor one of this model's ({', '.join(known)})"


def _load_folder(folder: Path, device: torch.device | None) -> Detector:
    from detdiffusion.detectors.folder import TORCHVISION, ULTRALYTICS, read_description

    kind = read_description(folder).kind
    if kind == TORCHVISION:
        from detdiffusion.detectors.torchvision import load_folder

        return load_folder(folder, device)
    if kind == ULTRALYTICS:
        from detdiffusion.detectors.ultralytics.detector import load_ultralytics

        return load_ultralytics(folder, device)
    raise DetectorError(f"{folder}: detector.json says kind {kind!r}; known: {TORCHVISION}, {ULTRALYTICS}")


def _load_file(path: Path, annotations: Path | None, device: torch.device | None) -> Detector:
    match path.suffix.lower():
        case ".pt":
            from detdiffusion.detectors.ultralytics.detector import load_ultralytics

            return load_ultralytics(path, device)
        case ".json":
            from detdiffusion.detectors.results_file import load_results

            return load_results(path, annotations)
        case ".weights":
            from detdiffusion.detectors.yolov4 import load_yolov4

            return load_yolov4(None, path, device=device)
        case ".pth" | ".safetensors":
            raise DetectorError(
                f"{path}: these weights do not say what they are of; write ARCHITECTURE={path.name}, with one of "
                f"{', '.join(ARCHITECTURES)}"
            )
    raise DetectorError(f"{path}: nothing is known of such a file; a detector may be {KINDS}")
