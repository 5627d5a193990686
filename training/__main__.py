"""python -m training VERB: arguments only; the work is in the modules named after the verbs."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

from detdiffusion.core.loading import announced_imports
from detdiffusion.errors import DetDiffusionError, sentence
from training.core.orphans import end_with_starter


class Verb(NamedTuple):
    """A module with `add_arguments(parser)` and `run(arguments)`, what it is for, words that show how it is called, and
    what it ends with besides 0, 2 and 130."""

    module: str
    help: str
    example: str
    codes: str = ""


VERBS: Mapping[str, Verb] = {
    "papercut": Verb(
        "data.papercut.command",
        "write scenes of the built-in world as a COCO-Thing-Stuff folder",
        "--images 500 --seed 0 --out scenes",
    ),
    "bundle": Verb(
        "generator.bundle_command",
        "train detectors, autoencoder, attributes and generator; resumable",
        "--preset cpu --out runs/bundle",
    ),
    "autoencoder": Verb(
        "autoencoder.command",
        "train the small autoencoder on any folder of images; resumable",
        "--data DATA --detector bundled --out runs/autoencoder",
    ),
    "causes": Verb(
        "causes.command",
        "train the classifier of what makes an object difficult; resumable",
        "--scenes 4000 --out runs/causes",
    ),
    "layouts": Verb(
        "data.layouts",
        "turn a data set of any form into layouts, by a filter",
        "--data DATA --split val --filter protocol --out layouts.jsonl",
    ),
    "subset": Verb(
        "data.subset",
        "copy a part of a data set of any form into a COCO folder",
        "--data DATA --fraction 0.1 --out part",
    ),
    "detector": Verb(
        "detector.command",
        "train a torchvision or ultralytics detector on a data set; resumable",
        "--data DATA --weights yolo11n.pt --epochs 50 --out detector",
    ),
    "diagnose": Verb(
        "diagnosis.command",
        "find out what a detector gets wrong on a data set, and what is doubtful in the data; resumable",
        "--data DATA --split val --detector yolo11n.pt --out diagnosis",
    ),
    "plan": Verb(
        "diagnosis.plan_command",
        "make layouts of what a diagnosed detector needs",
        "--diagnosis diagnosis --count 1000 --out layouts.jsonl",
    ),
    "annotate": Verb(
        "labelling.annotate",
        "find which objects of a data set a detector finds (easy) and misses (hard); resumable",
        "--data DATA --split val --detector yolo11n.pt --out attributes.jsonl",
    ),
    "train": Verb(
        "generator.command",
        "train a generator on a data set, in one process or several; resumable",
        "--preset fine-tune --data DATA --attributes attributes.jsonl --out runs/mine",
    ),
    "distill": Verb(
        "distillation.command",
        "train a student that draws in few steps, without guidance; resumable",
        "--model runs/mine/model --steps 2 --out runs/student",
    ),
    "download": Verb(
        "data.download.command",
        "fetch published weights or data, after their size and licence were shown and taken; resumable",
        "coco-val --out data/coco",
    ),
    "assemble": Verb(
        "generator.assemble",
        "put a model folder for the studio together: generator, detectors, examples, card",
        "--model runs/mine/model --detector detector --examples layouts --out models/mine",
    ),
    "convert": Verb(
        "generator.convert",
        "turn a published folder of Stable Diffusion, GeoDiffusion or GLIGEN into a model folder",
        "downloads/geodiffusion models/geodiffusion --fill camera=front",
    ),
    "evaluate": Verb(
        "evaluation.command",
        "measure whether boxes are obeyed and hard objects fool the detector; resumable",
        "--model assets/models/papercut --layouts papercut:200@900000 --out report.json",
    ),
    "report": Verb(
        "report.command",
        "make one page with tables, plots and images from reports",
        "report.json --out page",
    ),
    "ablation": Verb(
        "studies.ablation",
        "measure what each part of the method is worth, by training without it; resumable",
        "--preset small --seeds 0,1,2 --out runs/ablation",
    ),
    "pilots": Verb(
        "studies.pilots",
        "compare settings of the training by what they reach in the same time; resumable",
        "--samples runs/bundle --pilots pilots.yaml --minutes 20 --out runs/pilots",
    ),
    "generate": Verb(
        "synthesis.command",
        "generate a COCO data set from layouts, in one process or several; resumable",
        "--model assets/models/papercut --layouts papercut:100@0 --strategy hard --count 500 --out images",
    ),
    "verify": Verb(
        "synthesis.verify",
        "check that every image of a generated data set is there once, and undamaged",
        "images",
        "1: an image is missing, double or damaged",
    ),
    "trainability": Verb(
        "studies.trainability",
        "measure whether a detector learns from generated images; resumable",
        "--data DATA --synthetic images --detector yolo11n --out table",
    ),
    "loop": Verb(
        "loop.command",
        "go from your data and detector to a better detector; resumable",
        "--config loop.yaml --dry-run",
        "of a command that failed: its own",
    ),
}
_CODES = "exit codes: 0: done; 2: bad input, with the reason on standard error; 130: stopped{more}"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 on success, 2 on bad input with a one-line reason on standard error, 130 after Ctrl-C."""
    end_with_starter()
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = build_parser(words[0] if words else None).parse_args(words)
    try:
        with announced_imports():
            return int(arguments.run(arguments))
    except (DetDiffusionError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
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
        own = parsers.add_parser(
            name,
            help=verb.help,
            description=f"{verb.help[0].upper()}{verb.help[1:]}.",
            epilog=_epilog(name, verb),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == called:
            module = import_module(f"training.{verb.module}")
            module.add_arguments(own)
            own.set_defaults(run=module.run)
    return parser


def _epilog(name: str, verb: Verb) -> str:
    more = f"; {verb.codes}" if verb.codes else ""
    return f"example:\n  python -m training {name} {verb.example}\n\n{_CODES.format(more=more)}"


if __name__ == "__main__":
    sys.exit(main())
