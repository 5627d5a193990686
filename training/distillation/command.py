"""python -m training distill: a student that draws in few steps, without guidance; the same command goes on.

One process, or many under `torchrun` or `accelerate launch`, as `python -m training train`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from detdiffusion.core.arguments import add_device, out_folder, positive, sampler_steps
from detdiffusion.core.devices import check_device
from detdiffusion.core.settings import check_settings
from detdiffusion.diffusion.manifest import check_model, verify
from training.core.cli import add_dry_run, add_set, check_there, nothing_is_missing
from training.core.settings import with_settings
from training.core.status import STATUS, leads, tells
from training.core.trackers import add_tracker, tracks
from training.data.forms.recognise import check_data
from training.data.request import add_attributes, add_data_arguments, reading_of
from training.distillation.config import DistillConfig
from training.distillation.request import DistillRequest


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
    parser.add_argument(
        "--lora-rank",
        type=positive,
        metavar="N",
        help="train LoRA weights of this rank alone, and write them as DIR/lora too: a small file beside the teacher "
        "(needs requirements-lora.txt)",
    )
    add_data_arguments(
        parser, "data set to learn from, of any form (default: scenes of the built-in world)", required=False
    )
    add_attributes(parser)
    add_set(parser, "DistillConfig (training/distillation/config.py)", "training.batch=16 or guidance_scale=1.5")
    add_device(parser)
    add_tracker(parser)
    add_dry_run(parser)


@tracks
@tells(lambda arguments: arguments.out / STATUS if leads() else None)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    given = {"steps": arguments.steps, "training.steps": arguments.updates, "lora_rank": arguments.lora_rank}
    words = [f"{name}={value}" for name, value in given.items() if value is not None]
    config = with_settings(DistillConfig(), [*arguments.set, *words])
    check_device(arguments.device)
    check_model(arguments.model)
    if arguments.data is not None:
        check_data(arguments.data)
    check_there(arguments.attributes, what="file")
    where = (arguments.data, arguments.split, arguments.attributes, reading_of(arguments))
    request = DistillRequest(arguments.model, arguments.out, config, *where)
    said = request.check()
    check_settings(request.out / "config.json", request.kept())
    if leads():
        print("\n".join([*said, f"checking the model {request.model}"]), file=sys.stderr)
    verify(request.model)
    if arguments.dry_run:
        return nothing_is_missing()
    from training.core.processes import join_processes, leave_processes
    from training.distillation.run import distill

    processes, device = join_processes(arguments.device)
    try:
        student = distill(request, device, processes)
    finally:
        leave_processes()
    if processes.main:
        print(student)
    return 0
