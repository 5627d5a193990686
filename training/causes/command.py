"""python -m training causes: a classifier of what makes an object of the built-in world difficult.

Run the same command again after a stop: it goes on from the newest checkpoint.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from detdiffusion.core.arguments import add_device, add_old_name, natural, out_folder, positive
from detdiffusion.core.devices import check_device, device_of
from detdiffusion.core.settings import check_settings
from training.autoencoder.folders import autoencoder_folder
from training.causes.config import CauseTrainingConfig
from training.core.cli import add_dry_run, add_image_size, add_set, add_updates, check_there, nothing_is_missing
from training.core.settings import with_settings
from training.core.status import STATUS, tells

if TYPE_CHECKING:
    from training.causes.run import CauseReport

SIZE = 256  # pixels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training causes`."""
    parser.add_argument(
        "--out", type=out_folder, required=True, metavar="DIR", help="writes DIR/model and DIR/report.json"
    )
    parser.add_argument(
        "--autoencoder",
        type=Path,
        metavar="DIR",
        help="a model folder, or one of `training autoencoder`: half of the scenes go through it, as generated images "
        "do, so that its traces are no cause",
    )
    parser.add_argument("--scenes", type=positive, metavar="N", help="the same as --set scenes=N")
    add_updates(parser)
    parser.add_argument("--seed", type=natural, metavar="N", help="the same as --set seed=S")
    add_image_size(parser, "size", str(SIZE))
    parser.set_defaults(size=SIZE)
    add_old_name(parser, "--size", "--image-size")
    parser.add_argument("--workers", type=positive, default=2, metavar="N", help="processes (default 2)")
    add_set(parser, "CauseTrainingConfig (training/causes/config.py)", "batch=32 or hard_share=0.5")
    add_device(parser)
    add_dry_run(parser)


@tells(lambda arguments: arguments.out / STATUS)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    given = {name: getattr(arguments, name) for name in ("scenes", "steps", "seed")}
    words = [f"{name}={value}" for name, value in given.items() if value is not None]
    config = with_settings(CauseTrainingConfig(), [*arguments.set, *words])
    check_device(arguments.device)
    check_there(arguments.autoencoder)
    if arguments.autoencoder is not None:
        autoencoder_folder(arguments.autoencoder)
    check_settings(arguments.out / "config.json", {**asdict(config), "size": arguments.size})
    if arguments.dry_run:
        return nothing_is_missing()
    device = device_of(arguments.device)
    from training.autoencoder.loading import load_autoencoder
    from training.causes.run import train_causes

    autoencoder = None if arguments.autoencoder is None else load_autoencoder(arguments.autoencoder)
    report = train_causes(
        config, arguments.out, device, size=arguments.size, autoencoder=autoencoder, workers=arguments.workers
    )
    print("\n".join([*summary(report), str(arguments.out / "model")]))
    return 0


def summary(report: CauseReport) -> list[str]:
    """The report as lines for people."""
    lines = []
    for name, scores in (("plain", report.plain), ("restored", report.restored)):
        if scores is not None:
            lines.append(
                f"{name:12}{scores.objects:>6} objects   all causes right {scores.accuracy:.3f}   likeliest right "
                f"{scores.first:.3f}   shown right {scores.shown_precision:.3f}"
            )
    lines.append(f"{'':12}{'objects':>8}{'counted':>8}{'precision':>10}{'recall':>8}{'shown':>8}{'precision':>10}")
    for cause, one in report.plain.by_cause.items():
        lines.append(
            f"{cause:12}{one.objects:>8}{one.counted:>8}{one.precision:>10.3f}{one.recall:>8.3f}{one.shown:>8}"
            f"{one.shown_precision:>10.3f}"
        )
    return lines
