"""python -m training bundle: all that the studio needs, from nothing; the same command goes on after a stop."""

from __future__ import annotations

import argparse
from pathlib import Path

from detdiffusion.core.arguments import add_device, add_old_name, out_folder, positive
from detdiffusion.core.devices import check_device, device_of
from detdiffusion.core.settings import check_settings
from detdiffusion.diffusion.examples import given_examples, write_examples
from detdiffusion.text.vocabulary import Vocabulary
from training.core.cli import add_dry_run, add_examples, add_set, check_there, nothing_is_missing
from training.core.settings import with_settings
from training.core.status import STATUS, tells
from training.core.trackers import add_tracker, tracks
from training.data.papercut.classes import STUFF, THINGS
from training.generator.config import ADDED, OLD_NAMES, PRESETS, VARIANTS, Stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training bundle`."""
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), required=True, help="sizes and steps (training/generator/config.py)"
    )
    parser.add_argument(
        "--out", type=out_folder, required=True, metavar="DIR", help="run folder; the model is DIR/model"
    )
    parser.add_argument(
        "--until", type=Stage, choices=list(Stage), default=Stage.GENERATOR, help="stop after this stage"
    )
    parser.add_argument(
        "--baselines",
        type=variants,
        default=(),
        metavar="NAME,...",
        help=f"then train these from the same samples, seed and steps: {', '.join(VARIANTS)}",
    )
    parser.add_argument(
        "--baseline-steps",
        type=positive,
        default=None,
        metavar="N",
        help="steps of the baselines (default: as the generator)",
    )
    add_set(parser, "BundleConfig (training/generator/config.py)", "generator.steps=5000 or held_out.start=DIR")
    add_old_name(parser, "--rivals", "--baselines")
    add_old_name(parser, "--rival-steps", "--baseline-steps")
    add_examples(parser, "the studio then shows those of Papercut")
    add_device(parser, "cpu, cuda, ... (default: cuda for the gpu preset, else cpu)")
    add_tracker(parser)
    add_dry_run(parser)


@tracks
@tells(lambda arguments: arguments.out / STATUS)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    config = with_settings(PRESETS[arguments.preset], arguments.set)
    name = arguments.device or ("cuda" if arguments.preset == "gpu" else "cpu")
    check_device(name)
    starts = (config.detector.start, config.held_out.start, config.generator.start)
    check_there(*(Path(start) for start in starts if start), *arguments.examples)
    examples = given_examples(arguments.examples, Vocabulary(THINGS, STUFF))
    check_settings(arguments.out / "config.json", config.kept(), OLD_NAMES, ADDED)
    if arguments.dry_run:
        return nothing_is_missing()
    device = device_of(name)
    from training.generator.bundle import train_bundle

    baselines = {"baselines": arguments.baselines, "baseline_steps": arguments.baseline_steps}
    folder = train_bundle(config, arguments.out, device, arguments.until, **baselines)
    if examples.layouts and folder.exists():  # not where it ends before the model
        write_examples(examples, folder)
    print(folder)
    return 0


def variants(text: str) -> list[str]:
    """ "geodiffusion,no-dice" -> names of `VARIANTS`."""
    unknown = [name for name in text.split(",") if name not in VARIANTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; known: {', '.join(VARIANTS)}")
    return text.split(",")
