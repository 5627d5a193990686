"""The one file that imports ultralytics (AGPL-3.0): its models, its suppression, its training loop.

The library is contained: nothing is downloaded, no pickle is read but through safe loading, and threads, environment,
random states, `torch.save` and `PIL.Image.open`, which it changes at import and in calls, are put back.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from PIL import Image

from detdiffusion.core.files import one_line, written_aside
from detdiffusion.detectors.architectures import built_in
from detdiffusion.detectors.state import foreign_names, named
from detdiffusion.errors import ConfigError, DetectorError
from detdiffusion.models.precision import autocast

_ENVIRONMENT = {
    "YOLO_OFFLINE": "1",
    "YOLO_AUTOINSTALL": "0",
    "YOLO_VERBOSE": "False",
    "ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS": "1",
    "ULTRALYTICS_SAFE_LOAD": "1",
}
_LOCK = threading.RLock()
_SETTINGS = tempfile.TemporaryDirectory(prefix="detdiffusion-")  # the library writes a settings file: not at home
LOWEST_SCORE = 0.001
MAX_DETECTIONS = 100
NMS_IOU = 0.6
_YOLOV5 = ("models.yolo", "models.common", "models.experimental")  # modules of the repositories of YOLOv5 and YOLOv7
_HEAD_BYTES = 1_000_000
_SECONDS_AN_IMAGE = 3600.0  # the library drops what its suppression has not finished in time: it never runs out

EpochReport = Callable[[int, int, dict[str, float]], None]  # finished epochs, of how many, metrics


@contextmanager
def contained() -> Iterator[int]:
    """Inside: ultralytics, imported, silent and offline. Afterwards all is as it was. Yields torch's threads."""
    with _needed():
        import cv2
    with _LOCK:
        environment, threads, cv_threads = dict(os.environ), torch.get_num_threads(), cv2.getNumThreads()
        save, open_image = torch.save, Image.open  # the import replaces both; the new `open` installs packages
        states = random.getstate(), np.random.get_state(), np.get_printoptions()  # noqa: NPY002 - kept, not used
        os.environ.update(_ENVIRONMENT)
        os.environ.setdefault("YOLO_CONFIG_DIR", _SETTINGS.name)
        try:
            with torch.random.fork_rng():
                _import_ultralytics()
                torch.save, Image.open = save, open_image
                torch.set_num_threads(threads)
                yield threads
        finally:
            torch.save, Image.open = save, open_image
            torch.set_num_threads(threads)
            cv2.setNumThreads(cv_threads)
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            np.set_printoptions(**states[2])
            _restore_environment(environment)


@contextmanager
def _needed() -> Iterator[None]:
    """Everything but this file works without ultralytics (and OpenCV, which it brings)."""
    try:
        yield
    except ImportError as error:
        raise DetectorError("YOLO detectors need ultralytics: pip install -r requirements.txt") from error


def _import_ultralytics() -> None:
    with _needed():
        from ultralytics.utils import LOGGER
    LOGGER.setLevel("ERROR")


def _restore_environment(environment: dict[str, str]) -> None:
    for key in set(os.environ) - set(environment):
        del os.environ[key]
    os.environ.update(environment)


def _is_transformer(config: Mapping[str, Any]) -> bool:
    """By the last layer of the model's text."""
    return bool(config["head"][-1][2] == "RTDETRDecoder")


def build(architecture: str, labels: Sequence[str]) -> Any:
    """A built-in detection model with random weights, by its file name."""
    from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel
    from ultralytics.utils import YAML

    file, scale = built_in(architecture)
    config = {**YAML.load(file), "scale": scale, "yaml_file": architecture}
    kind = RTDETRDetectionModel if _is_transformer(config) else DetectionModel
    model = kind(config, nc=len(labels), verbose=False)
    model.names = dict(enumerate(labels))
    return model


def read_pt(path: Path) -> dict[str, Any]:
    """The checkpoint of a .pt file, through the library's allow-list of model classes and `weights_only`.

    Raises:
        DetectorError: it is damaged, no checkpoint of ultralytics, or holds more than a model.
    """
    from ultralytics.nn.tasks import _SafeLoad

    try:
        if not zipfile.is_zipfile(path):
            raise DetectorError(_not_a_checkpoint(path))
        with _SafeLoad.loading(path):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise DetectorError(_refusal(path, foreign_names(path))) from error
    except (RuntimeError, EOFError, OSError, AttributeError) as error:
        raise DetectorError(f"{path.name} cannot be read: {one_line(error)}") from error
    if not isinstance(checkpoint, dict):
        raise DetectorError(f"{path.name} is not a checkpoint of ultralytics")
    return checkpoint


def _not_a_checkpoint(path: Path) -> str:
    with path.open("rb") as file:
        if b"models.yolo" in file.read(_HEAD_BYTES):
            return _refusal(path, ["models.yolo"])
    return f"{path.name} is not a checkpoint of torch, or it is cut off"


def _refusal(path: Path, names: Sequence[str]) -> str:
    """Why a .pt file is not read: it names what is not ultralytics' own."""
    if any(name.startswith(_YOLOV5) for name in names):
        return (
            f"{path.name} is of the old YOLOv5 (or YOLOv7) repository: it needs the code of that repository"
            f"{named(names)}, which is never run here. Give weights of ultralytics (such as yolov5nu.pt), or the COCO "
            "results that the repository's val.py --save-json writes"
        )
    return (
        f"{path.name} is refused: it holds more than a model, and could run code{named(names)}; give a checkpoint that "
        "ultralytics wrote, or ARCHITECTURE=WEIGHTS of torchvision with the state_dict() alone"
    )


def detection_model(path: Path) -> tuple[Any, int]:
    """The model of a .pt file, and the side in pixels of the images that it was trained on.

    Raises:
        DetectorError: as `read_pt`, or it holds no detection model.
    """
    from ultralytics.nn.tasks import DetectionModel, PoseModel, RTDETRDetectionModel, SegmentationModel

    checkpoint = read_pt(path)
    model: Any = checkpoint.get("ema") or checkpoint.get("model")
    if type(model) not in (DetectionModel, RTDETRDetectionModel, SegmentationModel, PoseModel):
        raise DetectorError(
            f"{path.name} holds {type(model).__name__}; a detector needs a model that finds upright boxes: detection, "
            "segmentation or key points of YOLO, or RT-DETR"
        )
    return model, int((checkpoint.get("train_args") or {}).get("imgsz", 640))


def suppressed(output: Any, classes: int, *, end_to_end: bool = False) -> list[torch.Tensor]:
    """YOLO's raw output -> rows [N, 6] per image: x1, y1, x2, y2 in padded pixels, score, class. What comes with a box
    besides (a mask, key points) is left out."""
    from ultralytics.utils.nms import non_max_suppression

    while not isinstance(output, torch.Tensor):
        output = output[0]  # beside it stand the raw maps, and prototypes of masks
    rows: list[torch.Tensor] = non_max_suppression(
        output,
        conf_thres=LOWEST_SCORE,
        iou_thres=NMS_IOU,
        multi_label=True,
        max_det=MAX_DETECTIONS,
        nc=classes,
        max_time_img=_SECONDS_AN_IMAGE,
        end2end=end_to_end,
    )
    return [row[:, :6] for row in rows]


def finished_epochs(last: Path) -> int:
    """Of the run whose last checkpoint this is."""
    return int(read_pt(last)["epoch"]) + 1


def _passed_on(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that are ultralytics' own."""
    return {key: value for key, value in settings.items() if key not in ("architecture", "labels", "start")}


def check_settings(settings: dict[str, Any]) -> None:
    """Raises ConfigError for a setting that ultralytics refuses, DetectorError for an unknown architecture."""
    from ultralytics.cfg import get_cfg

    built_in(settings["architecture"])
    try:
        get_cfg(overrides=_passed_on(settings))
    except (SyntaxError, TypeError, ValueError) as error:
        raise ConfigError(f"ultralytics refuses a setting: {one_line(error)}") from error


def run_training(
    settings: dict[str, Any],
    data: Path,
    out: Path,
    workers: int,
    threads: int,
    on_epoch: EpochReport | None,
    start: dict[str, torch.Tensor] | None,
    device: torch.device | None,
) -> None:
    """One run of ultralytics' own loop, from scratch, from other weights, or from `out/weights/last.pt`."""
    from ultralytics.engine import trainer

    last = out / "weights" / "last.pt"
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mixed = autocast(device)
    overrides = {
        "mode": "train",
        "task": "detect",
        "model": settings["architecture"],
        "data": str(data),
        "save_dir": str(out),
    }
    overrides |= {
        "device": str(device.index or 0) if device.type == "cuda" else device.type,
        "workers": workers,
        "exist_ok": True,
    }
    overrides |= {"amp": False, "plots": False, "cache": "ram", "patience": 0, "verbose": False}
    overrides |= _passed_on(settings)
    if last.exists():
        overrides["resume"] = str(last)
    for cache in data.glob("*/labels.cache"):
        cache.unlink()  # a pickle: ultralytics would trust it
    its_autocast = trainer.autocast
    trainer.autocast = lambda *_, **__: mixed  # its own asks the network before it trusts half precision on a GPU
    try:
        kind = _training_class(settings["architecture"], settings["labels"], data, last, device, start)
        run = kind(overrides=overrides)
        if on_epoch is not None:
            run.add_callback("on_fit_epoch_end", lambda at: on_epoch(at.epoch + 1, at.epochs, _metrics(at)))
        torch.set_num_threads(threads)  # the library has just set cores - 1
        run.train()
    finally:
        trainer.autocast = its_autocast


def _metrics(run: Any) -> dict[str, float]:
    short = {"metrics/mAP50(B)": "AP50", "metrics/mAP50-95(B)": "mAP"}
    loss = sum(float(value) for value in run.tloss.values())
    return {"loss": loss, **{short[key]: float(value) for key, value in run.metrics.items() if key in short}}


def _training_class(
    architecture: str,
    labels: Sequence[str],
    data: Path,
    last: Path,
    device: torch.device,
    start: dict[str, torch.Tensor] | None,
) -> Any:
    """Ultralytics' trainer, changed where it reads, fetches or writes something, and where it is slow."""
    from ultralytics.models.rtdetr.train import RTDETRTrainer
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.utils import YAML

    base: Any = RTDETRTrainer if _is_transformer(YAML.load(built_in(architecture)[0])) else DetectionTrainer

    class Training(base):  # type: ignore[misc]
        """Reads no data YAML (its `download:` is run as code) and fetches no font; checkpoints are written whole."""

        def get_dataset(self) -> dict[str, Any]:
            folders = {split: str((data / split / "images").resolve()) for split in ("train", "val")}
            names = dict(enumerate(labels))
            return {**folders, "path": data, "names": names, "nc": len(labels), "channels": 3}

        def get_model(self, cfg: object = None, weights: Any = None, verbose: bool = True) -> Any:
            model = build(architecture, labels)
            if weights is not None:
                model.load_state_dict(weights.float().state_dict())
            elif start is not None:
                _take(model, start, architecture)
            return model

        def _setup_train(self) -> None:
            super()._setup_train()
            self.model.to(memory_format=torch.channels_last)
            criterion = getattr(self.model, "criterion", None) or self.model.init_criterion()
            self.model.criterion = _FullPrecision(criterion, device)

        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            batch = super().preprocess_batch(batch)
            return {**batch, "img": batch["img"].contiguous(memory_format=torch.channels_last)}

        def save_model(self) -> bool:
            with written_aside(last) as self.last:
                saved = bool(super().save_model())
            self.last = last
            return saved

        def final_eval(self) -> None:
            """The last weights are exported as they are: no second validation."""

    return Training


def _take(model: Any, start: dict[str, torch.Tensor], architecture: str) -> None:
    """Every tensor that fits by name and shape: classes may be others."""
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in start.items() if name in own and own[name].shape == tensor.shape}
    if len(fitting) < len(own) // 2:
        raise DetectorError(f"the weights to start from are not of {architecture}: {len(fitting)} of {len(own)} fit")
    model.load_state_dict(fitting, strict=False)


class _FullPrecision:
    """A loss in single precision, whatever the model computed in: box distances do not survive half of it."""

    def __init__(self, criterion: Any, device: torch.device) -> None:
        self._criterion = criterion
        self._device = device

    def __call__(self, predictions: Any, batch: dict[str, Any], **others: Any) -> Any:
        with torch.autocast(self._device.type, enabled=False):
            return self._criterion(_single(predictions), batch, **_single(others))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._criterion, name)


def _single(values: Any) -> Any:
    """Nested predictions with every floating tensor in single precision."""
    if isinstance(values, torch.Tensor):
        return values.float() if values.is_floating_point() else values
    if isinstance(values, dict):
        return {key: _single(value) for key, value in values.items()}
    return type(values)(_single(value) for value in values) if isinstance(values, list | tuple) else values
