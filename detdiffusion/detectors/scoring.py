"""How sure a detector is of objects that somebody asked for, so that gradients reach the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

MIN_IOU = 0.5  # a candidate with at least this overlap is of the object
NEAREST = 3  # candidates that count in any case: an object that is not found yet can be improved
SHARP = 8  # of the best candidates share in a score: the gradient of the best one alone moves the next best up


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a detector considers in one image, before it suppresses any: boxes [A, 4] in fractions of the image, and the
    probability of each class in each [C, A]."""

    boxes: Tensor
    probabilities: Tensor


def score_candidates(
    found: Sequence[Candidates], boxes: Sequence[Tensor], rows: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Confidence in asked objects, [N] for each image: about the best probability of the object's class among the
    candidates that lie on its box.

    Args:
        boxes: [N, 4] of each image, in fractions.
        rows: the class of every object, as the detector numbers them; -1: none of its own, whose score is 0.
    """
    return [_scores(one, box, row) for one, box, row in zip(found, boxes, rows, strict=True)]


def _scores(found: Candidates, boxes: Tensor, rows: Sequence[int]) -> Tensor:
    index = torch.tensor(rows, device=boxes.device)
    overlap = box_iou(boxes, found.boxes.detach())  # [N, A]
    near = overlap >= MIN_IOU
    nearest = overlap.topk(min(NEAREST, overlap.shape[1]), dim=1).indices
    near = near.scatter(1, nearest, torch.ones_like(near))
    values = found.probabilities[index.clamp(min=0)].masked_fill(~near, 0.0)  # [N, A]
    best = values.topk(min(SHARP, values.shape[1]), dim=1).values
    weights = (best.detach().clamp(1e-6, 1 - 1e-6)).logit().softmax(1)
    return torch.where(index < 0, 0.0, (weights * best).sum(1))


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union: [N, 4], [M, 4] -> [N, M]."""
    low, high = torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(-1) for box in (a, b)]
    return overlap / (areas[0][:, None] + areas[1][None] - overlap).clamp(min=1e-9)


def fit_square(images: Tensor, size: int, level: Sequence[float], *, centred: bool) -> tuple[Tensor, Tensor]:
    """Images [B, 3, H, W] scaled to fit squares of `size` pixels, as the detectors' own functions do with PIL images,
    and (left, top, width, height) in pixels that they have there [4].

    level: of the padding, red, green and blue in 0..1.
    """
    scale = size / max(images.shape[-2:])
    height, width = (max(round(side * scale), 1) for side in images.shape[-2:])
    left, top = ((size - width) // 2, (size - height) // 2) if centred else (0, 0)
    scaled = interpolate(images, (height, width), mode="bilinear", align_corners=False)
    colour = torch.tensor(level, device=images.device).view(1, 3, 1, 1)
    square = pad(scaled - colour, (left, size - width - left, top, size - height - top)) + colour
    return square, torch.tensor([left, top, width, height], device=images.device)


def torchvision_scores(
    model: Any, images: Tensor, boxes: Sequence[Tensor], rows: Sequence[Sequence[int]]
) -> list[Tensor]:
    """`score_candidates` of a detection model of torchvision. Faster R-CNN looks at the asked boxes themselves.

    Args:
        images: [B, 3, H, W] in 0..1.
        boxes: [N, 4] of each image, in fractions.
    """
    scaled, _ = model.transform(list(images))
    maps = model.backbone(scaled.tensors)
    maps = maps if isinstance(maps, Mapping) else {"0": maps}
    sides = [torch.tensor([width, height] * 2, device=images.device) for height, width in scaled.image_sizes]
    if hasattr(model, "roi_heads"):
        return _of_regions(
            model.roi_heads, maps, [b * side for b, side in zip(boxes, sides, strict=True)], scaled, rows
        )
    levels = list(maps.values())
    output, anchors = model.head(levels), model.anchor_generator(scaled, levels)
    logits = output["cls_logits"]  # [B, A, C]
    shares = logits.softmax(-1) if type(model).__name__ == "SSD" else logits.sigmoid()
    found = [
        Candidates(model.box_coder.decode_single(output["bbox_regression"][i], anchors[i]) / sides[i], shares[i].T)
        for i in range(len(images))
    ]
    return score_candidates(found, boxes, rows)


def _of_regions(
    heads: Any, maps: Mapping[str, Tensor], boxes: list[Tensor], scaled: Any, rows: Sequence[Sequence[int]]
) -> list[Tensor]:
    pooled = heads.box_roi_pool(maps, boxes, scaled.image_sizes)
    logits, _ = heads.box_predictor(heads.box_head(pooled))
    scores = []
    for share, row in zip(logits.softmax(-1).split([len(box) for box in boxes]), rows, strict=True):
        index = torch.tensor(row, device=share.device)
        value = share.gather(1, index.clamp(min=0)[:, None])[:, 0]
        scores.append(torch.where(index < 0, 0.0, value))
    return scores
