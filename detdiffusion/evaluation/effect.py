"""Does asking for easy or hard do what it says: scores of one set of pictures, and the drop between two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detdiffusion.comparison import bootstrap_ci, mean, object_confidences
from detdiffusion.detection import Detections, Detector
from detdiffusion.errors import ConfigError
from detdiffusion.evaluation.coco_ap import AveragePrecision, coco_ap
from detdiffusion.layout import Attribute, Layout


@dataclass(frozen=True, slots=True)
class Group:
    """Objects of one true attribute: how many, how many found, how sure."""

    objects: int
    recall50: float
    mean_confidence: float


@dataclass(frozen=True, slots=True)
class Block:
    """Scores of one set of pictures, things only, as fractions."""

    precision: AveragePrecision
    objects: int
    recall50: float  # share of objects whose confidence reaches `min_score`
    mean_confidence: float
    by_attribute: dict[Attribute, Group]  # by what the objects truly are, whatever the prompt asked for
    confidences: tuple[tuple[float, ...], ...]  # of the objects of each picture; NaN: not a thing that counts

    def to_json(self) -> dict[str, Any]:
        groups = {attribute.value: numbers(asdict(group)) for attribute, group in self.by_attribute.items()}
        scores = {"recall50": self.recall50, "mean_confidence": self.mean_confidence, "objects": self.objects}
        return {**numbers({**asdict(self.precision), **scores}), "by_attribute": groups}


def measure(layouts: Sequence[Layout], detections: Sequence[Detections], detector: Detector) -> Block:
    """Scores of P pictures. `layouts` carry the true attributes; `detections` are the detector's, a picture each."""
    confidences = [
        object_confidences(layout, found, known_labels=detector.labels)
        for layout, found in zip(layouts, detections, strict=True)
    ]
    counted = things(layouts) & set(detector.labels)
    flat = np.concatenate(confidences)
    attributes = np.array([box.attribute for layout in layouts for box in layout.boxes], dtype=object)
    groups = {a: flat[(attributes == a) & ~np.isnan(flat)] for a in (Attribute.EASY, Attribute.HARD)}
    every = flat[~np.isnan(flat)]
    return Block(
        precision=coco_ap(layouts, detections, counted),
        objects=len(every),
        recall50=mean(every >= detector.min_score),
        mean_confidence=mean(every),
        by_attribute={
            attribute: Group(len(values), mean(values >= detector.min_score), mean(values))
            for attribute, values in groups.items()
        },
        confidences=tuple(tuple(values.tolist()) for values in confidences),
    )


@dataclass(frozen=True, slots=True)
class Drop:
    """Mean confidence lost from easy to hard, object by object, with a 95 % interval over whole layouts."""

    mean: float
    ci95: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        return numbers({"mean": self.mean, "ci95": list(self.ci95)})


def confidence_drop(easy: Block, hard: Block, seed: int = 0) -> Drop:
    """What the objects of the same layouts lose. ConfigError if the blocks are not of the same objects."""
    if [len(row) for row in easy.confidences] != [len(row) for row in hard.confidences]:
        raise ConfigError("the drop needs easy and hard pictures of the same layouts")
    pictures = [picture for picture, row in enumerate(easy.confidences) for _ in row]
    drops = np.concatenate([np.subtract(e, h) for e, h in zip(easy.confidences, hard.confidences, strict=True)])
    known = ~np.isnan(drops)
    return Drop(mean(drops[known]), bootstrap_ci(drops[known], np.asarray(pictures)[known].tolist(), seed=seed))


def things(layouts: Sequence[Layout]) -> set[str]:
    """Classes that some layout has as a thing: easy or hard."""
    return {box.label for layout in layouts for box in layout.boxes if box.attribute is not Attribute.BACKGROUND}


def hard_share(layouts: Sequence[Layout]) -> float:
    """Share of the things that are hard."""
    found = [box.attribute for layout in layouts for box in layout.boxes if box.attribute is not Attribute.BACKGROUND]
    return mean([attribute is Attribute.HARD for attribute in found])


def numbers(values: dict[str, Any], digits: int = 6) -> dict[str, Any]:
    """The same values, rounded, with None for NaN: JSON has no word for it."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        if not isinstance(value, float):
            return value
        return None if np.isnan(value) else round(value, digits)

    return {key: plain(value) for key, value in values.items()}
