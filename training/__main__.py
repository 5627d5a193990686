"""python -m training VERB: arguments only; the work is in the modules named after the verbs."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

from detdiffusion.errors import DetDiffusionError


class Verb(NamedTuple):
    """A module with `add_arguments(parser)` and `run(arguments)`, and what it is for."""

    module: str
    help: str


VERBS: Mapping[str, Verb] = {
    "papercut": Verb("data.papercut.command", "write scenes of the built-in world as a COCO-Thing-Stuff folder"),
    "bundle": Verb(
        "generator.bundle_command",
        "train detectors, autoencoder, attributes and generator; resumable",
    ),
    "autoencoder": Verb("autoencoder.command", "train the small autoencoder on any folder of images"),
    "causes": Verb("causes.command", "train the classifier of what makes an object difficult; resumable"),
    "layouts": Verb("data.filters", "turn COCO annotations into layouts, by a filter"),
    "subset": Verb("data.subset", "copy a part of a data set of any form into a COCO folder"),
    "detector": Verb("detector.command", "train a torchvision or ultralytics detector on a data set; resumable"),
    "annotate": Verb(
        "labelling.annotate", "find which objects of a data set a detector finds (easy) and misses (hard)"
    ),
    "train": Verb("generator.command", "train a generator on a data set, in one process or several; resumable"),
    "distill": Verb("distillation.command", "train a student that draws in few steps, without guidance; resumable"),
    "convert": Verb(
        "generator.convert", "turn a published Stable Diffusion or GeoDiffusion folder into a model folder"
    ),
    "evaluate": Verb(
        "evaluation.command", "measure whether boxes are obeyed and hard objects fool the detector; resumable"
    ),
    "report": Verb("report.command", "make one page with tables, plots and images from reports"),
    "ablation": Verb("studies.ablation", "measure what each part of the method is worth, by training without it"),
    "pilots": Verb("studies.pilots", "compare settings of the training by what they reach in the same time; resumable"),
    "generate": Verb(
        "synthesis.command", "generate a COCO data set from layouts, in one process or several; resumable"
    ),
    "verify": Verb("synthesis.verify", "check that every image of a generated data set is there once, and undamaged"),
    "trainability": Verb("studies.trainability", "measure whether a detector learns from generated images; resumable"),
    "loop": Verb("loop", "go from your data and detector to a better detector; resumable"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 on success, 2 on bad input with a one-line reason on standard error."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = build_parser(words[0] if words else None).parse_args(words)
    try:
        return int(arguments.run(arguments))
    except (DetDiffusionError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command to resume", file=sys.stderr)
        return 130


def build_parser(called: str | None = None) -> argparse.ArgumentParser:
    """The parser of all verbs, with the arguments of the one that is called: no other verb's module is imported."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Trains models, makes data sets and measures them."
    )
    parsers = parser.add_subparsers(required=True, metavar="VERB")
    for name, verb in VERBS.items():
        own = parsers.add_parser(name, help=verb.help)
        if name == called:
            module = import_module(f"training.{verb.module}")
            module.add_arguments(own)
            own.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
