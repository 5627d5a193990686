"""python -m training papercut: scenes of the built-in world as a COCO-Thing-Stuff folder."""

from __future__ import annotations

import argparse

from detdiffusion.core.arguments import add_old_name, natural, out_folder, positive, share
from training.core.cli import add_dry_run, add_image_size, nothing_is_missing, progress
from training.core.status import STATUS, tells
from training.data.papercut.causes import Cause

SIZE = 256  # pixels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training papercut`."""
    parser.add_argument("--images", type=positive, required=True, metavar="N", help="number of scenes")
    parser.add_argument(
        "--seed",
        type=natural,
        default=0,
        metavar="N",
        help="seed of the first scene; 900000 and up are never trained on",
    )
    add_image_size(parser, "size", str(SIZE))
    parser.set_defaults(size=SIZE)
    add_old_name(parser, "--size", "--image-size")
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
    parser.add_argument("--workers", type=positive, default=2, metavar="N", help="processes (default 2)")
    parser.add_argument("--out", type=out_folder, required=True, metavar="DIR", help="folder to write")
    add_dry_run(parser)


@tells(lambda arguments: arguments.out / STATUS, "scene")
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    if arguments.dry_run:
        return nothing_is_missing()
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
