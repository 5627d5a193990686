"""python -m training VERB: arguments only; the work is in the modules named after the verbs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from detdiffusion.errors import DetDiffusionError
from training.core.cli import natural, positive


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 on success, 2 on bad input with a one-line reason on standard error."""
    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (DetDiffusionError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    from training import loop
    from training.autoencoder import command as autoencoder
    from training.data import filters, subset
    from training.detector import command as detector
    from training.evaluation import command as evaluate
    from training.generator import command as train
    from training.generator import convert
    from training.generator.config import VARIANTS
    from training.labelling import annotate
    from training.report import command as report
    from training.studies import ablation, trainability
    from training.synthesis import command as generate
    from training.synthesis import verify

    parser = argparse.ArgumentParser(
        prog="python -m training", description="Everything that learns or makes data sets."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    papercut = verbs.add_parser("papercut", help="write scenes of the built-in world as a COCO-Thing-Stuff folder")
    papercut.add_argument("--images", type=positive, required=True, help="number of scenes")
    papercut.add_argument(
        "--seed", type=natural, default=0, help="seed of the first scene; 900000 and up are never trained on"
    )
    papercut.add_argument("--size", type=positive, default=256, help="side in pixels (default 256)")
    papercut.add_argument(
        "--difficulty", type=_share, default=0.45, help="share of objects made naturally difficult (default 0.45)"
    )
    papercut.add_argument("--workers", type=positive, default=2, help="processes (default 2)")
    papercut.add_argument("--out", type=Path, required=True, help="folder to write")
    papercut.set_defaults(run=_papercut)

    bundle = verbs.add_parser("bundle", help="train detector, judge, autoencoder, attributes and generator; resumable")
    bundle.add_argument(
        "--preset", choices=("cpu", "gpu"), required=True, help="sizes and steps (training/generator/config.py)"
    )
    bundle.add_argument("--out", type=Path, required=True, help="run folder; the model is written to OUT/model")
    bundle.add_argument(
        "--until",
        choices=("detector", "judge", "autoencoder", "attributes", "generator"),
        default="generator",
        help="stop after this stage",
    )
    bundle.add_argument(
        "--rivals",
        type=_rivals,
        default=(),
        metavar="NAME,...",
        help=f"then train these from the same samples, seed and steps: {', '.join(VARIANTS)}",
    )
    bundle.add_argument(
        "--rival-steps", type=positive, default=None, metavar="N", help="train the rivals N steps, instead of as many"
    )
    bundle.add_argument("--device", default=None, help="cpu, cuda, ... (default: cuda for the gpu preset, else cpu)")
    bundle.set_defaults(run=_bundle)

    for name, module, help_ in (
        ("autoencoder", autoencoder, "train the small autoencoder on any folder of pictures"),
        ("layouts", filters, "COCO annotations -> layouts that pass the filter"),
        ("subset", subset, "a part of a data set of any form, as a COCO folder of its own"),
        ("detector", detector, "train a detector on a data set, of torchvision or of ultralytics; resumable"),
        ("annotate", annotate, "a detector finds which objects of a data set are easy and which are hard"),
        ("train", train, "train a generator on a data set; resumable, one process or many"),
        ("convert", convert, "a published Stable Diffusion or GeoDiffusion folder -> a model folder"),
        ("evaluate", evaluate, "are boxes obeyed, and do hard objects fool the detector"),
        ("report", report, "reports of evaluate and ablation -> one page with tables, plots and pictures"),
        ("ablation", ablation, "what each part of the method is worth, by training without it"),
        ("generate", generate, "layouts -> a COCO data set of pictures, by many processes; resumable"),
        ("verify", verify, "is every picture of a generated data set there once, and whole"),
        ("trainability", trainability, "does a detector learn from generated pictures: a table with intervals"),
        ("loop", loop, "your data and detector -> attributes, generator, hard pictures, a better detector"),
    ):
        verb = verbs.add_parser(name, help=help_)
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    return parser


def _papercut(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from training.data.papercut.coco_export import write_dataset

    seeds = range(arguments.seed, arguments.seed + arguments.images)
    with tqdm(total=arguments.images, desc="papercut", mininterval=1.0) as bar:
        write_dataset(
            arguments.out,
            seeds,
            size=arguments.size,
            difficulty=arguments.difficulty,
            workers=arguments.workers,
            on_progress=lambda done, _: bar.update(done - bar.n),
        )
    print(arguments.out)
    return 0


def _bundle(arguments: argparse.Namespace) -> int:
    import torch

    from detdiffusion.errors import ConfigError
    from training.generator.bundle import Stage, train_bundle
    from training.generator.config import PRESETS

    name = arguments.device or ("cuda" if arguments.preset == "gpu" else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("no CUDA device here; use --preset cpu, or --device cpu")
    preset, device = PRESETS[arguments.preset], torch.device(name)
    rivals = {"rivals": arguments.rivals, "rival_steps": arguments.rival_steps}
    model = train_bundle(preset, arguments.out, device, Stage(arguments.until), **rivals)
    print(model)
    return 0


def _rivals(text: str) -> list[str]:
    from training.generator.config import VARIANTS

    unknown = [name for name in text.split(",") if name not in VARIANTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; known: {', '.join(VARIANTS)}")
    return text.split(",")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number") from None
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
