"""Images and boxes in the form that YOLO reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from detdiffusion.errors import DataError
from detdiffusion.layout import Layout


def write_yolo_folder(
    out: Path, samples: Iterable[tuple[Image.Image, Layout]], labels: Sequence[str], split: str
) -> None:
    """Images and their boxes in YOLO form: `out/SPLIT/images/*.png` and `out/SPLIT/labels/*.txt`.

    Objects of a class that is not in `labels` are left out: a detector of things does not learn stuff.
    """
    images, texts = out / split / "images", out / split / "labels"
    images.mkdir(parents=True, exist_ok=True)
    texts.mkdir(parents=True, exist_ok=True)
    index = {label: i for i, label in enumerate(labels)}
    for number, (image, layout) in enumerate(samples):
        lines = [yolo_line(index[box.label], box.xyxy) for box in layout.boxes if box.label in index]
        image.save(images / f"{number:06d}.png", compress_level=1)
        (texts / f"{number:06d}.txt").write_text("".join(lines), encoding="utf-8")


def check_yolo_folder(data: Path) -> None:
    """Raises DataError where images or labels of a split are missing."""
    for part in ("train/images", "train/labels", "val/images", "val/labels"):
        if not next((data / part).glob("*"), None):
            raise DataError(
                f"{data / part} is missing or empty: a YOLO folder needs images and labels in train and val"
            )


def yolo_line(index: int, xyxy: tuple[float, float, float, float]) -> str:
    """One row of a label file: class number, then centre, width and height in fractions."""
    x1, y1, x2, y2 = xyxy
    return f"{index} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n"
