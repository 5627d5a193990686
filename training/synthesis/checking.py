"""`generate --check`: what a second detector says of a generated image, and whether the image can be learned from.

An object stays if anybody finds it. An image is refused, with the reasons, if its labels would be false in a way that
dropping an object does not put right, or if it is a near copy of an image that the model has learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detdiffusion.core.files import claim, sealed_file
from detdiffusion.detection import Detections, Detector, iou
from detdiffusion.evaluation.comparison import MIN_IOU, object_confidences
from detdiffusion.evaluation.fid import FeatureTeller
from detdiffusion.layout import Attribute, Layout
from training.core.arrays import load_arrays, save_arrays
from training.core.cli import progress
from training.core.reading import read_ahead
from training.data.datasets import Dataset, Sample
from training.synthesis.refinement import WEAK_SCORE, ObjectStatus, gone

SURE = 0.8  # score from which a detection is believed against what was asked for
APART = 0.1  # IoU up to which a detection has nothing to do with an object
MOST_ABSENT = 0.5  # share of the things of an image that may be absent
NEAR = 0.01  # of the originals are as near to another one as what counts as a copy
_BATCH = 16

Floats = NDArray[np.float64]
Refusal = dict[str, Any]


class Reason(StrEnum):
    """Why an image is refused."""

    ABSENT = "absent"  # most of its things are not there
    WRONG_CLASS = "wrong class"  # a thing looks like another class
    EXTRA = "extra"  # a thing is there that nobody asked for, so that it has no label
    COPY = "copy"  # of an image that the model has learned


@dataclass(frozen=True, eq=False, slots=True)
class Originals:
    """Images that the model has learned, as a detector sees them: files [P], features [P, D] in units of their spread,
    near: distance under which an image is a copy."""

    files: Sequence[str]
    features: Floats
    spread: Floats
    near: float

    @classmethod
    def of(cls, files: Sequence[str], features: NDArray[np.floating[Any]]) -> Originals:
        """A copy is nearer to an original than 99 in 100 originals are to another one."""
        spread = features.std(axis=0).astype(np.float64) + 1e-6
        scaled = features / spread
        nearest = [_distances(scaled[i : i + 1], np.delete(scaled, i, axis=0)).min() for i in _some(len(scaled))]
        return cls(files, scaled, spread, float(np.quantile(nearest, NEAR)) if nearest else 0.0)

    def nearest(self, features: NDArray[np.floating[Any]]) -> tuple[str, float]:
        """The original that is nearest to an image [D], and how far it is."""
        distances = _distances((features / self.spread)[None], self.features)[0]
        best = int(distances.argmin())
        return self.files[best], float(distances[best])


def read_originals(dataset: Dataset, detector: FeatureTeller, path: Path) -> Originals:
    """The originals of a data set; kept in `path`, where the first of several workers puts them.

    Raises:
        DataError: an image cannot be read.
    """
    with claim(path.with_suffix(".lock"), wait=True):
        if not sealed_file(path):
            files, rows = [], []
            read = read_ahead(iter(dataset), Sample.load_image, _BATCH)
            with progress("originals", "image", tell=False) as report:
                for done, (sample, image) in enumerate(read, start=1):
                    files.append(sample.path.relative_to(dataset.root).as_posix())
                    rows.append(detector.features([image])[0])
                    report(done, len(dataset), {})
            save_arrays(path, {"files": np.array(files), "features": np.stack(rows)})
        kept = load_arrays(path)
    return Originals.of(kept["files"].tolist(), kept["features"])


@dataclass(frozen=True, slots=True)
class Checker:
    """detector: the second one, which is asked beside the job's own; originals: None: copies are not looked for."""

    detector: Detector
    originals: Originals | None = None

    def look(self, images: Sequence[Image.Image]) -> list[Detections]:
        """What the second detector sees."""
        return list(self.detector.detect(images))

    def check(
        self, image: Image.Image, layout: Layout, statuses: Sequence[ObjectStatus], seen: Sequence[Detections]
    ) -> tuple[list[ObjectStatus], list[Refusal]]:
        """What became of each object, and why the image is refused, if it is.

        Args:
            statuses: by the job's own detector and the perception head.
            seen: by the second detector, then by the job's own.
        """
        after = _found_by_second(layout, statuses, seen[0], self.detector)
        refusals: list[Refusal] = []
        for place, said in _other_classes(layout, after, seen[0]):
            refusals.append({"reason": Reason.WRONG_CLASS, "object": place, **said})
        refusals += [{"reason": Reason.EXTRA, **said} for said in _extras(layout, seen)]
        checked = [one for one in after if one is not ObjectStatus.UNCHECKED]
        absent = checked.count(ObjectStatus.GONE)
        if checked and absent > MOST_ABSENT * len(checked):
            refusals.append({"reason": Reason.ABSENT, "absent": absent, "things": len(checked)})
        return after, refusals + self._copy(image)

    def _copy(self, image: Image.Image) -> list[Refusal]:
        teller: object = self.detector
        if self.originals is None or not isinstance(teller, FeatureTeller):
            return []
        file, distance = self.originals.nearest(teller.features([image])[0])
        if distance >= self.originals.near:
            return []
        return [{"reason": Reason.COPY, "nearest": file, "distance": round(distance, 4)}]


def faults(statuses: Sequence[ObjectStatus], refusals: Sequence[Refusal]) -> int:
    """How much is wrong with an image: the best of several has least."""
    return gone(statuses) + len(refusals)


def _found_by_second(
    layout: Layout, statuses: Sequence[ObjectStatus], seen: Detections, detector: Detector
) -> list[ObjectStatus]:
    """Absent objects that the second detector finds stay; hard ones even where it only suspects them."""
    confidences = object_confidences(layout, seen, known_labels=detector.labels)
    least = [WEAK_SCORE if box.attribute is Attribute.HARD else detector.min_score for box in layout.boxes]
    return [
        ObjectStatus.SECOND if status is ObjectStatus.GONE and confidence >= bound else status
        for status, confidence, bound in zip(statuses, confidences.tolist(), least, strict=True)
    ]


def _other_classes(
    layout: Layout, statuses: Sequence[ObjectStatus], seen: Detections
) -> list[tuple[int, dict[str, Any]]]:
    """Things that nobody finds, and that the second detector is sure are of another class."""
    sure = seen.at_least(SURE)
    overlaps = iou(np.array([box.xyxy for box in layout.boxes]), sure.boxes_xyxy)  # [N, M]
    asked = {box.label for box in layout.boxes if box.attribute is not Attribute.BACKGROUND}
    found = []
    for place, status in enumerate(statuses):
        at = np.flatnonzero(overlaps[place] >= MIN_IOU) if status is ObjectStatus.GONE else ()
        for which in at:
            label = sure.labels[which]
            # Another object that was asked for may lie there: then this one is hidden, not wrong.
            if label != layout.boxes[place].label and not (label in asked and _belongs(layout, sure, int(which))):
                found.append((place, {"found": label, "score": round(float(sure.scores[which]), 4)}))
                break
    return found


def _belongs(layout: Layout, found: Detections, which: int) -> bool:
    same = [box.xyxy for box in layout.boxes if box.label == found.labels[which]]
    return bool((iou(np.array(same), found.boxes_xyxy[which : which + 1]) >= MIN_IOU).any())


def _extras(layout: Layout, seen: Sequence[Detections]) -> list[dict[str, Any]]:
    """Sure detections, by either detector, where nothing was asked for; each place once."""
    things = np.array([box.xyxy for box in layout.boxes if box.attribute is not Attribute.BACKGROUND])
    found: list[dict[str, Any]] = []
    for one in seen:
        sure = one.at_least(SURE)
        apart = iou(sure.boxes_xyxy, things).max(axis=1, initial=0) <= APART
        for which in np.flatnonzero(apart):
            box = sure.boxes_xyxy[which].tolist()
            if all(iou(np.array([box]), np.array([other["box"]]))[0, 0] < MIN_IOU for other in found):
                score = round(float(sure.scores[which]), 4)
                found.append({"found": sure.labels[which], "score": score, "box": [round(v, 4) for v in box]})
    return found


def _distances(one: Floats, other: Floats) -> Floats:
    """Root mean square differences: [A, D], [B, D] -> [A, B]."""
    squares = np.square(one).sum(axis=1)[:, None] + np.square(other).sum(axis=1)[None] - 2 * one @ other.T
    return np.asarray(np.sqrt(np.maximum(squares, 0) / one.shape[1]))


def _some(count: int) -> list[int]:
    """At most some thousand places, evenly spread."""
    return list(range(0, count, -(-count // 2000))) if count > 1 else []
