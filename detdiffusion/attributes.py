"""Perception-aware attributes: what a detector finds is easy, what it misses is hard (DetDiffusion, Eq. 2)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from detdiffusion.detection import Detections, iou
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.layout import Attribute, Box, Layout


class Strategy(StrEnum):
    """Which attributes a prompt asks for (DetDiffusion, Fig. 3)."""

    ORIGIN = "origin"  # as the detector gave them
    EASY = "easy"  # all things easy
    HARD = "hard"  # all things hard


@dataclass(frozen=True, slots=True)
class AttributeRule:
    """gamma and beta of Eq. 2. Their values are in no public source: 0.5 and 0.5 are our choice."""

    min_score: float = 0.5  # gamma: a detection is kept if its score is above it
    min_iou: float = 0.5  # beta: an object is easy if a kept detection overlaps it by more
    match_class: bool = True  # our choice: the detection must also name the object's class

    def __post_init__(self) -> None:
        if not (0 <= self.min_score < 1 and 0 <= self.min_iou < 1):
            raise ConfigError(f"min_score {self.min_score} and min_iou {self.min_iou} need to be in 0 <= value < 1")


def apply_strategy(layout: Layout, strategy: Strategy) -> Layout:
    """The layout with the attributes that a strategy asks for; background objects never change. Where all things are
    asked to be easy or hard, no object has a difficulty of its own any more.

    Raises:
        LayoutError: an object has no attribute yet (`Vocabulary.resolve` or `label_attributes` gives it one).
        ConfigError: there is no such strategy.
    """
    if strategy not in tuple(Strategy):
        raise ConfigError(f"strategy {strategy!r} needs to be one of {', '.join(Strategy)}")
    strategy = Strategy(strategy)  # from its name, too
    bare = [i for i, box in enumerate(layout.boxes, start=1) if box.attribute is None]
    if bare:
        raise LayoutError([f"object {i} ({layout.boxes[i - 1].label}): it has no attribute yet" for i in bare])
    if strategy is Strategy.ORIGIN:
        return layout
    wanted = Attribute(strategy.value)
    background = Attribute.BACKGROUND
    layout = replace(layout, boxes=tuple(replace(box, difficulty=None) for box in layout.boxes))
    return layout.with_attributes([background if box.attribute is background else wanted for box in layout.boxes])


def label_attributes(
    layout: Layout, detections: Detections, known_labels: Collection[str], rule: AttributeRule | None = None
) -> Layout:
    """Eq. 2: easy if some detection with score > gamma has IoU > beta with the object, else hard; a class that the
    detector cannot know is background. `detections` are those on the real picture of this layout."""
    rule = rule or AttributeRule()
    kept = detections.scores > rule.min_score  # [N]
    overlaps = iou(np.array([box.xyxy for box in layout.boxes]), detections.boxes_xyxy) > rule.min_iou  # [M, N]
    names = np.array(detections.labels, dtype=object)

    def attribute(box: Box, overlap: np.ndarray) -> Attribute:
        if box.label not in known_labels:
            return Attribute.BACKGROUND
        same_class = names == box.label if rule.match_class else True
        return Attribute.EASY if bool(np.any(overlap & kept & same_class)) else Attribute.HARD

    return layout.with_attributes([attribute(box, row) for box, row in zip(layout.boxes, overlaps, strict=True)])
