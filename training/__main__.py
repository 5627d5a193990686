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
    "autoencoder": Verb("autoencoder.command", "train the small autoencoder on any folder of pictures"),
    "layouts": Verb("data.filters", "COCO annotations -> layouts that pass the filter"),
    "subset": Verb("data.subset", "a part of a data set of any form, as a COCO folder of its own"),
    "detector": Verb("detector.command", "train a detector on a data set, of torchvision or of ultralytics; resumable"),
    "annotate": Verb("labelling.annotate", "a detector finds which objects of a data set are easy and which are hard"),
    "train": Verb("generator.command", "train a generator on a data set; resumable, one process or many"),
    "convert": Verb("generator.convert", "a published Stable Diffusion or GeoDiffusion folder -> a model folder"),
    "evaluate": Verb("evaluation.command", "are boxes obeyed, and do hard objects fool the detector"),
    "report": Verb("report.command", "reports of evaluate and ablation -> one page with tables, plots and pictures"),
    "ablation": Verb("studies.ablation", "what each part of the method is worth, by training without it"),
    "generate": Verb("synthesis.command", "layouts -> a COCO data set of pictures, by many processes; resumable"),
    "verify": Verb("synthesis.verify", "is every picture of a generated data set there once, and whole"),
    "trainability": Verb(
        "studies.trainability", "does a detector learn from generated pictures: a table with intervals"
    ),
    "loop": Verb("loop", "your data and detector -> attributes, generator, hard pictures, a better detector"),
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
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def build_parser(called: str | None = None) -> argparse.ArgumentParser:
    """The parser of all verbs, with the arguments of the one that is called: no other verb's module is imported."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Everything that learns or makes data sets."
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
