"""Names of architectures that can be trained or loaded with weights: known without importing their libraries."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.machinery import PathFinder
from pathlib import Path

from detdiffusion.errors import ConfigError, DetectorError

SMALL = "fasterrcnn_resnet18_fpn"  # ours: made of torchvision's parts, for pictures of 128 to 320 pixels on a CPU
FASTER_RCNN = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    SMALL,
)
RETINANET = ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2")
SSD = ("ssdlite320_mobilenet_v3_large",)
ARCHITECTURES = (*FASTER_RCNN, *RETINANET, *SSD)  # of torchvision


def check_architecture(name: str) -> None:
    """DetectorError unless it is one of `ARCHITECTURES`."""
    if name not in ARCHITECTURES:
        raise DetectorError(
            f"{name!r} is no architecture of torchvision that is known here: {', '.join(ARCHITECTURES)}"
        )


def with_yaml(name: str) -> str:
    """ "yolo11n", or the name of such a model for masks or key points -> "yolo11n.yaml"."""
    return re.sub(r"-(seg|pose)$", "", Path(name).name.removesuffix(".yaml")) + ".yaml"


def built_in(architecture: str) -> tuple[Path, str]:
    """File and scale of a built-in architecture of ultralytics: "yolo11n.yaml" is scale n of yolo11.yaml, yolov10n.yaml
    has a file.

    Raises:
        DetectorError: there is no such one, or no ultralytics.
    """
    files = {path.name: path for path in (_configs() / "models").rglob("*.yaml")}
    name = architecture if architecture in files else re.sub(r"(\d+)[nsmlx](.*)$", r"\1\2", architecture)
    if name not in files:
        raise DetectorError(f"{architecture!r} is no built-in architecture of ultralytics (such as yolo11n.yaml)")
    scale = re.search(r"\d([nsmlx])", architecture)
    return files[name], scale[1] if scale else ""


def check_setting_names(names: Iterable[str]) -> None:
    """ConfigError where ultralytics' training has no such setting; DetectorError if there is no ultralytics."""
    import yaml  # type: ignore[import-untyped]

    known = yaml.safe_load((_configs() / "default.yaml").read_text(encoding="utf-8"))
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1, cutoff=0.8)
            raise ConfigError(f"ultralytics has no setting {name}" + (f"; did you mean {near[0]}?" if near else ""))


def _configs() -> Path:
    """The folder of ultralytics' own configs; the package is not imported, which takes seconds."""
    package = PathFinder.find_spec("ultralytics")
    if package is None or package.origin is None:
        raise DetectorError("YOLO detectors need ultralytics: pip install -r requirements.txt")
    return Path(package.origin).parent / "cfg"


def check_any(name: str) -> None:
    """DetectorError unless torchvision or ultralytics has an architecture of this name ("yolo11n")."""
    if name in ARCHITECTURES:
        return
    try:
        built_in(name.removesuffix(".yaml") + ".yaml")
    except DetectorError as error:
        raise DetectorError(f"{error}; of torchvision there are: {', '.join(ARCHITECTURES)}") from error
