"""python -m training detector: trains a detector, of torchvision or of ultralytics, on any data set.

`--out` becomes a detector folder for `load_detector`. Run the same command again after a stop: it goes on.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.arguments import natural, positive
from detdiffusion.detectors import load_detector
from detdiffusion.errors import ConfigError, DataError, DetectorError
from detdiffusion.settings import keep_settings
from training.core.cli import DEVICE, add_device, progress
from training.core.devices import device_of
from training.core.reading import read_ahead
from training.data.datasets import Dataset, Sample, open_dataset

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from detdiffusion.layout import Layout
    from training.detector.recipe import DetectorTraining, Pictures, Samples

DESCRIPTION_FILE = "detector.json"  # the last file that is written of a detector
RUN = "run"  # folder in the detector's, for what makes it resumable and says how it went
HELD_OUT = 200  # pictures, at most
LOADERS = 2  # processes that prepare ultralytics' pictures
AHEAD = 16  # pictures read before they are needed
_LARGE = 400  # pixels; from here on Faster R-CNN learns from as many boxes as torchvision's own recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training detector`."""
    parser.add_argument(
        "--arch",
        required=True,
        metavar="NAME",
        help="of torchvision (fasterrcnn_resnet50_fpn, _v2, retinanet_resnet50_fpn, ...; fasterrcnn_resnet18_fpn is "
        "ours, for small pictures on a CPU) or of ultralytics (yolo11n, rtdetr-l, ...)",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data set: COCO, Papercut, YOLO or VOC")
    parser.add_argument("--split", metavar="NAME", help="such as train (default: the only one, or train)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the detector folder to write")
    parser.add_argument("--epochs", type=positive, default=12, metavar="N", help="default 12")
    parser.add_argument("--image-size", type=positive, default=640, metavar="PIXELS", help="side, default 640")
    parser.add_argument("--batch", type=positive, default=16, metavar="N", help="pictures a step, default 16")
    parser.add_argument("--seed", type=natural, default=0, metavar="N", help="default 0")
    parser.add_argument("--limit", type=positive, metavar="N", help="use only so many pictures of the data set")
    parser.add_argument(
        "--held-out",
        type=positive,
        metavar="N",
        help=f"pictures to measure on, never trained on (default: a tenth, at most {HELD_OUT})",
    )
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="torchvision: weights to start from where they fit (.pth, .safetensors), of a detector or a backbone; "
        "default: from nothing",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD=NUMBER",
        help="torchvision: learning_rate, momentum, weight_decay, warmup_steps, clip_norm, proposals; ultralytics: any "
        "of its settings that is a number, such as mosaic=0.3",
    )
    add_device(parser, f"torchvision: {DEVICE}")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    from detdiffusion.files import write_json
    from training.detector.recipe import measure

    out: Path = arguments.out
    train = _training(arguments)
    dataset = open_dataset(arguments.data, split=arguments.split)
    print("\n".join(dataset.describe()), file=sys.stderr)
    pictures = choose_pictures(dataset, arguments.limit, arguments.held_out, arguments.seed)
    _keep(arguments, pictures)
    if not (out / DESCRIPTION_FILE).is_file():
        train(pictures)
    scores = measure(load_detector(out), pictures)
    about = {"AP50": scores.AP50, "AP75": scores.AP75, "mAP": scores.mAP, "held_out": len(pictures.held_out)}
    write_json(out / RUN / "report.json", {**about, "trained_on": len(pictures.learned)})
    print(f"AP50 {scores.AP50:.3f}, mAP {scores.mAP:.3f} on {len(pictures.held_out)} held-out pictures")
    print(out)
    return 0


def settings_of(words: Sequence[str]) -> dict[str, Any]:
    """ "mosaic=0.3" -> a number by its name.

    Raises:
        ConfigError: it is not of this form.
    """
    numbers: dict[str, float] = {}
    for word in words:
        name, _, text = word.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not name.isidentifier() or not math.isfinite(value):
            raise ConfigError(f"--set {word} needs the form FIELD=NUMBER")
        numbers[name] = int(text) if text.isdecimal() else value
    return numbers


def choose_pictures(dataset: Dataset, limit: int | None, held_out: int | None, seed: int) -> Pictures:
    """Which pictures are learned and which are measured on: the same for the same data, numbers and seed.

    Raises:
        DataError: the data have no things, or nothing is left to learn from.
    """
    from training.core.checkpoints import epoch_order
    from training.detector.recipe import Pictures

    if not dataset.things:
        raise DataError(f"{dataset.root}: there are no classes of things here, so no detector can be trained on it")
    places = epoch_order(seed, -1, len(dataset))[:limit]
    count = min(HELD_OUT, math.ceil(len(places) / 10)) if held_out is None else held_out
    if count >= len(places):
        raise DataError(f"{len(places)} pictures, {count} of them held out: nothing is left to learn from")
    return Pictures(dataset, sorted(places[count:]), sorted(places[:count]))


def _keep(arguments: argparse.Namespace, pictures: Pictures) -> None:
    """Writes what the run was started with; ConfigError if it was something else."""
    from detdiffusion.files import file_hash

    out: Path = arguments.out
    if (out / DESCRIPTION_FILE).exists() and not (out / RUN / "config.json").exists():
        raise ConfigError(f"{out} holds a detector of another origin; give another --out")
    names = ("arch", "epochs", "image_size", "batch", "seed")
    settings = {name: getattr(arguments, name) for name in names} | settings_of(arguments.set)
    counts = {"pictures": len(pictures.learned), "held_out": len(pictures.held_out)}
    start = None if arguments.start is None else file_hash(arguments.start)
    keep_settings(
        out / RUN / "config.json", {**settings, **counts, "data": pictures.dataset.fingerprint, "start": start}
    )


def _training(arguments: argparse.Namespace) -> Callable[[Pictures], None]:
    """What trains the architecture; all that can be seen to be wrong is said before the data are read.

    Raises:
        ConfigError: a setting is unknown or out of range, or not one of this library.
        DetectorError: there is no such architecture, or no such file to start from.
    """
    from detdiffusion.detectors.torchvision import ARCHITECTURES

    numbers = settings_of(arguments.set)
    if arguments.start is not None and not arguments.start.is_file():
        raise DetectorError(f"{arguments.start}: no such file to start from")
    if arguments.arch in ARCHITECTURES:
        return partial(_train_torchvision, arguments, _config(arguments, numbers), device_of(arguments.device))
    if arguments.start is not None or arguments.device is not None:
        raise ConfigError("--start and --device are for detectors of torchvision alone")
    architecture = arguments.arch.removesuffix(".yaml") + ".yaml"
    try:
        from detdiffusion.detectors.ultralytics.library import check_architecture

        check_architecture(architecture)
    except DetectorError as error:
        raise DetectorError(f"{error}; of torchvision there are: {', '.join(ARCHITECTURES)}") from error
    return partial(_train_ultralytics, arguments, architecture, numbers)


def _config(arguments: argparse.Namespace, numbers: Mapping[str, Any]) -> DetectorTraining:
    from training.detector.recipe import DetectorTraining

    given = {"architecture": arguments.arch, "image_size": arguments.image_size, "epochs": arguments.epochs}
    given |= {"batch": arguments.batch, "seed": arguments.seed}
    free = [field.name for field in fields(DetectorTraining) if field.name not in given]
    unknown = [name for name in numbers if name not in free]
    if unknown:
        raise ConfigError(f"--set {unknown[0]}: there is no such setting; known: {', '.join(free)}")
    proposals = {"proposals": 512} if arguments.image_size >= _LARGE else {}
    values: dict[str, Any] = {**given, **proposals, **numbers}
    return DetectorTraining(**values)


def _train_torchvision(
    arguments: argparse.Namespace, config: DetectorTraining, device: torch.device, pictures: Pictures
) -> None:
    from training.detector.recipe import train_torchvision

    work: Path = arguments.out / RUN
    with progress("detector") as report:
        train_torchvision(pictures, config, arguments.out, work, device, report, start=arguments.start)
    shutil.rmtree(work / "checkpoints")


def _train_ultralytics(
    arguments: argparse.Namespace, architecture: str, numbers: Mapping[str, Any], pictures: Pictures
) -> None:
    """By ultralytics' own loop, on a copy of the pictures that is gone afterwards."""
    from detdiffusion.detectors.ultralytics.training import train_ultralytics

    work: Path = arguments.out / RUN
    for split, places in (("train", pictures.learned), ("val", pictures.held_out)):
        copy_pictures(pictures.dataset, places, work / "data", split)
    with progress("detector") as report:
        made = train_ultralytics(
            architecture,
            work / "data",
            pictures.dataset.things,
            image_size=arguments.image_size,
            epochs=arguments.epochs,
            batch=arguments.batch,
            seed=arguments.seed,
            out=work / "ultralytics",
            name=arguments.out.resolve().name,
            workers=LOADERS,
            on_epoch=report,
            **numbers,
        )
    for file in (
        *sorted(made.glob("*.safetensors")),
        made / DESCRIPTION_FILE,
    ):
        file.replace(arguments.out / file.name)
    for folder in (work / "data", work / "ultralytics"):
        shutil.rmtree(folder)


def copy_pictures(dataset: Samples, places: Sequence[int], folder: Path, split: str) -> None:
    """In YOLO form; what a kill left half written is written again."""
    from detdiffusion.detectors.ultralytics.yolo_folder import write_yolo_folder

    if (folder / split / "written").exists():
        return
    with progress(f"pictures: {split}") as report:

        def pairs() -> Iterator[tuple[Image.Image, Layout]]:
            read = read_ahead((dataset[place] for place in places), Sample.load_image, AHEAD)
            for done, (sample, image) in enumerate(read, start=1):
                yield image, sample.layout
                report(done, len(places), {})

        write_yolo_folder(folder, pairs(), dataset.things, split)
    (folder / split / "written").touch()
