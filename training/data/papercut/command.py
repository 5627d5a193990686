"""python -m training papercut: scenes of the built-in world as a COCO-Thing-Stuff folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from detdiffusion.core.arguments import add_old_name, natural, positive, share
from training.core.cli import progress
from training.core.status import STATUS, tells
from training.data.papercut.causes import Cause


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training papercut`."""
    parser.add_argument("--images", type=positive, required=True, help="number of scenes")
    parser.add_argument(
        "--seed", type=natural, default=0, help="seed of the first scene; 900000 and up are never trained on"
    )
    parser.add_argument("--size", type=positive, default=256, help="side in pixels (default 256)")
    parser.add_argument(
        "--hard-share", type=share, default=0.45, help="share of objects made naturally difficult (default 0.45)"
    )
    add_old_name(parser, "--difficulty", "--hard-share")
    parser.add_argument(
        "--cause",
        choices=[cause.value for cause in Cause],
        metavar="NAME",
        help=f"the only cause of difficulty: {', '.join(Cause)} (default: all, as they are met)",
    )
    parser.add_argument("--workers", type=positive, default=2, help="processes (default 2)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


@tells(lambda arguments: arguments.out / STATUS, "scene")
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    from training.data.papercut.coco_export import write_dataset

    with progress("papercut", "scene") as report:
        write_dataset(
            arguments.out,
            range(arguments.seed, arguments.seed + arguments.images),
            size=arguments.size,
            hard_share=arguments.hard_share,
            workers=arguments.workers,
            cause=arguments.cause and Cause(arguments.cause),
            on_progress=lambda done, total: report(done, total, {}),
        )
    print(arguments.out)
    return 0
