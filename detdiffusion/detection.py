"""What a detector finds in an image, and what the rest of the project needs of a detector."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detdiffusion.errors import DetectorError

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections on one picture, best score first (sorted at birth).

    Shapes: labels N, scores [N] in 0..1, boxes_xyxy [N, 4] in fractions of the image side. DetectorError otherwise.
    """

    labels: tuple[str, ...]
    scores: NDArray[np.float32]
    boxes_xyxy: NDArray[np.float32]

    def __post_init__(self) -> None:
        scores = np.asarray(self.scores, np.float32)
        boxes = np.asarray(self.boxes_xyxy, np.float32)
        count = len(self.labels)
        if scores.shape != (count,) or boxes.shape != (count, 4):
            raise DetectorError(f"{count} labels, scores {scores.shape}, boxes {boxes.shape}: need [N] and [N, 4]")
        if not (np.isfinite(boxes).all() and ((scores >= 0) & (scores <= 1)).all()):
            raise DetectorError("detections need finite boxes and scores from 0 to 1")
        order = np.argsort(-scores, kind="stable")
        object.__setattr__(self, "labels", tuple(self.labels[i] for i in order))
        object.__setattr__(self, "scores", scores[order])
        object.__setattr__(self, "boxes_xyxy", boxes[order])

    def __len__(self) -> int:
        return len(self.labels)

    def at_least(self, min_score: float) -> Detections:
        """Those with a score of `min_score` or more."""
        count = int((self.scores >= min_score).sum())
        return Detections(self.labels[:count], self.scores[:count], self.boxes_xyxy[:count])


class Detector(Protocol):
    """A trained detector. Its name and the hash of its weights stand beside every score that it gives."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    @property
    def sha256(self) -> str:
        """Of its weights or results: who it is, whatever its name."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes that it can know."""
        ...

    @property
    def min_score(self) -> float:
        """Score under which an object counts as missed."""
        ...

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        """Detections down to score 0.001, one result a picture."""
        ...


@runtime_checkable
class AnswersById(Protocol):
    """A detector that has looked at the pictures of a data set before: it knows them by their ids alone."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    @property
    def ids(self) -> Collection[str]:
        """Pictures in which it found something."""
        ...

    def for_images(self, ids: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """One result a picture; `sizes` are theirs in pixels, width and height."""
        ...


@runtime_checkable
class SeesFeatures(Protocol):
    """A detector that shows its first layers, for losses that compare pictures by what it sees in them."""

    @property
    def sha256(self) -> str:
        """Of its weights."""
        ...

    def early_features(self, pictures: Tensor) -> list[Tensor]:
        """Pictures [B, 3, H, W] in 0..1 -> features [B, C, h, w], fine to coarse; gradients reach the pictures."""
        ...


@runtime_checkable
class ScoresBoxes(Protocol):
    """A detector whose confidence in given boxes has a gradient: images can be moved along it."""

    @property
    def name(self) -> str:
        """How messages call it."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes that it can know."""
        ...

    def score(self, images: Tensor, boxes: Sequence[Tensor], labels: Sequence[Sequence[str]]) -> list[Tensor]:
        """Confidence in 0..1 in the objects of each image, [N]; gradients reach the images.

        images: [B, 3, H, W] in 0..1. boxes: [N, 4] of each image, fractions of its sides. labels: their classes; one
        that the detector does not know scores 0.
        """
        ...


def scores_boxes(detector: Detector) -> ScoresBoxes:
    """The detector, as one whose confidence in given boxes has a gradient.

    Raises:
        DetectorError: it has none.
    """
    if isinstance(detector, ScoresBoxes):
        return detector
    raise DetectorError(
        f"{detector.name} cannot guide images: it gives no gradient. Guidance needs a detector of ultralytics (a .pt "
        "file) or torchvision (ARCHITECTURE=WEIGHTS), or a folder of one"
    )


def identity(detector: Detector) -> dict[str, Any]:
    """Who a detector is, as files of what it found keep it: name, hash, and what else decides what it finds, where it
    says that in `settings`: version of its library, head, image size in pixels, thresholds."""
    return {"name": detector.name, "sha256": detector.sha256, **getattr(detector, "settings", {})}


def look(detector: Detector, images: Sequence[Image.Image], ids: Sequence[str]) -> list[Detections]:
    """What a detector says of pictures of a data set, whether it looks at them or knows them by their ids."""
    if isinstance(detector, AnswersById):
        return detector.for_images(ids, [image.size for image in images])
    return detector.detect(images)


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of two lists of boxes: [N, 4], [M, 4] -> [N, M]; 0 where both are empty."""
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])  # [N, M, 2]
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(-1)  # [N, M]
    union = _area(a)[:, None] + _area(b)[None, :] - overlap
    return np.asarray(overlap / np.where(union > 0, union, 1))


def mask_coverage(mask: NDArray[np.floating[Any]], xyxy: Sequence[float]) -> float:
    """Of the area of a box (fractions), the share that a mask covers: [H, W], a pixel counts from 0.5 up.

    Pixels that the edge of the box cuts count by the part that lies inside, so the answer does not jump with the edge.
    """
    height, width = mask.shape
    x1, y1, x2, y2 = xyxy
    rows, columns = _inside(y1, y2, height), _inside(x1, x2, width)
    return min(1.0, float(rows @ (mask >= 0.5) @ columns / (rows.sum() * columns.sum())))


def _inside(low: float, high: float, count: int) -> Floats:
    """How much of each of `count` pixels in a row lies between two places (fractions of the row): [count]."""
    starts, low = np.arange(count), low * count
    high = max(high * count, low + 1e-6)  # a sliver is not lost to rounding
    return np.asarray(np.clip(np.minimum(high, starts + 1) - np.maximum(low, starts), 0, None))


def _area(boxes: Floats) -> Floats:
    return np.asarray(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1))
