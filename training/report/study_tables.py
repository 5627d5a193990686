"""The tables of `ablation` and `trainability`: frozen values, as `ablation.json` and `trainability.json` have them.

Scores are means over seeds with 95 % intervals by Student's t; None where no training told them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from training.core import typed_json
from training.core.typed_json import MEASURED

ABLATION, TRAINABILITY = "ablation-2", "trainability-1"  # formats


@dataclass(frozen=True, slots=True)
class SeedEstimate:
    """A mean over seeds. ci95: 95 % interval of the mean, NaN from one seed; values: of each seed."""

    mean: float
    ci95: tuple[float, float]
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float | None]) -> SeedEstimate | None:
        """By Student's t; None without any value."""
        from scipy.stats import t

        known = [value for value in values if value is not None]
        if not known:
            return None
        count, mean = len(known), sum(known) / len(known)
        half = math.nan
        if count > 1:
            deviation = math.sqrt(sum((value - mean) ** 2 for value in known) / (count - 1))
            half = float(t.ppf(0.975, count - 1)) * deviation / math.sqrt(count)
        return cls(mean, (mean - half, mean + half), tuple(known))


def points(found: SeedEstimate) -> str:
    """A gain: `+1.2 [0.4, 2.0]`."""
    low, high = found.ci95
    return f"{100 * found.mean:+.1f}" + ("" if math.isnan(low) else f" [{100 * low:.1f}, {100 * high:.1f}]")


def percent(found: SeedEstimate | None, sign: str = "+-") -> str:
    """`31.0 +- 3.0`, or a dash."""
    if found is None:
        return "-"
    low, high = found.ci95
    return f"{100 * found.mean:.1f}" + ("" if math.isnan(low) else f" {sign} {50 * (high - low):.1f}")


OverSeeds = Annotated[SeedEstimate, *MEASURED] | None
Later = Annotated[Mapping[str, OverSeeds] | None, typed_json.left_out]  # by name; None: a file that has no such field


# --- the ablation ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AblationRow:
    """`variant`: the part that is left out; None: the whole method. Scores: of images asked to be easy; `drop`: the
    confidence that hard ones lose; `mask_iou`: of the perception head's masks."""

    name: str
    variant: str | None
    seeds: tuple[int, ...]
    mAP: OverSeeds
    AP50: OverSeeds
    AP75: OverSeeds
    drop: OverSeeds
    mask_iou: OverSeeds


ABLATION_SCORES = ("mAP", "AP50", "AP75")
ABLATION_COLUMNS = (*ABLATION_SCORES, "drop", "mask_iou")


@dataclass(frozen=True, slots=True)
class LearnedGenerator:
    """steps: optimizer updates; size: height, width in pixels."""

    steps: int
    batch: int
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class AblationSettings:
    """What a page says of how every row learned."""

    generator: LearnedGenerator
    layouts: int


@dataclass(frozen=True, slots=True)
class AblationTable:
    """`settings`: the whole `AblationConfig` as JSON."""

    format: str
    preset: str
    rows: tuple[AblationRow, ...]
    settings: Mapping[str, Any]

    @property
    def learned(self) -> AblationSettings:
        """Raises DataError, which names what the settings lack."""
        return typed_json.from_json(AblationSettings, self.settings, "settings of an ablation")

    def to_json(self) -> dict[str, Any]:
        """As `ablation.json` has it."""
        return typed_json.to_json(self)

    @classmethod
    def from_json(cls, values: Any, what: str = "a table of ablation") -> AblationTable:
        """Raises DataError, which names the field that is missing or holds something else; what: for its message."""
        return typed_json.from_json(cls, values, what)

    def lines(self) -> list[str]:
        """As text, in per cent, as the supplement prints it."""
        shown = [f"{'':30}" + "".join(f"{head:>16}" for head in ABLATION_COLUMNS) + f"{'seeds':>8}"]
        for row in self.rows:
            cells = "".join(f"{percent(getattr(row, head)):>16}" for head in ABLATION_COLUMNS)
            shown.append(f"{row.name:30}{cells}{len(row.seeds):>8}")
        return shown


# --- trainability ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """Different images that a row learns from."""

    real: int
    synthetic: int


@dataclass(frozen=True, slots=True)
class Gain:
    """Over the first row, seed by seed; None in the first row itself."""

    mAP: OverSeeds
    AP50: OverSeeds


@dataclass(frozen=True, slots=True)
class TrainabilityRow:
    """by_class: mAP; recall50: by attribute, None where the validation images have none; by_slice: share found, of the
    slices of a diagnosis. What older files lack is None: against: gains in mAP over the rows that are simpler, by their
    names, the first one's first; class_gains, slice_gains: over the first of these."""

    name: str
    pictures: ImageCounts
    seeds: tuple[int, ...]
    mAP: OverSeeds
    AP50: OverSeeds
    AP75: OverSeeds
    APm: OverSeeds
    APl: OverSeeds
    gain: Gain
    by_class: Mapping[str, OverSeeds]
    recall50: Mapping[str, OverSeeds] | None
    by_slice: Later = None
    against: Later = None
    class_gains: Later = None
    slice_gains: Later = None

    @property
    def over(self) -> tuple[str, SeedEstimate] | None:
        """The row that it is to be compared with first, and the gain over it; None where there is no such row, or none
        that was trained."""
        name, gain = next(iter((self.against or {}).items()), ("", None))
        return None if gain is None else (name, gain)


TRAINABILITY_SCORES = ("mAP", "AP50", "AP75", "APm", "APl")


@dataclass(frozen=True, slots=True)
class LearnedImages:
    """real: to learn from; an_epoch: shown in an epoch of every row."""

    real: int
    validation: int
    an_epoch: int
    epochs: float  # of torchvision's detectors, which make as many updates as were asked for, a fraction, too


@dataclass(frozen=True, slots=True)
class TrainabilitySettings:
    """What a page says of how every row learned. image_size: pixels."""

    real: str
    detector: str
    batch: int
    image_size: int
    pictures: LearnedImages


@dataclass(frozen=True, slots=True)
class TrainabilityTable:
    """`settings`: all that every training depends on, as JSON. findings: sentences made from the numbers; slices: how
    many objects each has; older files have neither."""

    format: str
    settings: Mapping[str, Any]
    rows: tuple[TrainabilityRow, ...]
    findings: Annotated[tuple[str, ...] | None, typed_json.left_out] = None
    slices: Annotated[Mapping[str, int] | None, typed_json.left_out] = None

    @property
    def learned(self) -> TrainabilitySettings:
        """Raises DataError, which names what the settings lack."""
        return typed_json.from_json(TrainabilitySettings, self.settings, "settings of trainability")

    def to_json(self) -> dict[str, Any]:
        """As `trainability.json` has it."""
        return typed_json.to_json(self)

    @classmethod
    def from_json(cls, values: Any, what: str = "a table of trainability") -> TrainabilityTable:
        """Raises DataError, which names the field that is missing or holds something else; what: for its message."""
        return typed_json.from_json(cls, values, what)

    def lines(self) -> list[str]:
        """As text, in per cent."""
        heads = (*TRAINABILITY_SCORES, "gain in mAP")
        width = max(26, *(len(row.name) + 1 for row in self.rows))
        shown = [f"{'':{width}}" + "".join(f"{head:>15}" for head in heads) + f"{'seeds':>7}"]
        for row in self.rows:
            cells = [*(getattr(row, name) for name in TRAINABILITY_SCORES), row.gain.mAP]
            shown.append(
                f"{row.name:{width}}" + "".join(f"{percent(one):>15}" for one in cells) + f"{len(row.seeds):>7}"
            )
        return [*shown, *(self.findings or ())]
