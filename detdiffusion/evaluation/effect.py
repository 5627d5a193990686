"""Does asking for easy or hard do what it says: scores of one set of pictures, and what changes between two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detdiffusion.detection import Detections, Detector
from detdiffusion.errors import ConfigError
from detdiffusion.evaluation.bootstrap import (
    Counts,
    Estimate,
    Samples,
    estimate_mean,
    interval,
    resampled_ap,
    resampled_mean,
    resamples,
)
from detdiffusion.evaluation.coco_ap import AveragePrecision, coco_scores
from detdiffusion.evaluation.comparison import mean, object_confidences
from detdiffusion.layout import Attribute, Layout

# Our choice: shares of the picture, so that a size means the same at every resolution (APs, APm, APl are COCO's own).
SIZES = {"small": 0.02, "medium": 0.1, "large": math.inf}  # less than


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the objects: how many, how many found, how sure."""

    objects: int
    recall50: float
    mean_confidence: float


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Scores of one set of P pictures, things only, as fractions; NaN where there is nothing to count."""

    precision: AveragePrecision
    objects: int
    recall50: float  # share of objects whose confidence reaches the detector's `min_score`
    mean_confidence: float
    by_attribute: dict[str, Group]  # by what the objects truly are, whatever the prompt asked for
    by_class: dict[str, Group]
    by_size: dict[str, Group]
    confidences: tuple[tuple[float, ...], ...]  # of the objects of each picture; NaN: not a thing that counts
    samples: dict[str, Samples]  # AP50, mAP, recall50, mean_confidence in every resample of the pictures: [R]


def measure(layouts: Sequence[Layout], detections: Sequence[Detections], detector: Detector) -> Block:
    """Scores of P pictures. `layouts` carry the true attributes; `detections` are the detector's, a picture each."""
    confidences = [
        object_confidences(layout, found, known_labels=detector.labels)
        for layout, found in zip(layouts, detections, strict=True)
    ]
    precision, matches = coco_scores(layouts, detections, things(layouts) & set(detector.labels))
    drawn = resamples(len(layouts))
    flat, owners = np.concatenate(confidences), owners_of(confidences)
    found = np.where(np.isnan(flat), np.nan, flat >= detector.min_score)
    ap50, ladder = resampled_ap(matches, drawn)
    whole = _group(flat, detector.min_score)
    return Block(
        precision=precision,
        objects=whole.objects,
        recall50=whole.recall50,
        mean_confidence=whole.mean_confidence,
        confidences=tuple(tuple(values.tolist()) for values in confidences),
        samples={
            "AP50": ap50,
            "mAP": ladder,
            "recall50": resampled_mean(found, owners, drawn),
            "mean_confidence": resampled_mean(flat, owners, drawn),
        },
        **_groups(layouts, flat, detector.min_score),
    )


def confidence_drop(before: Block, after: Block) -> Estimate:
    """What the objects of the same layouts lose in confidence, object by object.

    Raises:
        ConfigError: the blocks are not of the same objects.
    """
    drops, owners = _losses(before, after)
    return estimate_mean(drops, owners, resamples(len(before.confidences)))


def score_drop(before: Block, after: Block, name: str) -> Estimate:
    """What the pictures of the same layouts lose in AP50 or mAP (`name`), by paired resampling."""
    lost: float = getattr(before.precision, name) - getattr(after.precision, name)
    return Estimate(lost, interval(before.samples[name] - after.samples[name]))


@dataclass(frozen=True, slots=True)
class Transfer:
    """One object of each picture was asked to be hard: what it lost, and what the easy objects around it lost.

    ratio: own by others; NaN where the others lost nothing.
    """

    own: Estimate
    others: Estimate
    ratio: float


def transfer(easy: Block, one_hard: Block, tagged: Sequence[int | None]) -> Transfer:
    """`tagged`: the object of each picture that was asked to be hard in `one_hard`, where there was one."""
    losses, owners = _losses(easy, one_hard)
    own = np.concatenate([_is(place, len(row)) for place, row in zip(tagged, easy.confidences, strict=True)])
    chosen = np.repeat([place is not None for place in tagged], [len(row) for row in easy.confidences])
    drawn = resamples(len(tagged))
    its_own = estimate_mean(np.where(own, losses, np.nan), owners, drawn)
    others = estimate_mean(np.where(~own & chosen, losses, np.nan), owners, drawn)
    return Transfer(its_own, others, its_own.mean / others.mean if others.mean > 0 else float("nan"))


def things(layouts: Iterable[Layout]) -> set[str]:
    """Classes that some layout has as a thing: easy or hard."""
    return {box.label for layout in layouts for box in layout.boxes if box.attribute is not Attribute.BACKGROUND}


def hard_share(layouts: Sequence[Layout]) -> float:
    """Share of the things that are hard."""
    found = [box.attribute for layout in layouts for box in layout.boxes if box.attribute is not Attribute.BACKGROUND]
    return mean([attribute is Attribute.HARD for attribute in found])


def owners_of(rows: Sequence[Sequence[float] | NDArray[np.float64]]) -> Counts:
    """The picture of every object: [3 objects, 1 object] -> [0, 0, 0, 1]."""
    return np.repeat(np.arange(len(rows)), [len(row) for row in rows])


def size_of(area: float) -> str:
    """small, medium or large, by the box's share of the picture."""
    return next(name for name, bound in SIZES.items() if area < bound)


def numbers(values: dict[str, Any], digits: int = 6) -> dict[str, Any]:
    """The same values, rounded, with None for NaN: JSON has no word for it."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        if not isinstance(value, float):
            return value
        return None if np.isnan(value) else round(value, digits)

    return {key: plain(value) for key, value in values.items()}


def _losses(before: Block, after: Block) -> tuple[Samples, Counts]:
    if [len(row) for row in before.confidences] != [len(row) for row in after.confidences]:
        raise ConfigError("a drop needs two sets of images of the same layouts")
    pairs = zip(before.confidences, after.confidences, strict=True)
    return np.concatenate([np.subtract(b, a) for b, a in pairs]), owners_of(before.confidences)


def _is(place: int | None, count: int) -> NDArray[np.bool_]:
    return np.asarray(np.arange(count) == (-1 if place is None else place))


def _group(confidences: Samples, min_score: float) -> Group:
    known = confidences[~np.isnan(confidences)]
    return Group(len(known), mean(known >= min_score), mean(known))


def _groups(layouts: Sequence[Layout], confidences: Samples, min_score: float) -> dict[str, dict[str, Group]]:
    """The objects that count, by what they truly are, by class and by size."""
    boxes = [box for layout in layouts for box in layout.boxes]
    classes = sorted({box.label for box, value in zip(boxes, confidences, strict=True) if not math.isnan(value)})
    keys: dict[str, tuple[list[str | None], list[str]]] = {
        "by_attribute": ([box.attribute for box in boxes], [Attribute.EASY.value, Attribute.HARD.value]),
        "by_class": ([box.label for box in boxes], classes),
        "by_size": ([size_of(box.area) for box in boxes], list(SIZES)),
    }
    return {
        name: {key: _group(confidences[[has == key for has in of_boxes]], min_score) for key in wanted}
        for name, (of_boxes, wanted) in keys.items()
    }
