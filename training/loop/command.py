"""python -m training loop: your data -> a better detector, in one pass or in rounds, or a model folder for the studio.

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
    from training.loop.studio import check_studio

    config = LoopConfig.read(arguments.config)
    plan = plan_of(config)
    check(plan)
    checks = check_studio if config.studio else check_inputs if config.rounds is None else check_rounds
    checks(config, plan)
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
    from training.loop.studio import studio_stages

    if config.studio is not None:
        return studio_stages(config)
    return stages(config) if config.rounds is None else round_stages(config)
