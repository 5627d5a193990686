"""Trains a detector of ultralytics on a YOLO folder; the same call again goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from detdiffusion.core.files import file_hash
from detdiffusion.core.settings import keep_settings
from detdiffusion.detectors.folder import (
    DESCRIPTION_FILE,
    MIN_SCORE,
    Description,
    read_description,
    read_weights,
    save_detector,
)
from detdiffusion.detectors.ultralytics.library import (
    EpochReport,
    check_settings,
    contained,
    finished_epochs,
    read_pt,
    run_training,
)
from detdiffusion.detectors.ultralytics.yolo_folder import check_yolo_folder
from detdiffusion.errors import ConfigError, DetectorError


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
    device: torch.device | None = None,
    **hyperparameters: float,
) -> Path:
    """Trains a detector on a YOLO folder and returns its detector folder, `out/model`.

    The same call again goes on from the last finished epoch, or returns at once if all are done. `on_epoch` gets the
    finished epochs, their number, and the metrics; an exception that it raises ends the run, which stays resumable.

    Args:
        architecture: a built-in model of ultralytics, by name ("yolo11n.yaml").
        data: holds train/images, train/labels, val/images, val/labels.
        device: that it computes on; None: the GPU, else the CPU.
        start: detector folder or .pt file whose weights are taken where they fit; None: from scratch.
        hyperparameters: any of ultralytics' training settings that are numbers (lr0, mosaic, ...).

    Raises:
        ConfigError: `out` was started with other settings, or a setting is unknown.
        DataError: the folder lacks images or labels.
        DetectorError: `start` cannot be read, or nothing in it fits.
    """
    check_yolo_folder(data)
    words = [key for key, value in hyperparameters.items() if not isinstance(value, int | float)]
    if words:
        raise ConfigError(f"{', '.join(words)}: only settings that are numbers can be passed on to ultralytics")
    settings = {"architecture": architecture, "labels": list(labels), "imgsz": image_size, "epochs": epochs}
    settings |= {"batch": batch, "seed": seed, **hyperparameters}
    weights = None if start is None else _start_weights(start)
    if start is not None:
        settings["start"] = read_description(start).sha256 if start.is_dir() else file_hash(start)
    folder, last = out / "model", out / "weights" / "last.pt"
    with contained() as threads:
        check_settings(settings)
        keep_settings(out / "settings.json", settings)
        if (folder / DESCRIPTION_FILE).exists():
            return folder
        if not last.exists() or finished_epochs(last) < epochs:
            run_training(settings, data, out, workers, threads, on_epoch, weights, device)
        name = name or architecture.removesuffix(".yaml")
        about = Description(name, architecture, tuple(labels), image_size, min_score, sha256="")
        save_detector(read_pt(last)["ema"], folder, about)
    return folder


def check_training(architecture: str, start: Path | None, **settings: float) -> None:
    """Raises what `train_ultralytics` would for its settings and for weights to start from."""
    if start is not None:
        _start_weights(start)
    with contained():
        check_settings({"architecture": architecture, **settings})


def _start_weights(path: Path) -> dict[str, torch.Tensor]:
    """Of a detector folder of ours, or a .pt file."""
    if path.is_dir():
        return read_weights(path, read_description(path))
    if path.suffix != ".pt" or not path.is_file():
        raise DetectorError(f"{path}: no such weights to start from; give a detector folder or a .pt file")
    with contained():
        checkpoint = read_pt(path)
        model: Any = checkpoint.get("ema") or checkpoint.get("model")
        return {name: tensor.float() for name, tensor in model.state_dict().items()}
