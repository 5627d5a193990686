"""Layouts by need: most of them show what the detector fails at, some cover what the data have, nothing goes beyond it.

The failures' share is split between the named slices by their gaps (points of recall below the average). Without a
named slice it goes to objects that were missed. The share for coverage goes to all cells of class, size and place
that the data have, rare ones as often as frequent ones. An added object is asked to be hard where the detector should
learn from it; what stands around it is easy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from detdiffusion.core.files import hash_number
from detdiffusion.errors import ConfigError, DataError
from detdiffusion.layout import MAX_OBJECTS, Attribute, Layout
from training.diagnosis.axes import Axis, Cuts
from training.diagnosis.diagnose import counted_axes
from training.diagnosis.evidence import Evidence
from training.diagnosis.result import Diagnosis, Slice
from training.diagnosis.scenes import Places, Scenes, Thing, covers
from training.diagnosis.slices import objects_in
from training.synthesis.augment import Missed, augmented

COVERAGE = 0.3  # share of the layouts
ADD = 3  # objects that a layout gets, at most
MISSED = "missed objects"  # what failures are where no slice is named
_AXES = ("class", "size", "x", "y")  # of a cell of the coverage


class Strategy(StrEnum):
    """How layouts are made: by need, or as `generate --augment` and `--add-missed` make them."""

    NEED = "need"
    AUGMENT = "augment"
    ADD_MISSED = "add-missed"


@dataclass(frozen=True, eq=False, slots=True)
class Target:
    """Objects of the data of which more are wanted. weight: its share of the layouts. hard: it is a failure, so that
    its objects are asked to be hard."""

    name: str
    places: Places
    weight: float
    hard: bool


@dataclass(frozen=True, slots=True)
class Planned:
    """A layout, and why: of which target, how many objects were added."""

    number: int
    layout: Layout
    target: str
    hard: bool
    added: int

    def to_json(self) -> dict[str, Any]:
        """As a row of layouts.jsonl; readers of layouts pass over what is beside the layout."""
        why = {"target": self.target, "failure": self.hard, "added": self.added}
        return {"number": self.number, **self.layout.to_json(), "plan": why}


@dataclass(frozen=True, eq=False, slots=True)
class Budget:
    """What the layouts are spent on. skipped: slices that were asked for and have no example; empty: cells of class,
    size and place without one: nothing is made of either."""

    failures: tuple[Target, ...]
    coverage: tuple[Target, ...]
    share: float  # of coverage
    skipped: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For people."""
        rows = [f"{100 * (1 - self.share):.0f} % for what the detector fails at:"]
        rows += [f"  {100 * one.weight:.0f} %: {one.name} ({len(one.places):,} examples)" for one in self.failures]
        rows.append(f"{100 * self.share:.0f} % for coverage: {len(self.coverage):,} cells of class, size and place")
        rows += [f"skipped: {name} has no example in the data" for name in self.skipped]
        if self.empty:
            named = "; ".join(self.empty[:8])
            rows.append(f"left out, for the data have no example: {len(self.empty):,} cells, such as {named}")
        return rows


def make_budget(
    diagnosis: Diagnosis, evidence: Evidence, share: float = COVERAGE, wanted: Sequence[str] = ()
) -> Budget:
    """What layouts are spent on. wanted: names of slices in place of all that the diagnosis names.

    Raises:
        ConfigError: the diagnosis lists no slice of that name, or none that was asked for has an example.
        DataError: there is no object in the data.
    """
    axes = counted_axes(evidence, Cuts.from_json(diagnosis.cuts))
    counted = np.flatnonzero(evidence.counted)
    if not len(counted):
        raise DataError(f"{diagnosis.source.data} has no object that the detector knows, so nothing can be planned")
    chosen = [_listed(diagnosis, name) for name in wanted] or list(diagnosis.slices)
    failures, skipped = [], []
    for one in chosen:
        inside = objects_in(axes, evidence.counted, one.bounds)
        if len(inside):
            failures.append(Target(one.name, inside, max(one.gap, 1e-3), hard=True))
        else:
            skipped.append(one.name)
    if wanted and not failures:
        raise ConfigError(f"no example of {', '.join(skipped)} in the data: nothing can be made of it")
    cells, empty = _cells(axes, counted)
    targets = _shares(failures or _missed(diagnosis, evidence, counted))
    return Budget(targets, cells, share, tuple(skipped), tuple(empty))


def _listed(diagnosis: Diagnosis, name: str) -> Slice:
    found = diagnosis.slice(name)
    if found is None:
        near = ", ".join(one.name for one in (*diagnosis.slices, *diagnosis.others)[:8]) or "none"
        raise ConfigError(f"the diagnosis lists no slice {name!r}; it lists {near}, ...")
    return found


def _missed(diagnosis: Diagnosis, evidence: Evidence, counted: Places) -> list[Target]:
    """Where no slice is named: all objects that were missed, or where none was, all objects."""
    missed = counted[evidence.confidence[counted] < max(diagnosis.source.min_score, 1e-6)]
    return [Target(MISSED if len(missed) else "all objects", missed if len(missed) else counted, 1.0, hard=True)]


def _shares(targets: Sequence[Target]) -> tuple[Target, ...]:
    whole = sum(one.weight for one in targets)
    return tuple(replace(one, weight=one.weight / whole) for one in targets)


def _cells(axes: Sequence[Axis], counted: Places) -> tuple[tuple[Target, ...], list[str]]:
    """Cells of class, size and place with an example, equally heavy; names of those without one."""
    used = [axis for name in _AXES for axis in axes if axis.name == name]
    shape = tuple(len(axis.words) for axis in used)
    of_class = int(np.prod(shape[1:]))  # cells
    code = np.ravel_multi_index([axis.codes for axis in used], shape)
    classes = set(used[0].codes.tolist())
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    filled = code[order][starts]
    groups = np.split(counted[order], starts[1:])

    def name(cell: int) -> str:
        values = np.unravel_index(cell, shape)
        return ", ".join(str(axis.words[int(value)]) for axis, value in zip(used, values, strict=True))

    there = set(filled.tolist())
    possible = (cell for label in sorted(classes) for cell in range(label * of_class, (label + 1) * of_class))
    empty = [name(cell) for cell in possible if cell not in there]
    pairs = zip(filled.tolist(), groups, strict=True)
    return tuple(Target(name(cell), group, 1 / len(filled), hard=False) for cell, group in pairs), empty


# --- drawing --------------------------------------------------------------------------------------


class Planner:
    """Draws layouts by need; the layout of a number is the same whatever else is drawn."""

    def __init__(self, scenes: Scenes, budget: Budget, seed: int, add: int = ADD) -> None:
        self.scenes, self.budget, self.seed, self.add = scenes, budget, seed, add
        self._weights = np.cumsum([one.weight for one in budget.failures])
        self._by_class = [self._split(target) for target in budget.failures]

    def draw(self, number: int) -> Planned:
        """The layout of a number."""
        rng = np.random.default_rng((self.seed, number))
        failure = rng.random() >= self.budget.share
        targets = self.budget.failures if failure else self.budget.coverage
        which = self._failure(rng) if failure else int(rng.integers(len(targets)))
        target = targets[which]
        first = int(target.places[int(rng.integers(len(target.places)))])
        image = self.scenes.scene_for(first, rng)
        stuff, things = self.scenes.scene(image)
        alike = self._by_class[which][self.scenes.label_of(first)] if failure else target.places
        added: list[Thing] = []
        for place in (first, *(int(one) for one in rng.choice(alike, int(rng.integers(0, self.add))))):
            self._add(place, image, target, added, rng)
        context = _context(things, added, self.scenes.most)
        layout = self.scenes.layout(image, [*context, *added, *stuff][:MAX_OBJECTS])
        return Planned(number, layout, target.name, failure, sum(one.added for one in added))

    def _failure(self, rng: np.random.Generator) -> int:
        place = int(np.searchsorted(self._weights, rng.random() * self._weights[-1], side="right"))
        return min(place, len(self.budget.failures) - 1)

    def _add(self, place: int, image: int, target: Target, added: list[Thing], rng: np.random.Generator) -> None:
        """Puts an object of the data there, with what covers most of it where anything does, unless it would touch what
        was put there before."""
        box, partner = self.scenes.moved(place, image, rng)
        new = [box] if partner is None else [box, partner]
        if any(covers(a, b) or covers(b, a) for a in new for b in (one.xyxy for one in added)):
            return
        if len(added) + len(new) > self.scenes.most:
            return
        attribute = Attribute.HARD if target.hard else self.scenes.true_attribute(place)
        added.append(Thing(self.scenes.label_of(place), box, attribute, added=True))
        if partner is not None:
            added.append(Thing(self.scenes.partner_label(place), partner, Attribute.EASY))

    def _split(self, target: Target) -> dict[int, Places]:
        """A target's objects by class: those of one layout are of one class, as they go with its scene."""
        labels = self.scenes.evidence.label[target.places]
        return {int(label): target.places[labels == label] for label in np.unique(labels)}


def _context(things: Sequence[Thing], added: Sequence[Thing], most: int) -> list[Thing]:
    """The things of the scene that leave what was added as it is, touched by its own partner alone; no more than the
    data have in an image."""
    boxes = [one.xyxy for one in added]
    free = [one for one in things if not any(covers(one.xyxy, box) or covers(box, one.xyxy) for box in boxes)]
    return free[: max(0, most - len(added))]


class Repeated:
    """Real layouts, mirrored and shifted, or with more of the classes that the detector misses: what `generate
    --augment` and `--add-missed` do, from a diagnosis."""

    def __init__(self, scenes: Scenes, strategy: Strategy, seed: int, add: int = ADD) -> None:
        self.scenes, self.strategy, self.seed, self.add = scenes, strategy, seed, add
        self.images = np.unique(scenes.evidence.image[scenes.things])
        everything = (scenes.real(int(image)) for image in self.images)
        self.missed = Missed.of(everything) if strategy is Strategy.ADD_MISSED else None

    def draw(self, number: int) -> Planned:
        """The layout of a number: real ones in turn."""
        layout = self.scenes.real(int(self.images[number % len(self.images)]))
        seed = hash_number(f"{self.seed}/{number}", 6)
        new = augmented(layout, seed) if self.missed is None else self.missed.add(layout, seed, self.add)
        added = len(new.boxes) - len(layout.boxes)
        return Planned(number, new, self.strategy.value, hard=self.missed is not None, added=max(0, added))
