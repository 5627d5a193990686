"""YOLO and RT-DETR models behind the `Detector` protocol, from detector folders and .pt files."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from detdiffusion.core.files import file_hash
from detdiffusion.detection import Detections
from detdiffusion.detectors.folder import DESCRIPTION_FILE, MIN_SCORE, Description, fill, read_description, read_weights
from detdiffusion.detectors.scoring import Candidates, fit_square, score_candidates
from detdiffusion.detectors.ultralytics.images import PADDING, Frame, letterbox, stretch
from detdiffusion.detectors.ultralytics.library import (
    LOWEST_SCORE,
    MAX_DETECTIONS,
    NMS_IOU,
    build,
    contained,
    detection_model,
    suppressed,
)
from detdiffusion.errors import DetectorError

_IMAGES_PER_PASS = 32


class UltralyticsDetector:
    """A YOLO or RT-DETR model behind the `Detector` protocol. Images of any size; boxes come back in fractions."""

    def __init__(self, model: torch.nn.Module, about: Description, device: torch.device | None = None) -> None:
        self.name = about.name
        self.sha256 = about.sha256
        self.labels = about.labels
        self.architecture = about.architecture
        self.image_size = about.imgsz
        self.min_score = about.min_score
        self._transformer = type(model).__name__ == "RTDETRDetectionModel"
        layers: Any = model.model
        self._head = layers[-1]  # as the library orders them
        self._end_to_end = bool(getattr(self._head, "end2end", False))
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.float().eval().to(self._device).to(memory_format=torch.channels_last)
        self._model.requires_grad_(False)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides what it finds, beside its weights."""
        thresholds = {"lowest_score": LOWEST_SCORE, "nms_iou": NMS_IOU, "max_detections": MAX_DETECTIONS}
        if self._transformer or self._end_to_end:
            del thresholds["nms_iou"]  # nothing is suppressed
        return {
            "version": f"ultralytics {version('ultralytics')}",
            "head": type(self._head).__name__,
            "image_size": self.image_size,
            "thresholds": thresholds,
        }

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        """At most 100 detections per image, down to score 0.001, after non-maximum suppression (a class at a time)."""
        found: list[Detections] = []
        for start in range(0, len(images), _IMAGES_PER_PASS):
            found += self._detect_batch(images[start : start + _IMAGES_PER_PASS])
        return found

    @torch.no_grad()  # not inference mode: the head keeps its anchors, and `score` needs them
    def _detect_batch(self, images: Sequence[Image.Image]) -> list[Detections]:
        fit = stretch if self._transformer else letterbox
        squares, frames = zip(*(fit(image, self.image_size) for image in images), strict=True)
        output = self._model(self._pixels(squares))
        rows = self._of_queries(output[0]) if self._transformer else self._of_anchors(output)
        return [self._detections(row.cpu().numpy(), frame) for row, frame in zip(rows, frames, strict=True)]

    def _of_anchors(self, output: Any) -> list[torch.Tensor]:
        return suppressed(output, len(self.labels), end_to_end=self._end_to_end)

    def _of_queries(self, output: torch.Tensor) -> list[torch.Tensor]:
        """RT-DETR's output [B, Q, 6] (centre, width, height in fractions, score, class; best first) -> the same rows.

        A query is an object: nothing has to be suppressed.
        """
        centres, sizes = output[..., :2], output[..., 2:4]
        corners = torch.cat([centres - sizes / 2, centres + sizes / 2], -1) * self.image_size
        rows = torch.cat([corners, output[..., 4:]], -1)[:, :MAX_DETECTIONS]
        return [row[row[:, 4] > LOWEST_SCORE] for row in rows]

    @torch.no_grad()  # not inference mode: the head keeps its anchors, and `score` needs them
    def features(self, images: Sequence[Image.Image]) -> np.ndarray:
        """What the detection head reads of each image, averaged over its place: [B, D] float32. D is the sum of the
        channels of the layers that feed the head."""
        levels: list[torch.Tensor] = []
        tap = self._head.register_forward_pre_hook(lambda _, inputs: levels.extend(inputs[0]))
        try:
            fit = stretch if self._transformer else letterbox
            self._model(self._pixels([fit(image, self.image_size)[0] for image in images]))
        finally:
            tap.remove()
        pooled = [level.float().mean(dim=(2, 3)) for level in levels]  # [B, C, h, w] -> [B, C] of every level
        return torch.cat(pooled, dim=1).cpu().numpy()

    def score(
        self, images: torch.Tensor, boxes: Sequence[torch.Tensor], labels: Sequence[Sequence[str]]
    ) -> list[torch.Tensor]:
        """Confidence in given boxes, with a gradient (`detdiffusion.detection.ScoresBoxes`)."""
        size, images = self.image_size, images.to(self._device)
        if self._transformer:
            pixels = torch.nn.functional.interpolate(images, (size, size), mode="bilinear", align_corners=False)
            frame = torch.tensor([0, 0, size, size], device=images.device)
        else:
            pixels, frame = fit_square(images, size, [PADDING / 255] * 3, centred=True)
        output = self._model(pixels)
        while not isinstance(output, torch.Tensor):
            output = output[0]  # beside it stand the raw maps, and prototypes of masks
        found = [self._candidates(one, frame) for one in output]
        rows = [[self.labels.index(name) if name in self.labels else -1 for name in names] for names in labels]
        return score_candidates(found, [box.to(images) for box in boxes], rows)

    def _candidates(self, output: torch.Tensor, frame: torch.Tensor) -> Candidates:
        """One image's output before suppression. frame: left, top, width and height of the image in its square."""
        count = len(self.labels)
        if not (self._transformer or self._end_to_end):
            centres, sizes = output[:2].T, output[2:4].T  # [4 + C + ..., A], in pixels
            corners = torch.cat([centres - sizes / 2, centres + sizes / 2], -1)
            return Candidates((corners - frame[:2].repeat(2)) / frame[2:].repeat(2), output[4 : 4 + count])
        shares = torch.nn.functional.one_hot(output[:, 5].long(), count).T * output[:, 4]  # rows of `_of_queries`
        if self._transformer:
            centres, sizes = output[:, :2], output[:, 2:4]
            return Candidates(torch.cat([centres - sizes / 2, centres + sizes / 2], -1), shares)
        return Candidates((output[:, :4] - frame[:2].repeat(2)) / frame[2:].repeat(2), shares)

    def early_features(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Pictures [B, 3, H, W] in 0..1 -> the last features [B, C, h, w] at a half, a quarter ... of their size, down
        to a sixteenth; gradients reach the pictures."""
        layers: Any = self._model.model
        levels: list[torch.Tensor] = []
        features = pictures
        for layer in layers:
            if layer.f != -1:  # the library's mark of a layer that reads others than the one before
                break
            features = layer(features)
            if pictures.shape[-1] > 16 * features.shape[-1]:
                break
            if levels and levels[-1].shape[-1] == features.shape[-1]:
                levels.pop()
            levels.append(features)
        return levels

    def _pixels(self, squares: Sequence[np.ndarray]) -> torch.Tensor:
        """Squares [S, S, 3] uint8 -> [B, 3, S, S] in 0..1."""
        return torch.from_numpy(np.stack(squares)).to(self._device).permute(0, 3, 1, 2).float() / 255

    def _detections(self, rows: np.ndarray, frame: Frame) -> Detections:
        """Rows [N, 6] of the library (x1, y1, x2, y2 in padded pixels, score, class) -> detections."""
        offset = np.array([frame.left, frame.top, frame.left, frame.top])
        side = np.array([frame.width, frame.height, frame.width, frame.height])
        boxes = np.clip((rows[:, :4] - offset) / side, 0, 1)
        return Detections(tuple(self.labels[int(index)] for index in rows[:, 5]), rows[:, 4].clip(0, 1), boxes)


def load_ultralytics(path: Path, device: torch.device | None = None) -> UltralyticsDetector:
    """A detector folder, or the user's own .pt file of a detection model (read through safe loading only).

    Raises:
        DetectorError: missing, damaged (both hashes are named), unsafe, or of another architecture.
    """
    if path.is_dir():
        return _load_folder(path, device)
    if not path.exists():
        raise DetectorError(f"{path}: no such detector; give a detector folder or a .pt file that is on this machine")
    if path.suffix != ".pt":
        raise DetectorError(f"{path.name}: a detector needs to be a folder with {DESCRIPTION_FILE}, or a .pt file")
    return _load_pt(path, device)


def _load_folder(folder: Path, device: torch.device | None) -> UltralyticsDetector:
    about = read_description(folder)
    weights = read_weights(folder, about)
    with contained():
        model = build(about.architecture, about.labels)
        fill(model, weights, folder, about.architecture)
        model.fuse(verbose=False)
    return UltralyticsDetector(model, about, device)


def _load_pt(path: Path, device: torch.device | None) -> UltralyticsDetector:
    with contained():
        model, image_size = detection_model(path)
        labels = tuple(str(label) for _, label in sorted(model.names.items()))
        model.float().fuse(verbose=False)
    architecture = str((model.yaml or {}).get("yaml_file", path.name))
    about = Description(path.stem, architecture, labels, image_size, MIN_SCORE, sha256=file_hash(path))
    return UltralyticsDetector(model, about, device)
