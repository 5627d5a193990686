"""YOLOv4 (Bochkovskiy et al. 2020) from Darknet's files: the detector of the paper's fidelity scores.

As in Darknet's own `detector test`, a picture is stretched to the network's size, unless the .cfg says letter_box=1
(YOLOv4-CSP), and boxes are suppressed a class at a time at 0.45. Two deviations, as in OpenCV: pictures are resized by
the centres of their pixels, where Darknet aligns the corners, and overlap is IoU, where Darknet's `nms_kind=greedynms`
takes DIoU, a little less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from detdiffusion.core.files import file_hash
from detdiffusion.detection import Detections
from detdiffusion.detectors.darknet import Network, Section, YoloLayer, parse_cfg, read_weights
from detdiffusion.detectors.folder import MIN_SCORE
from detdiffusion.detectors.names import names_beside
from detdiffusion.errors import DetectorError, why
from detdiffusion.text.vocabulary import COCO_THINGS

_LOWEST_SCORE = 0.001
_NMS_IOU = 0.45
_CANDIDATES = 2000  # best boxes of a picture that go into the suppression
_MAX_DETECTIONS = 100
_IMAGES_A_PASS = 8
_GREY = 0.5  # of Darknet's letterbox
_WILD = 1e6  # pictures: random weights make boxes of any size, and the suppression needs finite ones

# The standard network: filters and residual blocks of CSPDarknet53's stages, then three scales, fine to coarse, each
# with its filters, anchors by number and scale_x_y.
_STAGES = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))
_HEADS = ((256, "0,1,2", 1.2), (512, "3,4,5", 1.1), (1024, "6,7,8", 1.05))
_ANCHORS = "12,16, 19,36, 40,28, 36,75, 76,55, 72,146, 142,110, 192,243, 459,401"
_STANDARD_SIZE = (608, 608)


class YoloV4Detector:
    """A network of Darknet behind the `Detector` protocol. Pictures of any size; boxes come back in fractions."""

    min_score = MIN_SCORE

    def __init__(
        self, network: Network, name: str, labels: Sequence[str], sha256: str, device: torch.device | None = None
    ) -> None:
        self.name, self.labels, self.sha256 = name, tuple(labels), sha256
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = network.eval().to(self._device)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides what it finds, beside its weights."""
        network = self._network
        return {
            "version": f"torch {torch.__version__}",
            "head": "letterbox" if network.letter_box else "stretch",
            "image_size": [network.width, network.height],
            "thresholds": {"lowest_score": _LOWEST_SCORE, "nms_iou": _NMS_IOU, "max_detections": _MAX_DETECTIONS},
        }

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        """At most 100 detections a picture, down to score 0.001, after non-maximum suppression (a class at a time)."""
        found: list[Detections] = []
        for start in range(0, len(images), _IMAGES_A_PASS):
            found += self._detect_batch(images[start : start + _IMAGES_A_PASS])
        return found

    @torch.inference_mode()
    def _detect_batch(self, images: Sequence[Image.Image]) -> list[Detections]:
        network = self._network
        pixels, frames = zip(*(fitted(image, network) for image in images), strict=True)
        boxes, scores = decode(network, network(torch.stack(pixels).to(self._device)))
        return [self._detections(*one) for one in zip(boxes, scores, frames, strict=True)]

    def _detections(self, boxes: Tensor, scores: Tensor, frame: Frame) -> Detections:
        box, score, label = (found.cpu() for found in suppress(boxes, scores))
        corner, side = torch.tensor([frame.left, frame.top]), torch.tensor([frame.width, frame.height])
        box = ((box - corner.repeat(2)) / side.repeat(2)).clamp(0, 1)
        return Detections(tuple(self.labels[int(i)] for i in label), score.clamp(0, 1).numpy(), box.numpy())


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a picture lies in what the network sees, in fractions of that."""

    left: float
    top: float
    width: float
    height: float


def load_yolov4(
    cfg: Path | None,
    weights: Path,
    labels: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    device: torch.device | None = None,
) -> YoloV4Detector:
    """A detector from Darknet's files.

    Args:
        cfg: the network's text; None: the .cfg beside the weights (their own name, or the only one there), else the
            standard YOLOv4.
        labels: class names in the order of its training; by default those of a .names or classes.txt file beside the
            weights, else COCO's, if there are 80 classes.
        size: width and height that the network sees, in pixels, in place of the .cfg's (608 by 608).

    Raises:
        DetectorError: a file is missing, is damaged, or does not fit the others.
    """
    if not weights.is_file():
        raise DetectorError(f"{weights}: no such file; give the .weights file of a YOLOv4 that is on this machine")
    cfg = cfg or _cfg_beside(weights)
    names = tuple(labels or names_beside(weights) or COCO_THINGS)
    about = "the standard YOLOv4 (there is no .cfg beside the weights)" if cfg is None else str(cfg)
    try:
        sections = standard_yolov4(len(names)) if cfg is None else parse_cfg(cfg.read_text(encoding="utf-8"))
        network = Network(sections, size)
        read_weights(network, weights)
    except (OSError, UnicodeDecodeError) as error:
        raise DetectorError(f"{about} and {weights} cannot be read: {why(error)}") from error
    except DetectorError as error:
        raise DetectorError(f"{about}: {error}") from error
    for yolo in network.yolos.values():
        if yolo.classes != len(names):
            raise DetectorError(
                f"{about} has {yolo.classes} classes, and there are {len(names)} names: write them, one a line and in "
                f"the order of training, into {weights.with_suffix('.names').name} beside the weights"
            )
    return YoloV4Detector(network, weights.stem, names, file_hash(weights), device)


def standard_yolov4(classes: int = 80) -> list[Section]:
    """The network of the paper, which AlexeyAB/darknet calls yolov4.cfg: backbone, spatial pyramid, two ways, heads."""
    width, height = _STANDARD_SIZE
    layers = [Section("net", {"width": str(width), "height": str(height)}), _conv(32, 3)]
    for number, (filters, blocks) in enumerate(_STAGES):
        layers += _stage(filters, blocks, split=number > 0)
    pools = [_pool(5), _route(-2), _pool(9), _route(-4), _pool(13), _route(-1, -3, -5, -6)]
    layers += [*_leaky(512, 3), *pools, *_leaky(512, 3)]
    for filters, finer in ((256, 85), (128, 54)):  # up: the coarser map beside the backbone's finer one
        lateral = [_conv(filters, 1, "leaky"), Section("upsample", {"stride": "2"}), _route(finer)]
        layers += [*lateral, _conv(filters, 1, "leaky"), _route(-1, -3), *_leaky(filters, 5)]
    for number, (filters, mask, scale) in enumerate(_HEADS):
        if number:  # down: the finer map beside the coarser one of the way up
            layers += [_route(-4), _conv(filters // 2, 3, "leaky", 2), _route(-1, (-16, -37)[number - 1])]
            layers += _leaky(filters // 2, 5)
        layers += [_conv(filters, 3, "leaky"), _conv(3 * (5 + classes), 1, "linear", normalised=False)]
        values = {"mask": mask, "anchors": _ANCHORS, "classes": str(classes), "scale_x_y": str(scale)}
        layers.append(Section("yolo", values))
    return layers


def fitted(image: Image.Image, network: Network) -> tuple[Tensor, Frame]:
    """A picture at the network's size, [3, height, width] float32 in 0..1, RGB: stretched, or with grey around it."""
    across, down = network.width, network.height
    width, height = across, down
    if network.letter_box:  # the longer side fits; the other is cut to whole pixels, as Darknet does
        width = max(1, min(across, image.width * down // image.height))
        height = max(1, min(down, image.height * across // image.width))
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
    if image.size != (width, height):
        pixels = F.interpolate(pixels[None], (height, width), mode="bilinear", align_corners=False)[0]
    left, top = (across - width) // 2, (down - height) // 2
    whole = torch.full((3, down, across), _GREY)
    whole[:, top : top + height, left : left + width] = pixels
    return whole, Frame(left / across, top / down, width / across, height / down)


def decode(network: Network, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Raw maps -> boxes [B, M, 4] (x1, y1, x2, y2 in fractions, unclipped) and scores [B, M, K].

    A score is the probability of the class times that of an object; M runs over layers, anchors, rows and columns.
    """
    size = (network.width, network.height)
    parts = [_decode_one(raw, yolo, size) for raw, yolo in zip(maps, network.yolos.values(), strict=True)]
    return torch.cat([box for box, _ in parts], dim=1), torch.cat([score for _, score in parts], dim=1)


def suppress(boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [M, 4] and class scores [M, K] of one picture -> the boxes [N, 4] that stay, their scores and classes [N],
    best first. A box may stay for several classes."""
    from torchvision.ops import batched_nms

    best = scores.flatten().topk(min(_CANDIDATES, scores.numel()))
    kept = best.values >= _LOWEST_SCORE
    score, place = best.values[kept], best.indices[kept]
    box, label = boxes[place // scores.shape[1]], place % scores.shape[1]
    # Classes are kept apart by shifting their boxes, as far as the farthest one: single precision would lose the edges.
    chosen = batched_nms(box.double().clamp(-_WILD, _WILD), score.double(), label, _NMS_IOU)[:_MAX_DETECTIONS]
    return box[chosen], score[chosen], label[chosen]


def _decode_one(raw: Tensor, yolo: YoloLayer, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    batch, _, height, width = raw.shape
    cells = raw.float().reshape(batch, len(yolo.anchors), 5 + yolo.classes, height, width)
    cells = cells.permute(0, 1, 3, 4, 2)  # [B, A, h, w, 5 + K]
    place, side, chance = cells[..., :2], cells[..., 2:4], cells[..., 4:]
    if yolo.new_coords:
        side = (2 * side).square()
    else:
        place, side, chance = place.sigmoid(), side.exp(), chance.sigmoid()
    corner = torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"), dim=-1).to(raw)
    # scale_x_y lets a centre lie on the edge of its cell (YOLOv4, "eliminate grid sensitivity").
    centre = (place * yolo.scale_xy - (yolo.scale_xy - 1) / 2 + corner) / raw.new_tensor([width, height])
    anchors = raw.new_tensor(yolo.anchors)[:, None, None] / raw.new_tensor(size)  # [A, 1, 1, 2]
    half = side * anchors / 2
    boxes = torch.cat([centre - half, centre + half], dim=-1).reshape(batch, -1, 4)
    scores = chance[..., 1:] * chance[..., :1]
    return boxes, scores.reshape(batch, -1, yolo.classes)


def _cfg_beside(weights: Path) -> Path | None:
    own, others = weights.with_suffix(".cfg"), sorted(weights.parent.glob("*.cfg"))
    if own.is_file():
        return own
    if len(others) > 1:
        names = ", ".join(path.name for path in others)
        raise DetectorError(f"{weights}: which network is it of, {names}? Name the right one {own.name}")
    return others[0] if others else None


def _conv(filters: int, size: int, activation: str = "mish", stride: int = 1, normalised: bool = True) -> Section:
    values = {"filters": filters, "size": size, "stride": stride, "pad": 1, "batch_normalize": int(normalised)}
    return Section("convolutional", {**{key: str(value) for key, value in values.items()}, "activation": activation})


def _route(*layers: int) -> Section:
    return Section("route", {"layers": ",".join(map(str, layers))})


def _pool(size: int) -> Section:
    return Section("maxpool", {"stride": "1", "size": str(size)})


def _leaky(filters: int, count: int) -> list[Section]:
    """Narrow and wide in turn."""
    return [_conv(filters * (1 + i % 2), 1 + 2 * (i % 2), "leaky") for i in range(count)]


def _stage(filters: int, blocks: int, split: bool) -> list[Section]:
    """A cross-stage partial stage: half of the channels go through the residual blocks, half pass them by (in the first
    stage all of them do both)."""
    part = filters // 2 if split else filters
    block = [_conv(filters // 2, 1), _conv(part, 3), Section("shortcut", {"from": "-3", "activation": "linear"})]
    first = [_conv(filters, 3, stride=2), _conv(part, 1), _route(-2), _conv(part, 1)]
    return [*first, *block * blocks, _conv(part, 1), _route(-1, -(3 * blocks + 4)), _conv(filters, 1)]
