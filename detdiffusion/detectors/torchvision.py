"""Detectors of torchvision: Faster R-CNN, RetinaNet and SSDlite; weights come by path and are never fetched.

A detector is a folder of ours (`python -m training detector` writes it), or an architecture with the user's own
weights: a .safetensors file, or a state dict that `torch.save` wrote, read with `weights_only`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from detdiffusion.core.files import file_hash, one_line
from detdiffusion.detection import Detections
from detdiffusion.detectors.architectures import FASTER_RCNN, RETINANET, SMALL, check_architecture
from detdiffusion.detectors.folder import (
    MIN_SCORE,
    TORCHVISION,
    Description,
    fill,
    read_description,
    read_weights,
)
from detdiffusion.detectors.names import is_class, names_beside
from detdiffusion.detectors.scoring import fit_square, torchvision_scores
from detdiffusion.detectors.state import read_state
from detdiffusion.errors import DetectorError
from detdiffusion.text.vocabulary import COCO_THINGS

_LOWEST_SCORE = 0.001
_MAX_DETECTIONS = 100
_IMAGES_A_PASS = 16
_PADDING = (124, 116, 104)  # torchvision's mean colour: 0 after it has normalised the picture
_COCO_ROWS = 91  # torchvision's COCO weights: background, 80 classes, and rows that stand for none

# Sides of anchors as shares of the picture's side: torchvision's 32 to 512 pixels at its own 800.
_ANCHOR_SIDES = (0.04, 0.08, 0.16, 0.32, 0.64)
_RATIOS = (0.5, 1.0, 2.0)
_FEW_PROPOSALS = 300  # enough for pictures of few pixels, where 1000 would take most of the time
_FEW_BELOW = 400  # pixels


class TorchvisionDetector:
    """A model of torchvision behind the `Detector` protocol. Pictures of any size; boxes come back in fractions.

    rows: the class names in the model's own order; what is no class (background, "N/A") is never detected.
    square: pictures are padded to squares of the image size, as ours were trained; else torchvision sizes them.
    """

    def __init__(
        self,
        model: nn.Module,
        about: Description,
        rows: Sequence[str],
        *,
        square: bool,
        device: torch.device | None = None,
    ) -> None:
        self.name, self.sha256, self.min_score = about.name, about.sha256, about.min_score
        self.labels = about.labels
        self.architecture = about.architecture
        self.image_size = about.imgsz
        self._rows, self._square = tuple(rows), square
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.float().eval().to(self._device)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides what it finds, beside its weights."""
        head: Any = getattr(self._model, "roi_heads", None) or self._model.head
        return {
            "version": f"torchvision {version('torchvision')}",
            "head": type(head).__name__,
            "image_size": self.image_size,
            "thresholds": {"lowest_score": _LOWEST_SCORE, "max_detections": _MAX_DETECTIONS},
        }

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        """At most 100 detections a picture, down to score 0.001, after non-maximum suppression (a class at a time)."""
        # Pictures of other sizes in a batch are padded, which changes what is found at the edges: one at a time then.
        a_pass = _IMAGES_A_PASS if self._square else 1
        found: list[Detections] = []
        for start in range(0, len(images), a_pass):
            found += self._detect_batch(images[start : start + a_pass])
        return found

    @torch.inference_mode()
    def features(self, images: Sequence[Image.Image]) -> np.ndarray:
        """What feeds its heads, every level averaged over the place: [B, D]."""
        rows = []
        for image in images:
            pixels, _ = squared(image, self.image_size) if self._square else _whole(image)
            scaled, _ = self._model.transform([to_tensor(pixels).to(self._device)])  # type: ignore[operator]
            maps = self._model.backbone(scaled.tensors)  # type: ignore[operator]
            levels = maps.values() if isinstance(maps, Mapping) else [maps]
            rows.append(torch.cat([level.float().mean(dim=(2, 3))[0] for level in levels]).cpu().numpy())
        return np.stack(rows)

    def score(self, images: Tensor, boxes: Sequence[Tensor], labels: Sequence[Sequence[str]]) -> list[Tensor]:
        """Confidence in given boxes, with a gradient (`detdiffusion.detection.ScoresBoxes`)."""
        numbers = {label: row for row, label in enumerate(self._rows) if is_class(label)}
        rows = [[numbers.get(label, -1) for label in of_image] for of_image in labels]
        images = images.to(self._device)
        own = [box.to(images) for box in boxes]
        if self._square:
            images, frame = fit_square(images, self.image_size, [c / 255 for c in _PADDING], centred=False)
            own = [box * frame[2:].repeat(2) / self.image_size for box in own]
        return torchvision_scores(self._model, images, own, rows)

    @torch.inference_mode()
    def _detect_batch(self, images: Sequence[Image.Image]) -> list[Detections]:
        fitted = [squared(image, self.image_size) if self._square else _whole(image) for image in images]
        outputs = self._model([to_tensor(pixels).to(self._device) for pixels, _ in fitted])
        return [self._detections(output, size) for output, (_, size) in zip(outputs, fitted, strict=True)]

    def _detections(self, output: Mapping[str, Tensor], size: tuple[int, int]) -> Detections:
        """boxes [N, 4] in pixels of a picture that is `size` (width, height) large, labels [N], scores [N]."""
        labels, scores = output["labels"].tolist(), output["scores"].float().cpu().numpy()
        boxes = np.clip(output["boxes"].float().cpu().numpy() / np.array([*size, *size]), 0, 1)
        kept = [i for i, label in enumerate(labels) if is_class(self._rows[label])]
        return Detections(tuple(self._rows[labels[i]] for i in kept), scores[kept].clip(0, 1), boxes[kept])


def squared(image: Image.Image, size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A picture scaled to fit a square of `size` pixels, in its upper left corner: [size, size, 3] uint8 RGB, and the
    width and height that it has there."""
    scale = size / max(image.size)
    width, height = (max(round(side * scale), 1) for side in image.size)
    square = np.full((size, size, 3), _PADDING, np.uint8)
    square[:height, :width] = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
    return square, (width, height)


def to_tensor(pixels: np.ndarray) -> Tensor:
    """[H, W, 3] uint8 -> [3, H, W] in 0..1, as torchvision's detectors take pictures."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255


def build_model(architecture: str, rows: int, image_size: int | None = None, **options: Any) -> nn.Module:
    """A model with random weights and `rows` outputs (background among them) that gives scores down to 0.001.

    Args:
        image_size: side of the squares that it sees, with anchors of a share of it; None: torchvision's own sizes.
        options: of the model's class, such as `box_batch_size_per_image`.

    Raises:
        DetectorError: there is no such architecture.
    """
    check_architecture(architecture)
    if architecture in FASTER_RCNN:
        return _faster_rcnn(architecture, rows, image_size, options)
    from torchvision.models import detection

    bounds = {"score_thresh": _LOWEST_SCORE, "detections_per_img": _MAX_DETECTIONS}
    sizes = {} if image_size is None else {"min_size": image_size, "max_size": image_size}
    bare: dict[str, Any] = {"weights": None, "weights_backbone": None, "num_classes": rows, **bounds, **options}
    if architecture in RETINANET:
        model: nn.Module = getattr(detection, architecture)(**bare, **sizes)
        if image_size is not None:
            octave = [tuple(side * 2 ** (third / 3) for third in range(3)) for side in _ANCHOR_SIDES]
            model.anchor_generator = _anchors([[side * image_size for side in sides] for sides in octave])
        return model
    model = getattr(detection, architecture)(**bare)
    if image_size is not None:
        transform: Any = model.transform
        transform.fixed_size = (image_size, image_size)
    return model


def load_folder(folder: Path, device: torch.device | None = None) -> TorchvisionDetector:
    """A detector folder of ours.

    Raises:
        DetectorError: missing, damaged (both hashes are named), or of another architecture.
    """
    about = read_description(folder)
    model = build_model(about.architecture, len(about.labels) + 1, about.imgsz)
    fill(model, read_weights(folder, about), folder, about.architecture)
    return TorchvisionDetector(model, about, ("background", *about.labels), square=True, device=device)


def load_torchvision(architecture: str, weights: Path, device: torch.device | None = None) -> TorchvisionDetector:
    """An architecture with the user's own weights; pictures are scaled as torchvision does by itself.

    91 outputs are COCO's as torchvision numbers them, unless a text file beside the weights (see `names_beside`) names
    as many; for any other number it has to, with a line for the background or without.

    Raises:
        DetectorError: missing, unsafe, not weights of this architecture, or without class names.
    """
    check_architecture(architecture)
    if not weights.is_file():
        raise DetectorError(f"{weights}: no such file; {architecture}=PATH needs weights that are on this machine")
    state = read_state(weights)
    count = _count_rows(architecture, state)
    if count is None:
        raise DetectorError(f"{weights} does not fit {architecture}: it has no {_classifier(architecture)[0]}")
    rows = _row_names(architecture, weights, count)
    model = build_model(architecture, count)
    _load(model, state, weights, architecture)
    _set_frozen_norms(model, state, architecture)
    labels = tuple(name for name in rows if is_class(name))
    size = 320 if "320" in architecture else 800
    about = Description(weights.stem, architecture, labels, size, MIN_SCORE, file_hash(weights), TORCHVISION)
    return TorchvisionDetector(model, about, rows, square=False, device=device)


def start_from(model: nn.Module, weights: Path) -> int:
    """Takes from a file every tensor that fits by name and shape: of a whole detector with other classes, or of a
    backbone alone (ImageNet's); returns how many.

    Raises:
        DetectorError: it cannot be read, or nothing in it fits.
    """
    own = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state = read_state(weights)
    found = [
        {prefix + name: tensor for name, tensor in state.items() if own.get(prefix + name) == tensor.shape}
        for prefix in ("", "backbone.body.")
    ]
    fitting = max(found, key=len)
    if not fitting:
        raise DetectorError(f"{weights}: nothing in it fits this architecture, neither as a detector nor as a backbone")
    model.load_state_dict(fitting, strict=False)
    return len(fitting)


# --- building -------------------------------------------------------------------------------------


def _faster_rcnn(architecture: str, rows: int, image_size: int | None, options: Mapping[str, Any]) -> nn.Module:
    from torchvision.models import detection

    given: dict[str, Any] = {"box_score_thresh": _LOWEST_SCORE, "box_detections_per_img": _MAX_DETECTIONS}
    if image_size is not None:
        given |= {"min_size": image_size, "max_size": image_size}
        if image_size < _FEW_BELOW:
            given |= {"rpn_pre_nms_top_n_test": 2 * _FEW_PROPOSALS, "rpn_post_nms_top_n_test": _FEW_PROPOSALS}
    given |= options
    if architecture == SMALL:
        return _small_faster_rcnn(rows, image_size or 256, given)
    builder = getattr(detection, architecture)
    model: nn.Module = builder(weights=None, weights_backbone=None, num_classes=rows, **given)
    if image_size is not None:
        sides = [side * image_size for side in _ANCHOR_SIDES]
        rpn: Any = model.rpn
        rpn.anchor_generator = _anchors([sides] * 3 if "mobilenet" in architecture else [[side] for side in sides])
    return model


def _small_faster_rcnn(rows: int, image_size: int, options: Mapping[str, Any]) -> nn.Module:
    """Faster R-CNN on a ResNet-18 whose norms learn (torchvision freezes those of pre-trained backbones), a pyramid of
    128 channels from stride 8 up, and a box head of 512: 15 million parameters, made to learn from nothing."""
    from torchvision.models import resnet18
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.ops import MultiScaleRoIAlign

    width, box_width, cells = 128, 512, 7
    layers = {f"layer{number}": str(number - 2) for number in (2, 3, 4)}  # strides 8, 16, 32; 64 comes by pooling
    model: nn.Module = FasterRCNN(
        BackboneWithFPN(resnet18(weights=None), layers, [128, 256, 512], width),
        rpn_anchor_generator=_anchors([[side * image_size] for side in _ANCHOR_SIDES[1:]]),
        box_roi_pool=MultiScaleRoIAlign(list(layers.values()), output_size=cells, sampling_ratio=2),
        box_head=TwoMLPHead(width * cells**2, box_width),
        box_predictor=FastRCNNPredictor(box_width, rows),
        **options,
    )
    return model


def _anchors(sides_px: Sequence[Sequence[float]]) -> nn.Module:
    """Anchors of these sides, level by level, in three shapes."""
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    generator: nn.Module = AnchorGenerator(
        tuple(tuple(round(side) for side in sides) for sides in sides_px), (_RATIOS,) * len(sides_px)
    )
    return generator


# --- the user's weights ---------------------------------------------------------------------------


def _classifier(architecture: str) -> tuple[str, int]:
    """The tensor whose first axis is classes times anchors, and the anchors at a place."""
    if architecture in FASTER_RCNN:
        return "roi_heads.box_predictor.cls_score.weight", 1
    if architecture in RETINANET:
        return "head.classification_head.cls_logits.weight", 9
    return "head.classification_head.module_list.0.1.weight", 6


def _count_rows(architecture: str, state: Mapping[str, Tensor]) -> int | None:
    name, anchors = _classifier(architecture)
    return len(state[name]) // anchors if name in state and state[name].ndim else None


def _row_names(architecture: str, weights: Path, count: int) -> tuple[str, ...]:
    """What each output stands for."""
    names = names_beside(weights)
    if count == _COCO_ROWS and (names is None or names == COCO_THINGS):
        from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights as Weights

        return tuple(Weights.COCO_V1.meta["categories"])
    if names is None:
        raise DetectorError(
            f"{weights} has {count} outputs, and nothing names them: write the {count - 1} class names into "
            f"{weights.with_suffix('.names').name} or classes.txt beside it, one a line, in the order of training"
        )
    if len(names) == count - 1:
        return ("background", *names)
    if len(names) == count and (architecture in RETINANET or not is_class(names[0])):
        return names
    raise DetectorError(
        f"{weights} has {count} outputs, the first for the background, and the names beside it are {len(names)}: "
        f"it needs {count - 1} class names"
    )


def _load(model: nn.Module, state: Mapping[str, Tensor], weights: Path, architecture: str) -> None:
    """By torchvision's own loading, which also knows the names of older versions."""
    try:
        lacking, spare = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise DetectorError(f"{weights} does not fit {architecture}: {one_line(error)}") from error
    if lacking or spare:
        first = f"lacks {lacking[0]}" if lacking else f"has {spare[0]}"
        raise DetectorError(
            f"{weights} does not fit {architecture}: {len(lacking) + len(spare)} tensors differ, it {first}"
        )


def _set_frozen_norms(model: nn.Module, state: Mapping[str, Tensor], architecture: str) -> None:
    """Weights that learned with frozen norms bring no counters; torchvision then adds nothing to their variances in the
    first two architectures, whose COCO weights are older than that addend."""
    frozen = not any(name.endswith("num_batches_tracked") for name in state)
    if frozen and architecture in ("fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn"):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0


def _whole(image: Image.Image) -> tuple[np.ndarray, tuple[int, int]]:
    return np.asarray(image.convert("RGB")), image.size
