"""python -m training loop: your data and your detector -> a better detector, in one pass or in rounds.

`--dry-run` checks all that it needs, and prints the commands.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from training.loop.perform import perform
from training.loop.stages import LoopConfig, Stage, check, check_inputs, stages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training loop`."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="YAML, see docs/DATA_ENGINE.md")
    parser.add_argument("--dry-run", action="store_true", help="check everything and print the commands")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    from training.loop.rounds import PAGE, check_rounds, ending

    config = LoopConfig.read(arguments.config)
    plan = plan_of(config)
    check(plan)
    (check_inputs if config.rounds is None else check_rounds)(config, plan)
    if arguments.dry_run:
        print("\n".join(shlex.join(["python", "-m", "training", *stage.words]) for stage in plan))
        return 0
    if config.rounds is None:
        return perform(plan, Path(config.out))
    code = perform(plan, Path(config.out), ending(config))
    if not code:
        print(Path(config.out) / PAGE)
    return code


def plan_of(config: LoopConfig) -> list[Stage]:
    """All commands, in order; of rounds as many as there may be."""
    from training.loop.rounds import round_stages

    return stages(config) if config.rounds is None else round_stages(config)
