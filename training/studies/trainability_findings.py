"""What a table of trainability says, in three sentences that are made from its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from training.report.study_tables import SeedEstimate, TrainabilityRow, points

NAMED = 5  # rows that the last sentence names, at most
MANY = 20  # rows from which on some seem to help by chance
Compared = tuple[TrainabilityRow, str, SeedEstimate]  # a row, the one that it is compared with, and its gain over that


def findings(rows: Sequence[TrainabilityRow]) -> tuple[str, ...]:
    """What helps most and by how much; where, and against simpler rows; what does not help. Gains are over the same
    row without what is added; none is called one whose interval includes zero. Without intervals there is nothing to
    say, and that is said."""
    compared = [(row, *row.over) for row in rows if row.over is not None and not math.isnan(row.over[1].ci95[0])]
    if not compared:
        return ("Nothing can be said yet: a gain has an interval from two seeds on, of a row and of real images.",)
    compared.sort(key=lambda one: -one[2].mean)
    helping = [one for one in compared if above_zero(one[2])]
    return _most(compared, helping), _where(helping[0][0] if helping else None, compared), _not(compared, helping)


def above_zero(gain: SeedEstimate | None) -> bool:
    """Whether the interval of a gain is above zero: it has one from two seeds on."""
    return gain is not None and gain.ci95[0] > 0


def _most(compared: Sequence[Compared], helping: Sequence[Compared]) -> str:
    chance = f" (by chance alone about {len(compared) / 40:.0f} would)" if len(compared) >= MANY else ""
    if not helping:
        row, other, gain = compared[0]
        return (
            f"No row helps: of {len(compared)} gains none has an interval above zero, and the largest is that of "
            f"{row.name}, {points(gain)} points of mAP over {other}."
        )
    row, other, gain = helping[0]
    return (
        f"What helps most is {row.name}: {points(gain)} points of mAP over {other}, with {len(gain.values)} seeds; "
        f"{len(helping)} of {len(compared)} rows have a gain with an interval above zero{chance}."
    )


def _where(best: TrainabilityRow | None, compared: Sequence[Compared]) -> str:
    if best is None:
        found = _parts(row for row, _, _ in compared)
        return f"Of single classes and slices, {found or 'none'} gains with an interval above zero."
    pasted = [(name, gain) for name, gain in list((best.against or {}).items())[1:] if gain is not None]
    said = [f"{points(gain)} points over {name}{_doubt(gain)}" for name, gain in pasted]
    said.append(f"most on {_parts([best])}" if _parts([best]) else "above zero on no single class or slice")
    return f"It gains {', and '.join(said)}."


def _not(compared: Sequence[Compared], helping: Sequence[Compared]) -> str:
    others = [one for one in compared if one not in helping]
    if not others:
        return "No row is without a gain above zero."
    named = ", ".join(f"{row.name} ({points(gain)})" for row, _, gain in others[:NAMED])
    more = f", and {len(others) - NAMED} more" if len(others) > NAMED else ""
    return f"Not shown to help: {named}{more}."


def _parts(rows: Iterable[TrainabilityRow]) -> str:
    """The class or slice with the largest gain above zero."""
    found = [
        (gain.mean, f"{name} ({points(gain)})")
        for row in rows
        for gains in (row.class_gains, row.slice_gains)
        for name, gain in (gains or {}).items()
        if gain is not None and above_zero(gain)
    ]
    return max(found)[1] if found else ""


def _doubt(gain: SeedEstimate) -> str:
    return "" if above_zero(gain) else ", which may be chance"
