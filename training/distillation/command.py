"""python -m training distill: a student that draws in few steps, without guidance; the same command goes on."""

from __future__ import annotations

import argparse
from pathlib import Path

from detdiffusion.core.arguments import add_device, positive
from training.core.cli import add_set
from training.core.settings import with_settings
from training.core.status import STATUS, tells
from training.distillation.config import DistillConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training distill`."""
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="model folder: the teacher")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder; the student is RUN/model")
    parser.add_argument("--steps", type=positive, metavar="N", help="of the student's sampling (default 2)")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="images to learn from (default: scenes of the built-in world)"
    )
    parser.add_argument("--split", metavar="NAME", help="of --data, such as train")
    parser.add_argument(
        "--attributes", type=Path, metavar="FILE.jsonl", help="of `python -m training annotate`, for --data"
    )
    add_set(parser, "DistillConfig (training/distillation/config.py)", "training.steps=500 or guidance_scale=1.5")
    add_device(parser)


@tells(lambda arguments: arguments.out / STATUS)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    steps = [] if arguments.steps is None else [f"steps={arguments.steps}"]
    config = with_settings(DistillConfig(), [*arguments.set, *steps])
    from detdiffusion.core.devices import device_of
    from training.distillation.run import DistillRequest, distill

    device = device_of(arguments.device)
    asked = DistillRequest(
        arguments.model, arguments.out, config, arguments.data, arguments.split, arguments.attributes
    )
    print(distill(asked, device))
    return 0
