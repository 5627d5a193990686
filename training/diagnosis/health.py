"""What is doubtful in the data themselves: copies, leaks between splits, odd boxes, labels that a sure detector
contradicts, classes with few objects. Nothing is changed: each finding is named, for somebody to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from detdiffusion.core.files import file_hash
from detdiffusion.detection import iou
from detdiffusion.errors import DataError
from detdiffusion.evaluation.tide import ErrorType, is_kind
from training.data.datasets import Dataset, open_dataset
from training.data.filters import EVERYTHING
from training.data.forms.recognise import recognise
from training.data.request import Reading
from training.data.splitting import groups_of
from training.diagnosis.axes import areas
from training.diagnosis.evidence import Array, Evidence, pixels

TINY_SIDE = 4.0  # pixels: what has a shorter side shows hardly anything
HUGE = 0.95  # share of the image
FEW = 50  # objects of a class: fewer teach and prove little
SURE = 0.8  # score from which on a detector's contradiction is worth a look
TWICE = 0.9  # IoU of two boxes of one class that are probably one object
SHOWN = 50  # examples of each kind


def check_health(dataset: Dataset, evidence: Evidence, others: Mapping[str, Dataset]) -> dict[str, Any]:
    """All findings, as JSON has them: of each kind the count and the first ones.

    Args:
        others: other splits of the same data, by name.
    """
    counted = evidence.counted
    side = _shorter_side(evidence)
    return {
        "duplicates": _duplicates(dataset),
        "leaks": {name: _leaks(dataset, other) for name, other in others.items()},
        "tiny": _boxes(evidence, np.flatnonzero(counted & (side < TINY_SIDE))),
        "huge": _boxes(evidence, np.flatnonzero(counted & (areas(evidence.box) > HUGE))),
        "twice": _boxes(evidence, _annotated_twice(evidence)),
        "missing": _contradictions(evidence, ErrorType.BACKGROUND),
        "misplaced": _contradictions(evidence, ErrorType.LOCATION),
        "swapped": _contradictions(evidence, ErrorType.CLASS),
        "few": _few(dataset, evidence),
    }


def other_splits(folder: Path, dataset: Dataset, split: str | None, reading: Reading) -> Iterator[tuple[str, Dataset]]:
    """The other splits of the data, for leaks: read like the one at hand. A split that cannot be read is passed over,
    and one that holds all of this one's images, or is a part of it, is no other split (VOC's trainval and train)."""
    way = recognise(folder, reading.images)
    if way is None or way.whole or reading.split_by is not None:
        return
    own = {path for path, _ in dataset.signatures()}
    for name in way.splits:
        if name == way.chosen(split):
            continue
        try:
            other = open_dataset(folder, filter=EVERYTHING, split=name, reading=reading)
        except DataError:
            continue
        theirs = {path for path, _ in other.signatures()}
        if not (own <= theirs or theirs <= own):
            yield name, other


def _duplicates(dataset: Dataset) -> dict[str, Any]:
    """Images of the data that look alike, in groups, those of the same bytes marked."""
    paths, signatures = _columns(dataset)
    groups = [group for group in groups_of(paths, signatures) if len(group) > 1]
    examples = []
    for group in groups[:SHOWN]:
        files = [paths[place] for place in group]
        hashes = {file_hash(dataset.root / file) for file in files}
        examples.append({"files": files, "same_bytes": len(hashes) == 1})
    return {"count": sum(map(len, groups)), "groups": len(groups), "examples": examples}


def _leaks(dataset: Dataset, other: Dataset) -> dict[str, Any]:
    """Images that look like one of another split: what is measured on them flatters."""
    paths, signatures = _columns(dataset)
    theirs, their_signatures = _columns(other)
    pairs, leaked = [], 0
    for group in groups_of([*paths, *theirs], [*signatures, *their_signatures]):
        mine = [paths[place] for place in group if place < len(paths)]
        same = [theirs[place - len(paths)] for place in group if place >= len(paths)]
        if mine and same:
            leaked += len(mine)
            pairs.append({"files": mine, "other": same})
    return {"count": leaked, "examples": pairs[:SHOWN]}


def _columns(dataset: Dataset) -> tuple[list[str], list[bytes]]:
    rows = list(dataset.signatures())
    return [path for path, _ in rows], [signature for _, signature in rows]


def _shorter_side(evidence: Evidence) -> Array:
    corners = pixels(evidence.box, evidence.sizes[evidence.image])
    return np.asarray((corners[:, 2:] - corners[:, :2]).min(axis=1, initial=np.inf))


def _annotated_twice(evidence: Evidence) -> Array:
    """Objects that nearly cover an earlier one of their class in their image."""
    found = []
    counted = np.flatnonzero(evidence.counted)
    starts = np.searchsorted(evidence.image[counted], np.arange(len(evidence.ids) + 1))
    for start, end in pairwise(starts):
        here = counted[start:end]
        if len(here) > 1:
            same = evidence.label[here][:, None] == evidence.label[here][None]
            near = np.triu(iou(evidence.box[here], evidence.box[here]) >= TWICE, 1) & same
            found += here[near.any(axis=0)].tolist()
    return np.array(found, np.int64)


def _boxes(evidence: Evidence, at: Array) -> dict[str, Any]:
    return {"count": len(at), "examples": [_box(evidence, place) for place in at[:SHOWN].tolist()]}


def _box(evidence: Evidence, place: int) -> dict[str, Any]:
    return {
        "image": str(evidence.ids[evidence.image[place]]),
        "label": str(evidence.labels[evidence.label[place]]),
        "box": _corners(evidence.box[place]),
    }


def _contradictions(evidence: Evidence, kind: ErrorType) -> dict[str, Any]:
    """Sure detections that nothing bears out, surest first: nothing is there (a label may be missing), or nothing else
    found the object that they are about (its box may be misplaced, its label another)."""
    sure = (evidence.score >= SURE) & is_kind(evidence.kind, kind) & ~evidence.in_crowd
    at = np.flatnonzero(sure)
    if kind is not ErrorType.BACKGROUND:
        at = at[evidence.confidence[evidence.about[at]] == 0]
    at = at[np.argsort(-evidence.score[at], kind="stable")]
    return {"count": len(at), "examples": [_contradiction(evidence, place) for place in at[:SHOWN].tolist()]}


def _contradiction(evidence: Evidence, place: int) -> dict[str, Any]:
    said = {
        "image": str(evidence.ids[evidence.found_image[place]]),
        "found": str(evidence.labels[evidence.found_label[place]]),
        "score": round(float(evidence.score[place]), 4),
        "found_box": _corners(evidence.found_box[place]),
    }
    about = int(evidence.about[place])
    if about < 0:
        return said
    return {**said, "label": str(evidence.labels[evidence.label[about]]), "box": _corners(evidence.box[about])}


def _few(dataset: Dataset, evidence: Evidence) -> list[dict[str, Any]]:
    """Classes of things with few objects, the rarest first."""
    counts = np.bincount(evidence.label, minlength=len(evidence.labels))
    rows = [(int(counts[number]), label) for number, label in enumerate(evidence.labels.tolist())]
    rare = sorted(row for row in rows if row[0] < FEW and row[1] in dataset.things)
    return [{"label": label, "objects": count} for count, label in rare]


def _corners(box: Sequence[float] | Array) -> list[float]:
    return [round(float(side), 6) for side in box]
