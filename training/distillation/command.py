"""python -m training distill: a student that draws in few steps, without guidance; the same command goes on."""

from __future__ import annotations

import argparse
from pathlib import Path

from detdiffusion.core.arguments import add_device, out_folder, positive, sampler_steps
from detdiffusion.core.devices import check_device, device_of
from training.core.cli import add_set, check_there
from training.core.settings import with_settings
from training.core.status import STATUS, tells
from training.data.forms.recognise import check_data
from training.data.request import add_attributes, add_data_arguments, reading_of
from training.distillation.config import DistillConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training distill`."""
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="model folder: the teacher")
    parser.add_argument(
        "--out", type=out_folder, required=True, metavar="DIR", help="run folder; the student is DIR/model"
    )
    parser.add_argument(
        "--steps", type=sampler_steps, metavar="N", help="sampler steps of the student (default 2), as --set steps=N"
    )
    parser.add_argument(
        "--updates", type=positive, metavar="N", help="updates of the training, the same as --set training.steps=N"
    )
    add_data_arguments(
        parser, "data set to learn from, of any form (default: scenes of the built-in world)", required=False
    )
    add_attributes(parser)
    add_set(parser, "DistillConfig (training/distillation/config.py)", "training.batch=16 or guidance_scale=1.5")
    add_device(parser)


@tells(lambda arguments: arguments.out / STATUS)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    given = {"steps": arguments.steps, "training.steps": arguments.updates}
    words = [f"{name}={value}" for name, value in given.items() if value is not None]
    config = with_settings(DistillConfig(), [*arguments.set, *words])
    from detdiffusion.diffusion.manifest import check_model

    check_device(arguments.device)
    check_model(arguments.model)
    if arguments.data is not None:
        check_data(arguments.data)
    check_there(arguments.attributes, what="file")
    device = device_of(arguments.device)
    from training.distillation.run import DistillRequest, distill

    where = (arguments.data, arguments.split, arguments.attributes, reading_of(arguments))
    print(distill(DistillRequest(arguments.model, arguments.out, config, *where), device))
    return 0
