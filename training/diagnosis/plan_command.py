"""python -m training plan: a diagnosis -> layouts of what the detector needs, for `generate --layouts`."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.core.arguments import natural, out_file, positive, share
from detdiffusion.errors import ConfigError, DataError
from training.core.cli import add_dry_run, nothing_is_missing, progress
from training.core.status import status_beside, tells

if TYPE_CHECKING:
    from training.diagnosis.planning import Budget, Planner, Repeated

SUFFIX = ".jsonl"
COVERAGE, ADD = 0.3, 3  # usual share of the layouts, and most objects that one gets
STRATEGIES = ("need", "augment", "add-missed")
_STEP = 1000  # layouts between two words of progress


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What `plan` is asked for. slices: names of the diagnosis' slices, in place of all that it names.

    Raises:
        ConfigError: the file has another suffix.
    """

    diagnosis: Path
    count: int
    out: Path
    seed: int = 0
    by: str = STRATEGIES[0]  # of STRATEGIES
    coverage: float = COVERAGE
    add: int = ADD
    slices: tuple[str, ...] = ()
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.out.suffix != SUFFIX:
            raise ConfigError(f"{self.out}: --out names the file to write, and needs to end with {SUFFIX}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training plan`."""
    parser.add_argument("--diagnosis", type=Path, required=True, metavar="DIR", help="of python -m training diagnose")
    parser.add_argument("--count", type=positive, required=True, metavar="N", help="number of layouts")
    parser.add_argument("--seed", type=natural, default=0, metavar="N", help="seed of the layouts (default 0)")
    parser.add_argument("--out", type=out_file, required=True, metavar=f"FILE{SUFFIX}", help="file to write")
    parser.add_argument(
        "--by",
        choices=STRATEGIES,
        default=STRATEGIES[0],
        help="need: what the detector fails at, and coverage (default); augment, add-missed: as those of generate",
    )
    parser.add_argument(
        "--coverage",
        type=share,
        default=COVERAGE,
        metavar="SHARE",
        help=f"share of layouts for what the data have rather than for failures ({COVERAGE})",
    )
    parser.add_argument(
        "--add", type=positive, default=ADD, metavar="N", help=f"objects that a layout gets at most ({ADD})"
    )
    parser.add_argument(
        "--slice",
        dest="slices",
        action="append",
        default=[],
        metavar="NAME",
        help="only this slice of diagnosis.json, as 'car, left'; may be given several times (default: all named ones)",
    )
    add_dry_run(parser)


@tells(lambda arguments: status_beside(arguments.out), "layout")
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    given = {field.name: getattr(arguments, field.name) for field in fields(PlanRequest)}
    request = PlanRequest(**{**given, "slices": tuple(arguments.slices)})
    from training.diagnosis.result import read_diagnosis

    diagnosis = read_diagnosis(request.diagnosis)
    print(f"planning from {request.diagnosis}", file=sys.stderr)
    from training.diagnosis.axes import Cuts
    from training.diagnosis.evidence import FILE, Evidence
    from training.diagnosis.planning import Planner, Repeated, Strategy, make_budget
    from training.diagnosis.scenes import Scenes

    evidence = Evidence.load(request.diagnosis / FILE)
    scenes = Scenes(evidence, Cuts.from_json(diagnosis.cuts), diagnosis.source.min_score)
    budget = make_budget(diagnosis, evidence, request.coverage, request.slices)
    strategy = Strategy(request.by)
    if strategy is Strategy.NEED:
        print("\n".join(budget.lines()), file=sys.stderr)
    if request.dry_run:
        return nothing_is_missing()
    planner: Planner | Repeated = (
        Planner(scenes, budget, request.seed, request.add)
        if strategy is Strategy.NEED
        else Repeated(scenes, strategy, request.seed, request.add)
    )
    summary = write_layouts(planner, request.count, request.out, budget if strategy is Strategy.NEED else None)
    print("\n".join(f"{name}: {one['layouts']:,} layouts, {one['objects']:,} objects" for name, one in summary))
    print(request.out)
    return 0


def write_layouts(
    planner: Planner | Repeated, count: int, out: Path, budget: Budget | None
) -> list[tuple[str, dict[str, Any]]]:
    """Writes the layouts, a row each, and what they were spent on beside them (`NAME.summary.json`); returns the latter
    for people, the failures first. Memory is that of one layout.

    Raises:
        DataError: the disk is full.
    """
    from detdiffusion.core.files import write_json, written_aside

    layouts, objects = Counter[str](), Counter[str]()
    try:
        with progress("layouts", "layout") as tell, written_aside(out) as aside, aside.open("w") as file:
            for number in range(count):
                one = planner.draw(number)
                file.write(json.dumps(one.to_json()) + "\n")
                layouts[one.target] += 1
                objects[one.target] += one.added
                if (number + 1) % _STEP == 0 or number + 1 == count:
                    tell(number + 1, count, {})
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error}") from error
    failures = [] if budget is None else [one.name for one in budget.failures]
    rows = {name: {"layouts": layouts[name], "objects": objects[name]} for name in (failures or layouts)}
    about: dict[str, Any] = {"count": count, "seed": planner.seed, "failures" if failures else "layouts": rows}
    if budget is not None:
        covered = {name: {"layouts": layouts[name], "objects": objects[name]} for name in layouts if name not in rows}
        about |= {"coverage": covered, "skipped": list(budget.skipped), "without_example": list(budget.empty)}
    write_json(out.with_suffix(".summary.json"), about)
    return list(rows.items())
