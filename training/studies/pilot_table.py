"""The table of `pilots`: frozen values, as `pilots.json` has them, and the page that people read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.core import typed_json
from training.core.typed_json import Number

PILOTS = "pilots-1"  # format


@dataclass(frozen=True, slots=True)
class Pace:
    """How far a pilot's training comes in its time.

    seconds_a_step: of the processor, added up over its threads (on an accelerator: of the clock).
    """

    seconds_a_step: float
    steps: int
    images: int


@dataclass(frozen=True, slots=True)
class Found:
    """What one detector finds of the layouts asked for in one way, as fractions."""

    recall50: Number
    AP50: Number
    AP75: Number
    confidence: Number


@dataclass(frozen=True, slots=True)
class Told:
    """What a classifier of causes says of the things of images.

    sure: share with a likely cause. variety: causes among those, as if all were equally frequent (exponential of the
        entropy); a generator that averages causes has few of them, and is seldom sure.
    """

    sure: Number
    variety: Number


@dataclass(frozen=True, slots=True)
class Asked:
    """Images of one strategy. detail: mean size of the Laplacian's response in things, as a share of the real scenes'.
    detectors: the one that gave the attributes, then the held-out one."""

    detectors: tuple[Found, ...]
    detail: Number
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class PilotRow:
    """One pilot, drawn in one way: sampler (empty: the model's own), its steps, guidance.

    parameters: of all parts of the model. drop: confidence of the first detector that hard
        objects lose; NaN for a model without attributes. mask_iou: of the perception head. real: of the real scenes.
    """

    name: str
    parameters: int
    pace: Pace
    sampler: str
    sampler_steps: int
    guidance: float
    easy: Asked
    hard: Asked | None
    drop: Number
    mask_iou: Number
    real: Told | None = None


@dataclass(frozen=True, slots=True)
class PilotTable:
    """minutes: of the processor, which every pilot learned for. settings: what each changes, by its name."""

    format: str
    minutes: float
    layouts: str
    rows: tuple[PilotRow, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As `pilots.json` has it."""
        return typed_json.to_json(self)

    @classmethod
    def from_json(cls, values: Any, what: str = "a table of pilots") -> PilotTable:
        """Raises DataError, which names the field that is missing or holds something else; what: for its message."""
        return typed_json.from_json(cls, values, what)

    def page(self) -> str:
        """As Markdown: a table, and under it what each pilot changes."""
        real = next((row.real for row in self.rows if row.real is not None), None)
        told = f" Of the real scenes: {_percent(real.sure)} and {_number(real.variety)}." if real is not None else ""
        lines = [
            f"# Pilots: {self.minutes:g} minutes of the processor each",
            "",
            f"Layouts: {self.layouts}. Recall, AP50 and AP75 in per cent, by the detector that gave the attributes / "
            f"the held-out one. Detail: of the finest detail of real things, what is left. Sure: hard things with a "
            f"likely cause; variety: how many causes there are.{told}",
            "",
            _line(COLUMNS),
            _line("---" if place == 0 else "---:" for place in range(len(COLUMNS))),
            *(_line(_cells(row)) for row in self.rows),
            "",
            *(f"* **{name}**: {_changes(changes)}" for name, changes in self.settings.items()),
        ]
        return "\n".join(lines) + "\n"


COLUMNS = (
    "pilot",
    "drawn by",
    "weights, M",
    "s a step",
    "steps",
    "images",
    "easy: recall",
    "AP50",
    "AP75",
    "detail",
    "hard: recall",
    "AP50",
    "AP75",
    "detail",
    "drop",
    "sure",
    "variety",
    "masks",
)


def _cells(row: PilotRow) -> list[str]:
    way = f"{row.sampler or 'own'}, {row.sampler_steps} steps, guidance {row.guidance:g}"
    told = row.hard.told if row.hard is not None else None
    return [
        row.name,
        way,
        f"{row.parameters / 1e6:.1f}",
        f"{row.pace.seconds_a_step:.2f}",
        f"{row.pace.steps:,}",
        f"{row.pace.images:,}",
        *_scores(row.easy),
        *_scores(row.hard),
        _percent(row.drop),
        "-" if told is None else _percent(told.sure),
        "-" if told is None else _number(told.variety),
        _percent(row.mask_iou),
    ]


def _scores(asked: Asked | None) -> list[str]:
    if asked is None:
        return ["-"] * 4
    pairs = [" / ".join(_percent(getattr(one, name)) for one in asked.detectors) for name in SCORES]
    return [*pairs, _percent(asked.detail)]


SCORES = ("recall50", "AP50", "AP75")


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def _changes(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in changes.items()) or "nothing"
