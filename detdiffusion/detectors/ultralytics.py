"""YOLO and RT-DETR detectors by ultralytics (AGPL-3.0): load, detect, train. The one file that imports that library.

It is contained: nothing is downloaded, no pickle is read but through safe loading, and threads, environment, random
states, `torch.save` and `PIL.Image.open`, which the library changes at import and in calls, are put back.
"""

from __future__ import annotations

import os
import random
import re
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from PIL import Image

from detdiffusion.detection import Detections
from detdiffusion.detectors.folder import (
    DESCRIPTION_FILE,
    MIN_SCORE,
    Description,
    file_hash,
    fill,
    one_line,
    read_description,
    read_weights,
    save_detector,
)
from detdiffusion.errors import ConfigError, DataError, DetectorError
from detdiffusion.layout import Layout
from detdiffusion.models.precision import autocast
from detdiffusion.settings import keep_settings

_LOWEST_SCORE = 0.001
_MAX_DETECTIONS = 100
_NMS_IOU = 0.6
_IMAGES_A_PASS = 32
_SECONDS_A_PICTURE = 3600.0  # the library drops what its suppression has not finished in time: it never runs out
_PADDING = 114  # grey level of the library's own letterbox

_ENVIRONMENT = {
    "YOLO_OFFLINE": "1",
    "YOLO_AUTOINSTALL": "0",
    "YOLO_VERBOSE": "False",
    "ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS": "1",
    "ULTRALYTICS_SAFE_LOAD": "1",
}
_LOCK = threading.RLock()
_SETTINGS = tempfile.TemporaryDirectory(prefix="detdiffusion-")  # the library writes a settings file: not at home

EpochReport = Callable[[int, int, dict[str, float]], None]


class UltralyticsDetector:
    """A YOLO or RT-DETR model behind the `Detector` protocol. Pictures of any size; boxes come back in fractions."""

    def __init__(self, model: torch.nn.Module, about: Description) -> None:
        self.name = about.name
        self.sha256 = about.sha256
        self.labels = about.labels
        self.architecture = about.architecture
        self.image_size = about.imgsz
        self.min_score = about.min_score
        self._transformer = type(model).__name__ == "RTDETRDetectionModel"
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.float().eval().to(self._device).to(memory_format=torch.channels_last)

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        """At most 100 detections a picture, down to score 0.001, after non-maximum suppression (a class at a time)."""
        found: list[Detections] = []
        for start in range(0, len(images), _IMAGES_A_PASS):
            found += self._detect_batch(images[start : start + _IMAGES_A_PASS])
        return found

    @torch.inference_mode()
    def _detect_batch(self, images: Sequence[Image.Image]) -> list[Detections]:
        fit = stretch if self._transformer else letterbox
        pictures, frames = zip(*(fit(image, self.image_size) for image in images), strict=True)
        output = self._model(self._pixels(pictures))
        rows = self._of_queries(output[0]) if self._transformer else self._suppressed(output)
        return [self._detections(row.cpu().numpy(), frame) for row, frame in zip(rows, frames, strict=True)]

    def _suppressed(self, output: Any) -> list[torch.Tensor]:
        """YOLO's raw output -> rows [N, 6] a picture: x1, y1, x2, y2 in padded pixels, score, class."""
        from ultralytics.utils.nms import non_max_suppression

        rows: list[torch.Tensor] = non_max_suppression(
            output,
            conf_thres=_LOWEST_SCORE,
            iou_thres=_NMS_IOU,
            multi_label=True,
            max_det=_MAX_DETECTIONS,
            nc=len(self.labels),
            max_time_img=_SECONDS_A_PICTURE,
        )
        return rows

    def _of_queries(self, output: torch.Tensor) -> list[torch.Tensor]:
        """RT-DETR's output [B, Q, 6] (centre, width, height in fractions, score, class; best first) -> the same rows.

        A query is an object: nothing has to be suppressed.
        """
        centres, sizes = output[..., :2], output[..., 2:4]
        corners = torch.cat([centres - sizes / 2, centres + sizes / 2], -1) * self.image_size
        rows = torch.cat([corners, output[..., 4:]], -1)[:, :_MAX_DETECTIONS]
        return [row[row[:, 4] > _LOWEST_SCORE] for row in rows]

    @torch.inference_mode()
    def features(self, images: Sequence[Image.Image]) -> np.ndarray:
        """What the detection head reads of each picture, averaged over its place: [B, D] float32. D is the sum of the
        channels of the layers that feed the head."""
        levels: list[torch.Tensor] = []
        layers: Any = self._model.model
        head = layers[-1]  # as the library orders them
        tap = head.register_forward_pre_hook(lambda _, inputs: levels.extend(inputs[0]))
        try:
            fit = stretch if self._transformer else letterbox
            self._model(self._pixels([fit(image, self.image_size)[0] for image in images]))
        finally:
            tap.remove()
        pooled = [level.float().mean(dim=(2, 3)) for level in levels]  # [B, C, h, w] -> [B, C] of every level
        return torch.cat(pooled, dim=1).cpu().numpy()

    def _pixels(self, squares: Sequence[np.ndarray]) -> torch.Tensor:
        """Squares [S, S, 3] uint8 -> [B, 3, S, S] in 0..1."""
        return torch.from_numpy(np.stack(squares)).to(self._device).permute(0, 3, 1, 2).float() / 255

    def _detections(self, rows: np.ndarray, frame: Frame) -> Detections:
        """Rows [N, 6] of the library (x1, y1, x2, y2 in padded pixels, score, class) -> detections."""
        offset = np.array([frame.left, frame.top, frame.left, frame.top])
        side = np.array([frame.width, frame.height, frame.width, frame.height])
        boxes = np.clip((rows[:, :4] - offset) / side, 0, 1)
        return Detections(tuple(self.labels[int(index)] for index in rows[:, 5]), rows[:, 4].clip(0, 1), boxes)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a picture lies inside its padded square, in pixels."""

    left: int
    top: int
    width: int
    height: int


def letterbox(image: Image.Image, size: int) -> tuple[np.ndarray, Frame]:
    """A picture scaled to fit a grey square of `size` pixels, as the library trains: [size, size, 3] uint8 RGB."""
    import cv2

    pixels = np.asarray(image.convert("RGB"))
    scale = size / max(image.size)
    width, height = (max(round(side * scale), 1) for side in image.size)
    frame = Frame((size - width) // 2, (size - height) // 2, width, height)
    if (width, height) != image.size:
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    square = np.full((size, size, 3), _PADDING, np.uint8)
    square[frame.top : frame.top + height, frame.left : frame.left + width] = pixels
    return square, frame


def stretch(image: Image.Image, size: int) -> tuple[np.ndarray, Frame]:
    """A picture stretched to a square of `size` pixels, as the library trains RT-DETR: [size, size, 3] uint8 RGB."""
    import cv2

    pixels = cv2.resize(np.asarray(image.convert("RGB")), (size, size), interpolation=cv2.INTER_LINEAR)
    return pixels, Frame(0, 0, size, size)


def load_ultralytics(path: Path) -> UltralyticsDetector:
    """A detector folder, or the user's own .pt file of a detection model (read through safe loading only).

    Raises:
        DetectorError: missing, damaged (both hashes are named), unsafe, or of another architecture.
    """
    if path.is_dir():
        return _load_folder(path)
    if not path.exists():
        raise DetectorError(f"{path}: no such detector; give a detector folder or a .pt file that is on this machine")
    if path.suffix != ".pt":
        raise DetectorError(f"{path.name}: a detector needs to be a folder with {DESCRIPTION_FILE}, or a .pt file")
    return _load_pt(path)


def check_architecture(name: str) -> None:
    """DetectorError unless it names a built-in model of ultralytics ("yolo11n.yaml")."""
    with _contained():
        _built_in(name)


def write_yolo_folder(
    out: Path, samples: Iterable[tuple[Image.Image, Layout]], labels: Sequence[str], split: str
) -> None:
    """Pictures and their boxes in YOLO form: `out/SPLIT/images/*.png` and `out/SPLIT/labels/*.txt`.

    Objects of a class that is not in `labels` are left out: a detector of things does not learn stuff.
    """
    images, texts = out / split / "images", out / split / "labels"
    images.mkdir(parents=True, exist_ok=True)
    texts.mkdir(parents=True, exist_ok=True)
    index = {label: i for i, label in enumerate(labels)}
    for number, (image, layout) in enumerate(samples):
        lines = [_yolo_line(index[box.label], box.xyxy) for box in layout.boxes if box.label in index]
        image.save(images / f"{number:06d}.png", compress_level=1)
        (texts / f"{number:06d}.txt").write_text("".join(lines), encoding="utf-8")


def train_ultralytics(
    architecture: str,
    data: Path,
    labels: Sequence[str],
    *,
    image_size: int,
    epochs: int,
    batch: int,
    seed: int,
    out: Path,
    workers: int = 0,
    name: str | None = None,
    min_score: float = MIN_SCORE,
    on_epoch: EpochReport | None = None,
    start: Path | None = None,
    **hyperparameters: float,
) -> Path:
    """Trains a detector on a YOLO folder and returns its detector folder, `out/model`.

    The same call again goes on from the last finished epoch, or returns at once if all are done. `on_epoch` gets the
    finished epochs, their number, and the metrics; an exception that it raises ends the run, which stays resumable.

    Args:
        architecture: a built-in model of ultralytics, by name ("yolo11n.yaml").
        data: holds train/images, train/labels, val/images, val/labels.
        start: detector folder or .pt file whose weights are taken where they fit; None: from scratch.
        hyperparameters: any of ultralytics' training settings that are numbers (lr0, mosaic, ...).

    Raises:
        ConfigError: `out` was started with other settings, or a setting is unknown.
        DataError: the folder lacks pictures or labels.
        DetectorError: `start` cannot be read, or nothing in it fits.
    """
    _check_yolo_folder(data)
    words = [key for key, value in hyperparameters.items() if not isinstance(value, int | float)]
    if words:
        raise ConfigError(f"{', '.join(words)}: only settings that are numbers can be passed on to ultralytics")
    settings = {"architecture": architecture, "labels": list(labels), "imgsz": image_size, "epochs": epochs}
    settings |= {"batch": batch, "seed": seed, **hyperparameters}
    weights = None if start is None else _start_weights(start)
    if start is not None:
        settings["start"] = read_description(start).sha256 if start.is_dir() else file_hash(start)
    folder, last = out / "model", out / "weights" / "last.pt"
    with _contained() as threads:
        _check_settings(settings)
        keep_settings(out / "settings.json", settings)
        if (folder / DESCRIPTION_FILE).exists():
            return folder
        if not last.exists() or _finished_epochs(last) < epochs:
            _run_training(settings, data, out, workers, threads, on_epoch, weights)
        name = name or architecture.removesuffix(".yaml")
        about = Description(name, architecture, tuple(labels), image_size, min_score, sha256="")
        save_detector(_read_pt(last)["ema"], folder, about)
    return folder


def _run_training(
    settings: dict[str, Any],
    data: Path,
    out: Path,
    workers: int,
    threads: int,
    on_epoch: EpochReport | None,
    start: dict[str, torch.Tensor] | None,
) -> None:
    """One run of ultralytics' own loop, from scratch, from other weights, or from `out/weights/last.pt`."""
    from ultralytics.engine import trainer

    last = out / "weights" / "last.pt"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mixed = autocast(device)
    overrides = {
        "mode": "train",
        "task": "detect",
        "model": settings["architecture"],
        "data": str(data),
        "save_dir": str(out),
    }
    overrides |= {"device": "0" if device.type == "cuda" else "cpu", "workers": workers, "exist_ok": True}
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


def _start_weights(path: Path) -> dict[str, torch.Tensor]:
    """Of a detector folder of ours, or a .pt file."""
    if path.is_dir():
        return read_weights(path, read_description(path))
    if path.suffix != ".pt" or not path.is_file():
        raise DetectorError(f"{path}: no such weights to start from; give a detector folder or a .pt file")
    with _contained():
        checkpoint = _read_pt(path)
        model: Any = checkpoint.get("ema") or checkpoint.get("model")
        return {name: tensor.float() for name, tensor in model.state_dict().items()}


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

    base: Any = RTDETRTrainer if _is_transformer(YAML.load(_built_in(architecture)[0])) else DetectionTrainer

    class Training(base):  # type: ignore[misc]
        """Reads no data YAML (its `download:` is run as code) and fetches no font; checkpoints are written whole."""

        def get_dataset(self) -> dict[str, Any]:
            folders = {split: str((data / split / "images").resolve()) for split in ("train", "val")}
            names = dict(enumerate(labels))
            return {**folders, "path": data, "names": names, "nc": len(labels), "channels": 3}

        def get_model(self, cfg: object = None, weights: Any = None, verbose: bool = True) -> Any:
            model = _build(architecture, labels)
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
            self.last = last.with_suffix(".partial")
            saved = bool(super().save_model())
            self.last = self.last.replace(last)
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


def _passed_on(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that are ultralytics' own."""
    return {key: value for key, value in settings.items() if key not in ("architecture", "labels", "start")}


def _check_settings(settings: dict[str, Any]) -> None:
    from ultralytics.cfg import get_cfg

    _built_in(settings["architecture"])
    try:
        get_cfg(overrides=_passed_on(settings))
    except (SyntaxError, TypeError, ValueError) as error:
        raise ConfigError(f"ultralytics refuses a setting: {one_line(error)}") from error


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


def _metrics(run: Any) -> dict[str, float]:
    short = {"metrics/mAP50(B)": "AP50", "metrics/mAP50-95(B)": "mAP"}
    loss = sum(float(value) for value in run.tloss.values())
    return {"loss": loss, **{short[key]: float(value) for key, value in run.metrics.items() if key in short}}


def _check_yolo_folder(data: Path) -> None:
    for part in ("train/images", "train/labels", "val/images", "val/labels"):
        if not next((data / part).glob("*"), None):
            raise DataError(
                f"{data / part} is missing or empty: a YOLO folder needs images and labels in train and val"
            )


def _load_folder(folder: Path) -> UltralyticsDetector:
    about = read_description(folder)
    weights = read_weights(folder, about)
    with _contained():
        model = _build(about.architecture, about.labels)
        fill(model, weights, folder, about.architecture)
        model.fuse(verbose=False)
    return UltralyticsDetector(model, about)


def _load_pt(path: Path) -> UltralyticsDetector:
    with _contained():
        from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

        checkpoint = _read_pt(path)
        model: Any = checkpoint.get("ema") or checkpoint.get("model")
        if type(model) not in (DetectionModel, RTDETRDetectionModel):
            raise DetectorError(
                f"{path.name} holds {type(model).__name__}; a detector needs a detection model, YOLO or RT-DETR"
            )
        labels = tuple(str(label) for _, label in sorted(model.names.items()))
        image_size = int((checkpoint.get("train_args") or {}).get("imgsz", 640))
        model.float().fuse(verbose=False)
    architecture = str((model.yaml or {}).get("yaml_file", path.name))
    return UltralyticsDetector(
        model, Description(path.stem, architecture, labels, image_size, MIN_SCORE, sha256=file_hash(path))
    )


def _read_pt(path: Path) -> dict[str, Any]:
    """The checkpoint of a .pt file, through the library's allow-list of model classes and `weights_only`."""
    from ultralytics.nn.tasks import _SafeLoad

    try:
        if not zipfile.is_zipfile(path):
            raise DetectorError(f"{path.name} is not a checkpoint of torch, or it is cut off")
        with _SafeLoad.loading(path):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise DetectorError(f"{path.name} is refused: it holds more than a model, and could run code") from error
    except (RuntimeError, EOFError, OSError, AttributeError) as error:
        raise DetectorError(f"{path.name} cannot be read: {one_line(error)}") from error
    if not isinstance(checkpoint, dict):
        raise DetectorError(f"{path.name} is not a checkpoint of ultralytics")
    return checkpoint


def _finished_epochs(last: Path) -> int:
    return int(_read_pt(last)["epoch"]) + 1


def _build(architecture: str, labels: Sequence[str]) -> Any:
    """A built-in detection model with random weights, by its file name."""
    from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel
    from ultralytics.utils import YAML

    file, scale = _built_in(architecture)
    config = {**YAML.load(file), "scale": scale, "yaml_file": architecture}
    kind = RTDETRDetectionModel if _is_transformer(config) else DetectionModel
    model = kind(config, nc=len(labels), verbose=False)
    model.names = dict(enumerate(labels))
    return model


def _is_transformer(config: Mapping[str, Any]) -> bool:
    """By the last layer of the model's text."""
    return bool(config["head"][-1][2] == "RTDETRDecoder")


def _built_in(architecture: str) -> tuple[Path, str]:
    """File and scale of a built-in architecture: "yolo11n.yaml" is scale n of yolo11.yaml, yolov10n.yaml has a file."""
    from ultralytics.utils import ROOT

    files = {path.name: path for path in (ROOT / "cfg" / "models").rglob("*.yaml")}
    name = architecture if architecture in files else re.sub(r"(\d+)[nsmlx](.*)$", r"\1\2", architecture)
    if name not in files:
        raise DetectorError(f"{architecture!r} is no built-in architecture of ultralytics (such as yolo11n.yaml)")
    scale = re.search(r"\d([nsmlx])", architecture)
    return files[name], scale[1] if scale else ""


@contextmanager
def _contained() -> Iterator[int]:
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


def _import_ultralytics() -> None:
    with _needed():
        from ultralytics.utils import LOGGER
    LOGGER.setLevel("ERROR")


@contextmanager
def _needed() -> Iterator[None]:
    """Everything but this file works without ultralytics (and OpenCV, which it brings)."""
    try:
        yield
    except ImportError as error:
        raise DetectorError("YOLO detectors need ultralytics: pip install -r requirements.txt") from error


def _restore_environment(environment: dict[str, str]) -> None:
    for key in set(os.environ) - set(environment):
        del os.environ[key]
    os.environ.update(environment)


def _yolo_line(index: int, xyxy: tuple[float, float, float, float]) -> str:
    x1, y1, x2, y2 = xyxy
    return f"{index} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n"
