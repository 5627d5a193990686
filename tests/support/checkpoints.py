"""Checkpoints of detectors with random weights, as their libraries write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from detdiffusion.detectors.ultralytics.library import contained


def save_ultralytics(kind: str, architecture: str, labels: Sequence[str], path: Path) -> Path:
    """kind: a class of ultralytics.nn.tasks."""
    with contained():
        from ultralytics.nn import tasks

        model: Any = getattr(tasks, kind)(architecture, nc=len(labels), verbose=False)
        model.names = dict(enumerate(labels))
        torch.save({"model": model, "train_args": {"imgsz": 64}}, path)
    return path
