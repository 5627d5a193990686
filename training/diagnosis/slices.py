"""Slices of the objects (a class, a size, a place, ... and up to three of them together) that a detector finds less
often than the others.

A slice is named if its recall is below the average by more than `LEAST_GAP`, which chance alone does not explain: an
exact binomial test against average - gap, for as many objects as they are worth (objects of one image are alike: Kish's
design effect), corrected for all slices that were looked at (Holm, 1979). Of slices that overlap, the one that explains
the others is named: a part of a slice only if it is worse than the rest of it, and a whole only if it is still worse
without what is named already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from detdiffusion.evaluation.bootstrap import Counts, estimate_mean, resamples
from training.diagnosis.axes import Axis
from training.diagnosis.evidence import Array, Bools
from training.diagnosis.result import Slice

DEPTH = 3  # conditions of a slice, at most
LEAST_OBJECTS, LEAST_IMAGES = 20, 10  # of a slice: fewer say too little
LEAST_GAP = 0.05  # of recall: less than that is no weakness worth images
ALPHA = 0.05  # chance that any slice is named though none is worse
SHOWN = 300  # slices that are not named, at most


@dataclass(frozen=True, eq=False, slots=True)
class Objects:
    """The N objects that recall is of: image [N] (in order), found [N] (0 or 1), confidence [N]."""

    image: Array
    found: Array
    confidence: Array
    images: int  # of the data

    @property
    def recall(self) -> float:
        """Of all."""
        return float(self.found.mean()) if len(self.found) else float("nan")


@dataclass(frozen=True, slots=True)
class Cell:
    """Objects with the same values on some axes. conditions: (axis, value) by number."""

    conditions: tuple[tuple[int, int], ...]
    count: int
    images: int
    found: int
    worth: float  # how many independent objects its objects are worth
    upper: float = field(default=1.0)  # of the recall, by Wilson's interval

    @property
    def recall(self) -> float:
        """Share of its objects that were found."""
        return self.found / self.count


@dataclass(frozen=True, slots=True)
class Found:
    """Slices by what they say: `named`, worst first; `others`, worst first; how many were looked at."""

    named: tuple[Slice, ...]
    others: tuple[Slice, ...]
    tested: int


def find_slices(objects: Objects, axes: Sequence[Axis], gap: float = LEAST_GAP, drawn: Counts | None = None) -> Found:
    """All slices with enough objects.

    Args:
        axes: with a code of each of the N objects.
        drawn: of `resamples`, where they are at hand: [R, images].
    """
    alike = likeness(objects)
    cells = list(_distinct(_cells(objects, axes, alike)))
    if not cells:
        return Found((), (), 0)
    bound = objects.recall - gap
    p = {cell.conditions: value for cell, value in zip(cells, _holm(_tails(cells, bound)), strict=True)}
    drawn = resamples(objects.images) if drawn is None else drawn
    ranked = sorted(cells, key=lambda cell: (cell.upper, cell.conditions))
    chosen, explained = _named(
        objects, axes, [cell for cell in ranked if p[cell.conditions] < ALPHA], bound, len(cells)
    )

    def describe(cell: Cell) -> Slice:
        reason = explained.get(cell.conditions)
        why = None if reason is None else name_of(axes, reason)
        return _described(objects, axes, cell, p[cell.conditions], why, drawn)

    named = [describe(cell) for cell in chosen]
    named = [one for one in named if one.ci95[1] < objects.recall]
    names = {one.name for one in named}
    others = [cell for cell in ranked if name_of(axes, cell.conditions) not in names][:SHOWN]
    return Found(tuple(named), tuple(map(describe, others)), len(cells))


def name_of(axes: Sequence[Axis], conditions: Sequence[tuple[int, int]]) -> str:
    """ "car, left": how people call it."""
    return ", ".join(str(axes[axis].words[value]) for axis, value in conditions)


def members(axes: Sequence[Axis], conditions: Sequence[tuple[int, int]]) -> Bools:
    """Which objects are in a slice: [N]."""
    inside = np.ones(len(axes[0].codes), np.bool_)
    for axis, value in conditions:
        inside &= axes[axis].codes == value
    return inside


def conditions_of(axes: Sequence[Axis], bounds: dict[str, Any]) -> tuple[tuple[int, int], ...] | None:
    """The conditions of a slice by its bounds; None where an axis or a value is not there."""
    found = []
    for name, bound in bounds.items():
        axis = next((place for place, one in enumerate(axes) if one.name == name), None)
        known = [] if axis is None else [_plain(one) for one in axes[axis].bounds]
        if axis is None or _plain(bound) not in known:
            return None
        found.append((axis, known.index(_plain(bound))))
    return tuple(found)


def objects_in(axes: Sequence[Axis], counted: Bools, bounds: Mapping[str, Any]) -> Array:
    """Places of a slice's objects among all boxes of the data; none where an axis or a value is not there.

    Args:
        axes: with a code of each counted box.
        counted: which boxes of the data those are.
    """
    conditions = conditions_of(axes, dict(bounds))
    return np.flatnonzero(counted)[members(axes, conditions)] if conditions else np.zeros(0, np.int64)


def likeness(objects: Objects) -> float:
    """How alike the objects of one image are: their intra-class correlation, 0 to 1 (analysis of variance)."""
    images = np.bincount(objects.image, minlength=objects.images)
    found = np.bincount(objects.image, objects.found, minlength=objects.images)
    p = objects.recall
    pairs = float((images * (images - 1)).sum()) * p * (1 - p)
    if not pairs > 0:
        return 0.0
    shared = np.square(found - p * images).sum() - np.square(objects.found - p).sum()
    return float(np.clip(shared / pairs, 0, 1))


# --- cells ----------------------------------------------------------------------------------------


def _cells(objects: Objects, axes: Sequence[Axis], alike: float) -> Iterator[Cell]:
    """Every combination of values with enough objects, short ones first."""
    for depth in range(1, DEPTH + 1):
        for chosen in combinations(range(len(axes)), depth):
            yield from _cells_of(objects, axes, chosen, alike)


def _cells_of(objects: Objects, axes: Sequence[Axis], chosen: Sequence[int], alike: float) -> Iterator[Cell]:
    shape = tuple(len(axes[axis].words) for axis in chosen)
    known = np.all([axes[axis].codes >= 0 for axis in chosen], axis=0)
    code = np.ravel_multi_index([axes[axis].codes[known] for axis in chosen], shape).astype(np.int64)
    cells = int(np.prod(shape))
    count = np.bincount(code, minlength=cells)
    found = np.bincount(code, objects.found[known], minlength=cells)
    keys, sizes = np.unique(code * objects.images + objects.image[known], return_counts=True)  # a cell in an image
    images = np.bincount(keys // objects.images, minlength=cells)
    squares = np.bincount(keys // objects.images, np.square(sizes), minlength=cells)
    for cell in np.flatnonzero((count >= LEAST_OBJECTS) & (images >= LEAST_IMAGES)).tolist():
        together = squares[cell] / count[cell]  # objects of the cell in the image of one of them, with itself
        worth = float(count[cell] / (1 + (together - 1) * alike))
        values = [int(value) for value in np.unravel_index(cell, shape)]
        upper = _wilson(float(found[cell] / count[cell]), worth)
        conditions = tuple(zip(chosen, values, strict=True))
        yield Cell(conditions, int(count[cell]), int(images[cell]), round(found[cell]), worth, upper)


def _distinct(cells: Iterator[Cell]) -> Iterator[Cell]:
    """Without those that hold the same objects as a shorter one ("platelet, small" where all platelets are small)."""
    counts: dict[tuple[tuple[int, int], ...], int] = {}
    for cell in cells:
        counts[cell.conditions] = cell.count
        if not any(counts.get(parent) == cell.count for parent in _parents(cell.conditions)):
            yield cell


def _parents(conditions: tuple[tuple[int, int], ...]) -> list[tuple[tuple[int, int], ...]]:
    lengths = range(1, len(conditions))
    return [parent for length in lengths for parent in combinations(conditions, length)]


# --- tests ----------------------------------------------------------------------------------------


def _tails(cells: Sequence[Cell], bound: float) -> Array:
    """Chance of a recall as low as each cell's if its true recall were `bound`: [S]."""
    return np.array([_tail(cell.recall, cell.worth, bound) for cell in cells])


def _tail(recall: float, worth: float, bound: float) -> float:
    """P(X <= recall * worth) of a binomial with `worth` draws at `bound`, as the incomplete beta function has it for
    any number of draws."""
    from scipy.special import betainc

    missed = worth * (1 - recall)
    if missed <= 0 or not 0 < bound < 1:
        return 1.0
    return float(betainc(missed, worth * recall + 1, 1 - bound))


def _holm(p: Array) -> Array:
    """Adjusted for all of them: [S] -> [S]."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty(len(p))
    out[order] = np.minimum(steps, 1)
    return out


def _wilson(recall: float, worth: float, z: float = 1.96) -> float:
    """Upper end of the 95 % interval (Wilson, 1927): it means something for few objects and for none found, too."""
    middle = recall + z * z / (2 * worth)
    half = z * np.sqrt(recall * (1 - recall) / worth + z * z / (4 * worth * worth))
    return float((middle + half) / (1 + z * z / worth))


# --- which of those that overlap ------------------------------------------------------------------


def _named(
    objects: Objects, axes: Sequence[Axis], worse: Sequence[Cell], bound: float, tested: int
) -> tuple[list[Cell], dict[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]]:
    """The cells that explain the others, worst first, and of each other one the one that explains it."""
    by_conditions = {cell.conditions: cell for cell in worse}
    explained: dict[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]] = {}
    for cell in worse:
        whole = [by_conditions[key] for key in _parents(cell.conditions) if key in by_conditions]
        like = [one for one in whole if not _worse_than_rest(cell, one, tested)]
        if like:
            explained[cell.conditions] = min(like, key=lambda one: (one.upper, one.conditions)).conditions
    chosen: list[Cell] = []
    taken = np.zeros(len(objects.found), np.bool_)
    for cell in worse:
        if cell.conditions in explained:
            continue
        inside = members(axes, cell.conditions)
        left = inside & ~taken
        count = int(left.sum())
        rest = float(objects.found[left].mean()) if count else 1.0
        worth = cell.worth * count / cell.count
        if not chosen or (count >= LEAST_OBJECTS and _tail(rest, worth, bound) * tested < ALPHA):
            chosen.append(cell)
            taken |= inside
        else:
            shared = [int((members(axes, one.conditions) & inside).sum()) for one in chosen]
            explained[cell.conditions] = chosen[int(np.argmax(shared))].conditions
    return chosen, explained


def _worse_than_rest(part: Cell, whole: Cell, tested: int) -> bool:
    """Whether the recall of a part is below that of the rest of the whole, beyond chance."""
    count = whole.count - part.count
    if count < LEAST_OBJECTS:
        return False
    rest = (whole.found - part.found) / count
    return _tail(part.recall, part.worth, rest) * tested < ALPHA and part.recall < rest - LEAST_GAP


def _described(
    objects: Objects, axes: Sequence[Axis], cell: Cell, p: float, explained_by: str | None, drawn: Counts
) -> Slice:
    inside = members(axes, cell.conditions)
    images, owners = np.unique(objects.image[inside], return_inverse=True)
    here = drawn[:, images]  # images without an object of the cell change nothing
    recall = estimate_mean(objects.found[inside].astype(np.float64), owners, here)
    confidence = estimate_mean(objects.confidence[inside].astype(np.float64), owners, here)
    return Slice(
        name=name_of(axes, cell.conditions),
        bounds={axes[axis].name: _plain(axes[axis].bounds[value]) for axis, value in cell.conditions},
        count=cell.count,
        images=cell.images,
        recall=recall.mean,
        ci95=recall.ci95,
        confidence=confidence.mean,
        confidence_ci95=confidence.ci95,
        gap=objects.recall - recall.mean,
        p=float(p),
        explained_by=explained_by,
    )


def _plain(bound: Any) -> Any:
    """As JSON has it, rounded alike."""
    if isinstance(bound, list | tuple):
        return [round(float(value), 6) for value in bound]
    return bound
