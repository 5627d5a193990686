"""Results of single trainings -> the table of trainability: means over seeds, gains by seed, by class and slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.core.files import json_object, read_json
from detdiffusion.errors import DataError
from training.report.study_tables import (
    TRAINABILITY,
    TRAINABILITY_SCORES,
    Gain,
    ImageCounts,
    SeedEstimate,
    TrainabilityRow,
    TrainabilityTable,
)
from training.studies.trainability_findings import findings

if TYPE_CHECKING:
    from training.studies.trainability_rows import Row

Results = Mapping[int, Mapping[str, Any]]  # by seed
Score = Callable[[Mapping[str, Any]], float | None]


def result_path(out: Path, row: Row, seed: int) -> Path:
    """Where the scores of one training of a row are kept."""
    return out / "runs" / f"{row.slug}-seed{seed}" / "result.json"


def summarise(rows: Sequence[Row], seeds: Sequence[int], out: Path, settings: Mapping[str, Any]) -> TrainabilityTable:
    """Means over seeds; gains over the first row that starts alike, and over simpler rows, seed by seed."""
    results = {row.name: _results(row, seeds, out) for row in rows}
    told = tuple(_row(row, rows, results) for row in rows)
    slices = [one["by_slice"] for own in results.values() for one in own.values() if "by_slice" in one]
    counts = {name: one["count"] for name, one in slices[0].items()} if slices else None
    return TrainabilityTable(TRAINABILITY, settings, told, findings(told), counts)


def _row(row: Row, rows: Sequence[Row], results: Mapping[str, Results]) -> TrainabilityRow:
    own = results[row.name]
    first = next(one for one in rows if one.start == row.start)
    base = {} if first is row else results[first.name]
    simpler = row.simpler(rows)
    nearest = results[simpler[0].name] if simpler else {}
    classes, slices = _names(own, "by_class"), _names(own, "by_slice")
    return TrainabilityRow(
        name=row.name,
        pictures=ImageCounts(row.real, row.synthetic),
        seeds=tuple(own),
        **{name: _mean(own, _score(name)) for name in TRAINABILITY_SCORES},
        gain=Gain(_gain(own, base, _score("mAP")), _gain(own, base, _score("AP50"))),
        by_class={label: _mean(own, _score("by_class", label, "mAP")) for label in classes},
        recall50=_by_attribute(own),
        by_slice={name: _mean(own, _score("by_slice", name, "recall")) for name in slices} if slices else None,
        against={one.name: _gain(own, results[one.name], _score("mAP")) for one in simpler},
        class_gains={label: _gain(own, nearest, _score("by_class", label, "mAP")) for label in classes},
        slice_gains={name: _gain(own, nearest, _score("by_slice", name, "recall")) for name in slices}
        if slices
        else None,
    )


def _results(row: Row, seeds: Sequence[int], out: Path) -> dict[int, dict[str, Any]]:
    paths = {seed: result_path(out, row, seed) for seed in seeds}
    remedy = "delete it, its detector is then trained again"
    return {seed: read_json(path, json_object, DataError, remedy) for seed, path in paths.items() if path.exists()}


def _score(*names: str) -> Score:
    """What a result says under these names, one within the other."""

    def of(result: Any) -> float | None:
        for name in names:
            result = result[name]
        return None if result is None else float(result)

    return of


def _mean(results: Results, score: Score) -> SeedEstimate | None:
    return SeedEstimate.of([score(one) for one in results.values()])


def _gain(results: Results, base: Results, score: Score) -> SeedEstimate | None:
    """One row minus another one, for the seeds that both have."""
    pairs = [(score(results[seed]), score(base[seed])) for seed in results if seed in base]
    return SeedEstimate.of([None if one is None or other is None else one - other for one, other in pairs])


def _names(results: Results, kind: str) -> list[str]:
    """Classes or slices, in their order; none where a result does not tell them."""
    if any(kind not in one for one in results.values()):
        return []
    return list(dict.fromkeys(name for one in results.values() for name in one[kind]))


def _by_attribute(results: Results) -> dict[str, SeedEstimate | None] | None:
    if not results or any("recall50" not in one for one in results.values()):
        return None
    return {name: _mean(results, _score("recall50", name)) for name in ("easy", "hard")}
