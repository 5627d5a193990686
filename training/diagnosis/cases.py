"""The objects of a slice and the detections of a kind of error, image by image; and such images, drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from detdiffusion.detection import Detections, iou
from detdiffusion.drawing import draw_detections, draw_layout
from detdiffusion.evaluation.tide import RIGHT, ErrorType, is_kind
from detdiffusion.layout import Attribute, Box, EmptyLayout, Layout
from training.diagnosis.axes import Cuts
from training.diagnosis.diagnose import counted_axes
from training.diagnosis.evidence import Array, Evidence, Role, runs
from training.diagnosis.result import Diagnosis, Slice
from training.diagnosis.slices import objects_in

SIDE = 300  # pixels of a drawn image, across

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False, slots=True)
class Cases:
    """C objects, or detections: image [C] (in order), label [C] (as the data, or the detector, call it), box [C, 4],
    confidence [C] (0: missed), overlap [C]: IoU of the detection and the object, or of a wrong detection and the object
    nearest to it. objects: they are objects of the data."""

    image: Array
    label: Array
    box: Array
    confidence: Array
    overlap: Array
    objects: bool

    def ranked(self, by: Array, *, lowest: bool) -> Array:
        """The first case of each image, images in order of a number [C] of their first case."""
        order = np.argsort(by if lowest else -by, kind="stable")
        _, first = np.unique(self.image[order], return_index=True)
        return np.asarray(order[np.sort(first)])

    @classmethod
    def of_objects(cls, evidence: Evidence, places: Array) -> Cases:
        """Of boxes of the data."""
        one, at = evidence, places
        return cls(one.image[at], one.label[at], one.box[at], one.confidence[at], one.overlap[at], objects=True)

    @classmethod
    def of_slice(cls, found: Diagnosis, evidence: Evidence, wanted: Slice) -> Cases:
        """The objects of a slice."""
        axes = counted_axes(evidence, Cuts.from_json(found.cuts))
        return cls.of_objects(evidence, objects_in(axes, evidence.counted, wanted.bounds))

    @classmethod
    def of_error(cls, found: Diagnosis, evidence: Evidence, kind: ErrorType) -> Cases:
        """The detections of a kind of error, or the objects that were missed: as many as the diagnosis counts."""
        one, wrong = evidence, np.flatnonzero(evidence.errors().wrong(kind, found.error_score))
        if kind is ErrorType.MISSED:
            return cls.of_objects(one, np.flatnonzero(one.counted)[wrong])
        image, box = one.found_image[wrong], one.found_box[wrong]
        return cls(image, one.found_label[wrong], box, one.score[wrong], _nearest(one, image, box), objects=False)


def _nearest(evidence: Evidence, image: Array, box: Array) -> Array:
    """Best IoU of each box [C, 4] with an object of its image [C]."""
    best = np.zeros(len(image))
    for number, start, end in runs(image):
        first, last = np.searchsorted(evidence.image, (number, number + 1))
        objects = evidence.box[first:last][evidence.counted[first:last]]
        best[start:end] = iou(box[start:end], objects).max(axis=1, initial=0.0)
    return best


def as_found(evidence: Evidence, image: int, min_score: float, *, counted: bool = False) -> Layout:
    """The layout of an image of the data: what the detector finds is easy, what it misses is hard, the rest is
    background. counted: the objects that recall is of, alone."""
    one = evidence
    kept = one.counted if counted else one.role != Role.CROWD
    boxes = tuple(
        Box(str(one.labels[one.label[i]]), _fractions(one.box[i]), _tag(one, i, min_score))
        for i in np.flatnonzero((one.image == image) & kept).tolist()
    )
    width, height = one.sizes[image].tolist()
    return Layout(width, height, boxes) if boxes else EmptyLayout(width, height, ())


def drawn(evidence: Evidence, image: int, shown: Image.Image, min_score: float) -> Image.Image:
    """An image of the data, small: green what was found, red what was missed, with a score what is wrong."""
    one = evidence
    small = shown.resize((SIDE, max(1, round(SIDE * shown.height / shown.width))), Image.Resampling.BICUBIC)
    wrong = (one.found_image == image) & (one.score >= min_score) & ~is_kind(one.kind, RIGHT)
    labels = tuple(one.labels[one.found_label[wrong]].tolist())
    found = Detections(labels, one.score[wrong], one.found_box[wrong])
    return draw_detections(draw_layout(small, as_found(one, image, min_score, counted=True)), found, min_score)


def _tag(evidence: Evidence, place: int, min_score: float) -> Attribute:
    if evidence.role[place] != Role.COUNTED:
        return Attribute.BACKGROUND
    confidence = evidence.confidence[place]
    return Attribute.EASY if confidence > 0 and confidence >= min_score else Attribute.HARD


def _fractions(box: Array) -> Corners:
    x1, y1, x2, y2 = (min(1.0, max(0.0, float(side))) for side in box)
    return x1, y1, x2, y2
