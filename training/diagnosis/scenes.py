"""The model of the data's own layouts, from which planned ones are drawn: real scenes, into which real boxes go.

How many objects there are, which go together, and what is behind them come from a real image that has an object of the
class in question. Where an object may be and how large comes from a real object: it is moved and scaled a little, and
stays what it was on every axis (size, place, crowding, truncation). So nothing is drawn of which the data have no
example.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from detdiffusion.layout import MAX_OBJECTS, Attribute, Box, EmptyLayout, Layout
from training.diagnosis.axes import EDGE, THIRDS, TOUCHED, Cuts
from training.diagnosis.evidence import Evidence, Role

MOVED = 0.05  # of the image's side by which an object is moved, at most
SCALED = 0.15  # of its size by which an object grows or shrinks, at most
TRIES = 8  # places that are tried for an object before it stays where it was
_DIGITS = 5  # of a box in fractions

Corners = tuple[float, float, float, float]
Places = NDArray[np.int64]
Key = tuple[int, int, int, int]  # size, x, y, cut by the edge


@dataclass(frozen=True, eq=False, slots=True)
class Thing:
    """An object of a layout that is being made. label: its class by number; added: it was put there."""

    label: int
    xyxy: Corners
    attribute: Attribute
    added: bool = False


class Scenes:
    """The things and scenes of the evidence, ready to be drawn from. Nothing changes once it is made."""

    def __init__(self, evidence: Evidence, cuts: Cuts, min_score: float) -> None:
        self.evidence, self.cuts = evidence, cuts
        kept = evidence.role != Role.CROWD
        self.things = np.flatnonzero(evidence.role <= Role.UNKNOWN)
        self.counted = np.flatnonzero(evidence.counted)
        found = (evidence.confidence >= min_score) & (evidence.confidence > 0)
        names = np.where(found, 0, 1)  # easy, hard
        self._attributes = np.where(evidence.counted, names, 2)
        self._boxes: list[Corners] = [tuple(row) for row in np.round(evidence.box.astype(float), _DIGITS + 1).tolist()]
        self._labels: list[int] = evidence.label.tolist()
        self._image: list[int] = evidence.image.tolist()
        self._starts: list[int] = np.searchsorted(evidence.image, np.arange(len(evidence.ids) + 1)).tolist()
        self._kept: list[bool] = kept.tolist()
        self._stuff: list[bool] = (evidence.role == Role.STUFF).tolist()
        self._sizes: list[tuple[int, int]] = [tuple(size) for size in evidence.sizes.tolist()]
        self._by_class = self._images_of_classes()
        counts = np.bincount(evidence.image[self.things], minlength=len(evidence.ids))
        self.most = int(min(MAX_OBJECTS, counts.max(initial=0)))  # things of an image

    def true_attribute(self, place: int) -> Attribute:
        """What the detector made of an object of the data: easy, hard, or background."""
        return tuple(Attribute)[int(self._attributes[place])]

    def label_of(self, place: int) -> int:
        """The class of an object of the data."""
        return self._labels[place]

    def real(self, image: int) -> Layout:
        """The layout of a real image, with what the detector made of its objects."""
        things = [
            Thing(self._labels[i], self._boxes[i], self.true_attribute(i))
            for i in range(self._starts[image], self._starts[image + 1])
            if self._kept[i]
        ]
        return self.layout(image, things)

    def layout(self, image: int, things: Sequence[Thing]) -> Layout:
        """A layout of the size of an image."""
        width, height = self._sizes[image]
        if not things:
            return EmptyLayout(width, height, ())
        names = self.names
        return Layout(width, height, tuple(Box(names[one.label], one.xyxy, one.attribute) for one in things))

    @cached_property
    def names(self) -> list[str]:
        """Of the classes, by number."""
        return [str(name) for name in self.evidence.labels.tolist()]

    def scene_for(self, place: int, rng: np.random.Generator) -> int:
        """An image with an object of the same class: what is in it goes with such objects."""
        images = self._by_class[self._labels[place]]
        return int(images[int(rng.integers(len(images)))])

    def scene(self, image: int) -> tuple[list[Thing], list[Thing]]:
        """What is behind, and the things, which are context: easy, or background where the detector does not know
        them."""
        stuff: list[Thing] = []
        things: list[Thing] = []
        for i in range(self._starts[image], self._starts[image + 1]):
            if self._stuff[i]:
                stuff.append(Thing(self._labels[i], self._boxes[i], Attribute.BACKGROUND))
            elif self._kept[i]:
                unknown = self._attributes[i] == 2
                attribute = Attribute.BACKGROUND if unknown else Attribute.EASY
                things.append(Thing(self._labels[i], self._boxes[i], attribute))
        return stuff, things

    def moved(self, place: int, image: int, rng: np.random.Generator) -> tuple[Corners, Corners | None]:
        """The box of an object of the data, moved and scaled a little within what it is; and the box of what covers
        most of it, moved alike, where anything does."""
        box, size = self._boxes[place], self._sizes[image]
        partner = self._partner(place)
        key, close = self.key(box, size), crowding(box, [] if partner is None else [partner])
        for dx, dy, grown in (rng.random((TRIES, 3)) * 2 - 1).tolist():
            how = (dx * MOVED, dy * MOVED, math.exp(grown * SCALED))
            new = _transformed(box, box, *how)
            if new is None or self.key(new, size) != key:
                continue
            other = None if partner is None else _transformed(partner, box, *how)
            if partner is None or (other is not None and crowding(new, [other]) == close):
                return new, other
        return box, partner

    def key(self, box: Corners, size: tuple[int, int]) -> Key:
        """What a box is on the axes that it has by itself."""
        x1, y1, x2, y2 = box
        area = (x2 - x1) * (y2 - y1)
        small, large = self.cuts.sizes
        dx, dy = EDGE / size[0], EDGE / size[1]
        cut = x1 <= dx or y1 <= dy or x2 >= 1 - dx or y2 >= 1 - dy
        return (area >= small) + (area >= large), _third((x1 + x2) / 2), _third((y1 + y2) / 2), int(cut)

    def partner_label(self, place: int) -> int:
        """The class of what covers most of an object."""
        return max(self._others(place), key=lambda one: covers(one[1], self._boxes[place]))[0]

    def _partner(self, place: int) -> Corners | None:
        """The box that covers most of an object, if any touches it."""
        others = [box for _, box in self._others(place)]
        best = max(others, key=lambda box: covers(box, self._boxes[place]), default=None)
        return best if best is not None and covers(best, self._boxes[place]) > 0 else None

    def _others(self, place: int) -> Iterator[tuple[int, Corners]]:
        image = self._image[place]
        for i in range(self._starts[image], self._starts[image + 1]):
            if i != place and self._kept[i] and not self._stuff[i]:
                yield self._labels[i], self._boxes[i]

    def _images_of_classes(self) -> list[Places]:
        images, labels = self.evidence.image[self.things], self.evidence.label[self.things]
        return [np.unique(images[labels == number]).astype(np.int64) for number in range(len(self.evidence.labels))]


def crowding(box: Corners, others: Sequence[Corners]) -> int:
    """0: apart, 1: touched, 2: overlapped by one of the others."""
    cover = max((covers(other, box) for other in others), default=0.0)
    return 2 if cover > TOUCHED else int(cover > 0)


def covers(other: Corners, box: Corners) -> float:
    """Share of a box that another one covers."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / ((box[2] - box[0]) * (box[3] - box[1]))


def _third(value: float) -> int:
    return (value >= THIRDS[0]) + (value >= THIRDS[1])


def _transformed(box: Corners, around: Corners, dx: float, dy: float, factor: float) -> Corners | None:
    """Scaled about the centre of `around` and moved; cut at the edges of the image where it was cut before. None where
    it leaves the image that it was within, or too little is left of it."""
    cx, cy = (around[0] + around[2]) / 2, (around[1] + around[3]) / 2
    x1, y1 = cx + (box[0] - cx) * factor + dx, cy + (box[1] - cy) * factor + dy
    x2, y2 = cx + (box[2] - cx) * factor + dx, cy + (box[3] - cy) * factor + dy
    new = (
        0.0 if box[0] <= 0 else x1,
        0.0 if box[1] <= 0 else y1,
        1.0 if box[2] >= 1 else x2,
        1.0 if box[3] >= 1 else y2,
    )
    x1, y1, x2, y2 = (round(side, _DIGITS) for side in new)
    inside = x1 >= 0 and y1 >= 0 and x2 <= 1 and y2 <= 1
    large = x2 - x1 > 0.5 * (box[2] - box[0]) and y2 - y1 > 0.5 * (box[3] - box[1])
    return (x1, y1, x2, y2) if inside and large else None
