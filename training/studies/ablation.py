"""python -m training ablation: what each part of the method is worth, by training without it (supplement, Table 1).

Every variant learns from the same scenes, with the same autoencoder, seeds and steps. Each training writes down its
own result, so the whole can be done in pieces: the same command goes on, on any machine that has the folder.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.attributes import Strategy
from detdiffusion.core.arguments import add_device, out_folder, positive, seed_list
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.devices import check_device, device_of
from detdiffusion.core.files import claim, json_object, read_json, write_sealed
from detdiffusion.core.settings import check_settings, keep_settings
from detdiffusion.detectors import BUNDLED, HELD_OUT, detector_path, load_detector
from detdiffusion.errors import DataError
from detdiffusion.evaluation.effect import numbers
from detdiffusion.sampling_config import SamplingRequest
from training.autoencoder.folders import autoencoder_folder
from training.core.cli import add_dry_run, add_updates, nothing_is_missing, progress
from training.core.status import STATUS, RunState, status_writer, tells
from training.data.papercut.classes import HELD_OUT_SEED
from training.generator.config import ADDED, VARIANTS, GeneratorConfig
from training.report.study_tables import (
    ABLATION,
    ABLATION_COLUMNS,
    ABLATION_SCORES,
    AblationRow,
    AblationTable,
    SeedEstimate,
)
from training.studies.config import ABLATIONS, AblationConfig

if TYPE_CHECKING:
    import torch

RESULT = "ablation.json"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; `variant` None is the whole method."""

    name: str
    variant: str | None

    @property
    def slug(self) -> str:
        """Of its folders, and for `--rows`."""
        return self.variant or "full"


ROWS: tuple[Row, ...] = (
    Row("full", None),
    Row("without sqrt(alpha_bar)", "no-alpha-bar"),
    Row("without dice", "no-dice"),
    Row("without perception loss", "no-perception"),
    Row("without blueprint", "no-blueprint"),
    Row("without attributes", "no-attributes"),
    Row("GeoDiffusion (none of them)", "geodiffusion-no-blueprint"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training ablation`."""
    parser.add_argument(
        "--preset", choices=tuple(ABLATIONS), required=True, help="sizes and steps (training/generator/config.py)"
    )
    parser.add_argument(
        "--seeds", type=seed_list, default=[0, 1, 2], metavar="0:3", help="FIRST:END or a list (default 0,1,2)"
    )
    parser.add_argument(
        "--rows",
        type=rows_of,
        default=ROWS,
        metavar="NAME,...",
        help=f"some of {', '.join(row.slug for row in ROWS)} (default: all)",
    )
    add_updates(parser, " of each model (default: the preset's)")
    parser.add_argument("--out", type=out_folder, required=True, metavar="DIR", help=f"the table is DIR/{RESULT}")
    add_device(parser)
    parser.add_argument(
        "--most", type=positive, metavar="N", help="train at most N models now; the same command resumes"
    )
    add_dry_run(parser)


@tells(lambda arguments: arguments.out / STATUS, shared=True)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    check_device(arguments.device)
    config, rows = ABLATIONS[arguments.preset], arguments.rows
    if arguments.steps:
        config = replace(config, generator=replace(config.generator, steps=arguments.steps))
    check_settings(arguments.out / "config.json", config.to_json(), added=ADDED)
    autoencoder_folder(BUNDLED_MODEL)
    for name in (BUNDLED, HELD_OUT):
        detector_path(name, BUNDLED_MODEL)
    if arguments.dry_run:
        return nothing_is_missing()
    device = device_of(arguments.device)
    left = train_all(config, arguments.seeds, arguments.out, device, most=arguments.most, rows=rows)
    table = summarise(config, arguments.preset, arguments.seeds, arguments.out, rows)
    write_sealed(arguments.out / RESULT, table.to_json())
    print("\n".join(table.lines()))
    if left:
        said = f"{left} trainings are left; the same command goes on"
        status_writer().end(RunState.STOPPED, said)
        print(said, file=sys.stderr)
    print(arguments.out / RESULT)
    return 0


def train_all(
    config: AblationConfig,
    seeds: Sequence[int],
    out: Path,
    device: torch.device,
    *,
    most: int | None = None,
    base: Path = BUNDLED_MODEL,
    rows: Sequence[Row] = ROWS,
) -> int:
    """Trains and scores what has no result yet, seed by seed, so that early results are whole tables. Several processes
    on one folder share the work.

    Args:
        most: at most so many trainings.
        base: model folder with the autoencoder and the detectors.

    Returns:
        How many are left.

    Raises:
        ConfigError: `out` was started with another config.
    """
    keep_settings(out / "config.json", config.to_json(), added=ADDED)
    waiting = [(row, seed) for seed in seeds for row in rows if not result_path(out, row, seed).exists()]
    if not waiting:
        return 0
    _make_samples(config, out / "samples", base, device)
    for row, seed in waiting[:most]:
        result = result_path(out, row, seed)
        with claim(result.with_name("claim")) as mine:
            if mine and not result.exists():
                print(f"{row.name}, seed {seed}", file=sys.stderr)
                _train_one(config, row, seed, out, device, base)
    return len(waiting[most:]) if most is not None else 0


def result_path(out: Path, row: Row, seed: int) -> Path:
    """Where the scores of one training of a row are kept."""
    return out / "runs" / f"{row.slug}-seed{seed}" / "result.json"


def variant_config(config: GeneratorConfig, row: Row, seed: int) -> GeneratorConfig:
    """The generator's config for a row and a seed."""
    changed = VARIANTS[row.variant](config) if row.variant else config
    return replace(changed, seed=seed)


def _make_samples(config: AblationConfig, out: Path, base: Path, device: torch.device) -> None:
    from training.autoencoder.loading import load_autoencoder
    from training.generator.samples import make_samples

    if (out / "summary.json").exists():
        return
    autoencoder = load_autoencoder(base).to(device)
    with progress("samples", "chunk") as report:
        make_samples(config.samples, config.generator.size[0], load_detector(BUNDLED, base), autoencoder, out, report)


def _train_one(config: AblationConfig, row: Row, seed: int, out: Path, device: torch.device, base: Path) -> None:
    from detdiffusion.diffusion.checkpoint import save_pipeline
    from training.autoencoder.loading import load_autoencoder
    from training.generator.bundle import learn

    folder = result_path(out, row, seed).parent
    if not (folder / "model" / "manifest.json").exists():
        pipe = learn(
            variant_config(config.generator, row, seed), load_autoencoder(base), out / "samples", folder, device
        )
        save_pipeline(pipe, folder / "model")
    write_sealed(folder / "result.json", _score(config, folder / "model", base))
    for spent in ("checkpoints", "evaluation"):  # the result is there: it is gone back to no more
        shutil.rmtree(folder / spent, ignore_errors=True)


def _score(config: AblationConfig, model: Path, base: Path) -> dict[str, Any]:
    """Scores of the pictures that were asked to be easy (as they truly are, where the model knows no attributes)."""
    from training.data.layout_sources import PapercutLayouts
    from training.evaluation.inputs import Plan
    from training.evaluation.run import evaluate

    detectors = [detector_path(name, base) for name in (BUNDLED, HELD_OUT)]
    source = PapercutLayouts(config.layouts, HELD_OUT_SEED)
    plan = Plan(model, source, detectors=detectors, sampling=SamplingRequest(config.sampler_steps))
    report = evaluate(plan, model.parent / "evaluation")
    (system,) = report.systems
    views = {view.name: view.scores[report.lead] for view in system.views}
    scores = views.get(Strategy.EASY) or views[Strategy.ORIGIN]
    found = {name: getattr(scores, name) for name in (*ABLATION_SCORES, "recall50")}
    found["drop"] = math.nan if system.drop is None else system.drop[report.lead].confidence.mean
    found["mask_iou"] = math.nan if system.mask_iou is None else system.mask_iou.mean
    return {**numbers(found), "report": report.to_json()}


def summarise(
    config: AblationConfig, preset: str, seeds: Sequence[int], out: Path, wanted: Sequence[Row] = ROWS
) -> AblationTable:
    """The table of what is there: means over seeds with 95 % intervals (Student's t), None where none is."""
    rows = []
    for row in wanted:
        paths = {seed: result_path(out, row, seed) for seed in seeds}
        remedy = "delete it, its model is then scored again"
        there = {seed: path for seed, path in paths.items() if path.exists()}
        results = {seed: read_json(path, json_object, DataError, remedy) for seed, path in there.items()}
        scores = {name: SeedEstimate.of([one[name] for one in results.values()]) for name in ABLATION_COLUMNS}
        rows.append(AblationRow(row.name, row.variant, tuple(results), **scores))
    return AblationTable(ABLATION, preset, tuple(rows), config.to_json())


def rows_of(text: str) -> tuple[Row, ...]:
    """ "full,no-dice" -> rows, in the order of the table."""
    slugs, known = text.split(","), [row.slug for row in ROWS]
    if not set(slugs) <= set(known):
        raise argparse.ArgumentTypeError(f"{text!r} needs to be some of {', '.join(known)}")
    return tuple(row for row in ROWS if row.slug in slugs)
