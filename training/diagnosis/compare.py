"""Two diagnoses of the same data, before and after: what changed, image by image paired, so that the images that both
looked at take nothing from the certainty of the difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detdiffusion.core.files import write_sealed, write_text
from detdiffusion.errors import ConfigError
from detdiffusion.evaluation.bootstrap import Estimate, estimate_mean, interval, resampled_ap, resamples
from training.core import typed_json
from training.diagnosis.axes import Cuts
from training.diagnosis.diagnose import counted_axes
from training.diagnosis.evidence import FILE as EVIDENCE
from training.diagnosis.evidence import Array, Evidence
from training.diagnosis.measures import objects_of
from training.diagnosis.page import NAME_WIDTH
from training.diagnosis.result import Diagnosis, Measured, Source, read_diagnosis
from training.diagnosis.slices import Objects, conditions_of, members
from training.report.blocks import Block, Heading, Plot, Table, Text, to_html
from training.report.plots import Bar, bars

FORMAT = "comparison-1"
FILE, PAGE = "comparison.json", "report.html"


@dataclass(frozen=True, eq=False, slots=True)
class Side:
    """One of the two."""

    found: Diagnosis
    evidence: Evidence

    @property
    def objects(self) -> Objects:
        """Those that recall is of, with this detector's own least score."""
        return objects_of(self.evidence, self.found.source.min_score)


@dataclass(frozen=True, slots=True)
class Change:
    """Recall before and after, and the difference with its paired interval; of all objects, or of a slice that one of
    the two names."""

    name: str
    count: int
    before: float
    after: float
    change: Measured


@dataclass(frozen=True, slots=True)
class Comparison:
    """mAP as a fraction; changes: of all objects first, then of the named slices, the largest gain first; errors:
    points that each kind costs, before and after."""

    format: str
    before: str
    after: str
    images: int
    mAP_before: float
    mAP_after: float
    mAP: Measured
    changes: tuple[Change, ...]
    errors: dict[str, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        """As comparison.json has it."""
        return typed_json.to_json(self)

    def lines(self) -> list[str]:
        """For the terminal."""
        rows = [f"mAP {100 * self.mAP_before:.1f} -> {100 * self.mAP_after:.1f}: {_change(self.mAP)} points"]
        for one in self.changes:
            found = f"found {100 * one.before:.0f} % -> {100 * one.after:.0f} %"
            rows.append(f"{one.name} ({one.count:,}): {found}: {_change(one.change)}")
        return rows


def read_side(folder: Path) -> Side:
    """A folder of `python -m training diagnose`.

    Raises:
        DataError: it is none, or it is damaged.
    """
    return Side(read_diagnosis(folder), Evidence.load(folder / EVIDENCE))


def compare(before: Side, after: Side) -> Comparison:
    """What changed.

    Raises:
        ConfigError: the two are of different data, or count different objects.
    """
    one, other = before.found.source, after.found.source
    if one.fingerprint != other.fingerprint or before.evidence.ids.tolist() != after.evidence.ids.tolist():
        raise ConfigError(f"the two are of different data ({one.data}, {other.data}), so nothing is paired")
    if not np.array_equal(before.evidence.counted, after.evidence.counted):
        raise ConfigError(f"{one.detector} and {other.detector} know different classes of the data: nothing is paired")
    drawn = resamples(one.images)
    ladders = [resampled_ap(side.evidence.matches(), drawn)[1] for side in (before, after)]
    means = [side.found.metrics["mAP"] for side in (before, after)]
    return Comparison(
        format=FORMAT,
        before=_called(one, other),
        after=_called(other, one),
        images=one.images,
        mAP_before=means[0],
        mAP_after=means[1],
        mAP=Estimate(means[1] - means[0], interval(ladders[1] - ladders[0])),
        changes=tuple(_changes(before, after, drawn)),
        errors={kind: (cost, after.found.errors[kind]) for kind, cost in before.found.errors.items()},
    )


def _called(one: Source, other: Source) -> str:
    """The detector's name, with its hash where both have the same."""
    return one.detector if one.detector != other.detector else f"{one.detector} ({one.sha256[:8]})"


def _changes(before: Side, after: Side, drawn: Array) -> Iterator[Change]:
    objects = before.objects
    found = objects.found, after.objects.found
    yield _changed("all objects", np.ones(len(objects.found), np.bool_), objects.image, found, drawn)
    axes = counted_axes(before.evidence, Cuts.from_json(before.found.cuts))
    named = {one.name: one for side in (before, after) for one in side.found.slices}
    rows = []
    for one in named.values():
        conditions = conditions_of(axes, dict(one.bounds))
        if conditions is not None:
            rows.append(_changed(one.name, members(axes, conditions), objects.image, found, drawn))
    yield from sorted(rows, key=lambda row: (-row.change.mean, row.name))


def _changed(name: str, inside: Array, images: Array, found: tuple[Array, Array], drawn: Array) -> Change:
    before, after = (one[inside].astype(np.float64) for one in found)
    here, owners = np.unique(images[inside], return_inverse=True)
    change = estimate_mean(after - before, owners, drawn[:, here])
    return Change(name, int(inside.sum()), float(before.mean()), float(after.mean()), change)


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Writes `out/comparison.json` and the page, whose path it returns."""
    write_sealed(out / FILE, comparison.to_json())
    title = f"{comparison.before} and {comparison.after}"
    write_text(out / PAGE, to_html(title, list(_blocks(comparison))))
    return out / PAGE


def _blocks(one: Comparison) -> Iterator[Block]:
    yield Text(f"Before: {one.before}; after: {one.after}; the same {one.images:,} images. {_SAID}")
    yield Heading("What changed")
    yield Table("", ("", "before", "after", "change, points"), (_map_row(one),))
    shown = [Bar(row.name, *_points(row.change)) for row in one.changes]
    yield Plot("changes", "Change of what is found", bars(shown, "points of recall", NAME_WIDTH))
    rows = tuple(
        (row.name, f"{row.count:,}", f"{100 * row.before:.0f} %", f"{100 * row.after:.0f} %", _change(row.change))
        for row in one.changes
    )
    yield Table("Found", ("", "objects", "before", "after", "change, points"), rows)
    costs = tuple((kind, f"{old:.1f}", f"{new:.1f}", f"{new - old:+.1f}") for kind, (old, new) in one.errors.items())
    yield Table("What errors cost, points of mAP at IoU 0.5", ("", "before", "after", "change"), costs)


_SAID = (
    "Brackets: 95 % intervals of the difference, bootstrap over images, both detectors on the same drawn images. "
    "Slices: those that one of the two diagnoses names."
)


def _map_row(one: Comparison) -> tuple[str, ...]:
    return "mAP", f"{100 * one.mAP_before:.1f}", f"{100 * one.mAP_after:.1f}", _change(one.mAP)


def _points(found: Estimate) -> Sequence[float]:
    return 100 * found.mean, 100 * found.ci95[0], 100 * found.ci95[1]


def _change(found: Estimate) -> str:
    mean, low, high = _points(found)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
