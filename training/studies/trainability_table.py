"""Results of single trainings -> the table of trainability: means over seeds, gains seed by seed, by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.core.files import json_object, read_json
from detdiffusion.errors import DataError
from training.studies.tables import (
    TRAINABILITY,
    TRAINABILITY_SCORES,
    Gain,
    ImageCounts,
    SeedEstimate,
    TrainabilityRow,
    TrainabilityTable,
)

if TYPE_CHECKING:
    from training.studies.trainability_data import Row


def result_path(out: Path, row: Row, seed: int) -> Path:
    """Where the scores of one training of a row are kept."""
    return out / "runs" / f"{row.slug}-seed{seed}" / "result.json"


def summarise(rows: Sequence[Row], seeds: Sequence[int], out: Path, settings: Mapping[str, Any]) -> TrainabilityTable:
    """Means over seeds; gains over the first row seed by seed."""
    results = {row.name: _results(row, seeds, out) for row in rows}
    base = results[rows[0].name]
    return TrainabilityTable(TRAINABILITY, settings, tuple(_row(row, results[row.name], base) for row in rows))


def _row(row: Row, results: Mapping[int, Any], base: Mapping[int, Any]) -> TrainabilityRow:
    return TrainabilityRow(
        name=row.name,
        pictures=ImageCounts(row.real, row.synthetic),
        seeds=tuple(results),
        **{name: SeedEstimate.of([one[name] for one in results.values()]) for name in TRAINABILITY_SCORES},
        gain=Gain(_gain(results, base, "mAP"), _gain(results, base, "AP50")),
        by_class=_by_class(results),
        recall50=_by_attribute(results),
    )


def _results(row: Row, seeds: Sequence[int], out: Path) -> dict[int, dict[str, Any]]:
    paths = {seed: result_path(out, row, seed) for seed in seeds}
    remedy = "delete it, its detector is then trained again"
    return {seed: read_json(path, json_object, DataError, remedy) for seed, path in paths.items() if path.exists()}


def _gain(results: Mapping[int, Any], base: Mapping[int, Any], name: str) -> SeedEstimate | None:
    """Row minus first row, for the seeds that both have."""
    pairs = [(results[seed][name], base[seed][name]) for seed in results if seed in base]
    if results is base or not pairs:
        return None
    return SeedEstimate.of([None if None in pair else pair[0] - pair[1] for pair in pairs])


def _by_class(results: Mapping[int, Any]) -> dict[str, SeedEstimate | None]:
    labels = dict.fromkeys(label for one in results.values() for label in one["by_class"])
    return {label: SeedEstimate.of([one["by_class"][label]["mAP"] for one in results.values()]) for label in labels}


def _by_attribute(results: Mapping[int, Any]) -> dict[str, SeedEstimate | None] | None:
    if not results or any("recall50" not in one for one in results.values()):
        return None
    return {name: SeedEstimate.of([one["recall50"][name] for one in results.values()]) for name in ("easy", "hard")}
