"""python -m training detector: trains a detector, of torchvision or of ultralytics, on any data set.

`--out` becomes a detector folder for `load_detector`. Run the same command again after a stop: it goes on.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.core.arguments import add_device, natural, out_folder, positive
from detdiffusion.core.devices import check_device, device_of
from detdiffusion.core.settings import check_settings, keep_settings
from detdiffusion.detectors import architecture_of, check_weights_file, load_detector
from detdiffusion.detectors.architectures import ARCHITECTURES, check_any, check_setting_names
from detdiffusion.errors import ConfigError, DataError
from training.core.cli import (
    add_config,
    add_dry_run,
    add_image_size,
    add_set,
    add_weights,
    check_there,
    nothing_is_missing,
    progress,
)
from training.core.reading import read_ahead
from training.core.settings import SET, parse_settings, read_settings, with_fields
from training.core.status import STATUS, tells
from training.core.trackers import add_tracker, tracks
from training.data.datasets import Dataset, Sample, open_dataset
from training.data.filters import all_objects
from training.data.forms.recognise import check_data
from training.data.request import AS_IT_IS, Reading, add_data_arguments, add_negatives_argument, reading_of
from training.detector.config import DetectorTraining
from training.detector.images import SplitImages

if TYPE_CHECKING:
    from PIL import Image

    from detdiffusion.layout import Layout
    from training.detector.images import Samples

DESCRIPTION_FILE = "detector.json"  # the last file that is written of a detector
RUN = "run"  # folder in the detector's, for what makes it resumable and says how it went
HELD_OUT = 200  # images, at most
LOADERS = 2  # processes that prepare ultralytics' images
AHEAD = 16  # images read before they are needed
LEAST = {"epochs": 1, "image_size": 1, "batch": 1, "seed": 0, "limit": 1, "held_out": 1}  # numbers of a request
_ABOUT = ("pictures", "data", "start")  # what the config.json of a run says beside its settings
_LARGE = 400  # pixels; from here on Faster R-CNN learns from as many boxes as torchvision's own recipe


@dataclass(frozen=True, slots=True)
class DetectorRequest:
    """What one training of a detector is asked for.

    settings: of `DetectorTraining` for torchvision, of ultralytics for the others, by where they come from (as messages
    name it); what comes later counts. limit: images of the data, at most; held_out: of these, to measure on. start:
    weights.

    Raises:
        ConfigError: a number is out of range.
    """

    architecture: str
    data: Path
    out: Path
    settings: Mapping[str, Mapping[str, Any]]
    split: str | None = None
    epochs: int = 12
    image_size: int = 640  # pixels
    batch: int = 16
    seed: int = 0
    limit: int | None = None
    held_out: int | None = None
    start: Path | None = None
    device: str | None = None
    reading: Reading = AS_IT_IS
    negatives: bool = True

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise ConfigError(f"{name} {value} needs to be a whole number of {least} or more")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training detector`."""
    parser.add_argument(
        "--arch",
        metavar="NAME",
        help="of torchvision (fasterrcnn_resnet50_fpn, _v2, retinanet_resnet50_fpn, ...; fasterrcnn_resnet18_fpn is "
        "ours, for small images on a CPU) or of ultralytics (yolo11n, rtdetr-l, ...); needed unless --config or "
        "--weights (a .pt file, a detector folder) names one",
    )
    fields_of = "DetectorTraining (training/detector/config.py); for ultralytics, any of its settings that is a number"
    add_config(parser, f"{fields_of}; and arch, {', '.join(LEAST)}")
    add_data_arguments(parser)
    add_negatives_argument(parser)
    parser.add_argument("--out", type=out_folder, required=True, metavar="DIR", help="the detector folder to write")
    parser.add_argument("--epochs", type=positive, metavar="N", help="epochs of the training (default 12)")
    add_image_size(parser, "image_size", "640")
    parser.add_argument("--batch", type=positive, metavar="N", help="images per batch (default 16)")
    parser.add_argument("--seed", type=natural, metavar="N", help="seed of the training (default 0)")
    parser.add_argument("--limit", type=positive, metavar="N", help="learn from at most N images")
    parser.add_argument(
        "--held-out",
        type=positive,
        metavar="N",
        help=f"images held out for validation (default: a tenth, at most {HELD_OUT})",
    )
    add_weights(
        parser,
        "weights to start from, used where they fit: a .pt file of ultralytics, .pth or .safetensors of a torchvision "
        "detector or backbone, or a detector folder (default: from scratch)",
    )
    add_set(parser, fields_of, "learning_rate=0.01 or mosaic=0.3")
    add_device(parser)
    add_tracker(parser)
    add_dry_run(parser)


@tracks
@tells(lambda arguments: arguments.out / RUN / STATUS)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    from detdiffusion.core.files import write_sealed

    check_device(arguments.device)
    check_data(arguments.data)
    request = request_of(arguments)
    out, train = request.out, _training(request)
    bounds = all_objects(negatives=request.negatives)
    dataset = open_dataset(request.data, filter=bounds, split=request.split, reading=request.reading)
    print("\n".join(dataset.describe()), file=sys.stderr)
    images = choose_images(dataset, request.limit, request.held_out, request.seed)
    settings = _settings(request, images)
    check_settings(out / RUN / "config.json", settings)
    _check_weights(request, images)
    if arguments.dry_run:
        return nothing_is_missing()
    from training.detector.recipe import measure

    keep_settings(out / RUN / "config.json", settings)
    if not (out / DESCRIPTION_FILE).is_file():
        train(images)
    scores = measure(load_detector(out), images)
    about = {"AP50": scores.AP50, "AP75": scores.AP75, "mAP": scores.mAP, "held_out": len(images.held_out)}
    write_sealed(out / RUN / "report.json", {**about, "trained_on": len(images.learned)})
    print(f"AP50 {scores.AP50:.3f}, mAP {scores.mAP:.3f} on {len(images.held_out)} held-out images")
    print(out)
    return 0


def request_of(arguments: argparse.Namespace) -> DetectorRequest:
    """`--config`, then the arguments and `--set`: what comes later counts.

    Raises:
        ConfigError: no architecture is named, or a number is none or out of range.
    """
    file = {} if arguments.config is None else read_settings(arguments.config)
    chosen = {name: file.pop(name, None) for name in ("arch", *LEAST)}
    chosen |= {name: value for name in chosen if (value := getattr(arguments, name)) is not None}
    architecture = chosen.pop("arch")
    check_there(arguments.start)
    if arguments.start is not None:
        check_weights_file(arguments.start)
    if architecture is None and arguments.start is not None:
        architecture = architecture_of(arguments.start)
    if not isinstance(architecture, str):
        raise ConfigError("give --arch, or a --config that names one; or --weights of a .pt file or a detector folder")
    learning = {name: value for name, value in file.items() if name not in _ABOUT}
    return DetectorRequest(
        architecture=architecture,
        settings={f"{arguments.config}: ": learning, SET: parse_settings(arguments.set)},
        **{name: value for name, value in chosen.items() if value is not None},
        **{name: getattr(arguments, name) for name in ("data", "out", "split", "start", "device", "negatives")},
        reading=reading_of(arguments),
    )


def choose_images(dataset: Dataset, limit: int | None, held_out: int | None, seed: int) -> SplitImages:
    """Which images are learned and which are measured on: the same for the same data, numbers and seed.

    Raises:
        DataError: the data have no things, or nothing is left to learn from.
    """
    if not dataset.things:
        raise DataError(f"{dataset.root}: there are no classes of things here, so no detector can be trained on it")
    size = min(len(dataset), limit or len(dataset))
    count = min(HELD_OUT, math.ceil(size / 10)) if held_out is None else held_out
    if count >= size:
        raise DataError(f"{size} images, {count} of them held out: nothing is left to learn from")
    from training.core.checkpoints import epoch_order

    places = epoch_order(seed, -1, len(dataset))[:limit]
    return SplitImages(dataset, sorted(places[count:]), sorted(places[:count]))


def _settings(request: DetectorRequest, images: SplitImages) -> dict[str, Any]:
    """What the run is started with; ConfigError if `out` holds a detector that was not made here."""
    out = request.out
    if (out / DESCRIPTION_FILE).exists() and not (out / RUN / "config.json").exists():
        raise ConfigError(f"{out} holds a detector of another origin; give another --out")
    names = ("epochs", "image_size", "batch", "seed")
    chosen = {"arch": request.architecture, **{name: getattr(request, name) for name in names}}
    for settings in request.settings.values():
        chosen |= settings
    counts = {"pictures": len(images.learned), "held_out": len(images.held_out)}
    return {**chosen, **counts, "data": images.dataset.fingerprint, "start": weights_hash(request.start)}


def weights_hash(start: Path | None) -> str | None:
    """Of weights to start from: a file, or a detector folder."""
    from detdiffusion.core.files import file_hash
    from detdiffusion.detectors.folder import read_description

    if start is None:
        return None
    return read_description(start).sha256 if start.is_dir() else file_hash(start)


def _check_weights(request: DetectorRequest, images: SplitImages) -> None:
    """That weights can be started from, and that ultralytics or the batches take the settings: said before images are
    copied.

    Raises:
        DetectorError, ConfigError: they cannot, or it does not.
    """
    if request.architecture not in ARCHITECTURES:
        from detdiffusion.detectors.ultralytics.training import check_training

        sizes = {"imgsz": request.image_size, "epochs": request.epochs, "batch": request.batch, "seed": request.seed}
        check_training(_yaml(request.architecture), request.start, **sizes, **_numbers(request.settings))
        return
    config = _config(request)
    config.check_batches(len(images.learned))
    if request.start is not None:
        from training.detector.recipe import new_model

        new_model(config, len(images.dataset.things), device_of(request.device), request.start)


def _yaml(architecture: str) -> str:
    return architecture.removesuffix(".yaml") + ".yaml"


def _training(request: DetectorRequest) -> Callable[[SplitImages], None]:
    """What trains the architecture; all that can be seen to be wrong is said before the data are read.

    Raises:
        ConfigError: a setting is unknown or out of range, or not one of this library.
        DetectorError: there is no such architecture.
    """
    if request.architecture in ARCHITECTURES:
        return partial(_train_torchvision, request, _config(request))
    numbers = _numbers(request.settings)
    check_any(request.architecture)
    check_setting_names(numbers)
    return partial(_train_ultralytics, request, _yaml(request.architecture), numbers)


def _config(request: DetectorRequest) -> DetectorTraining:
    """What torchvision's detector learns by: the request's own numbers, then `--config` and `--set`."""
    given = {name: getattr(request, name) for name in ("architecture", "image_size", "epochs", "batch", "seed")}
    proposals: dict[str, Any] = {"proposals": 512} if request.image_size >= _LARGE else {}
    config = DetectorTraining(**given, **proposals)
    for source, values in request.settings.items():
        config = with_fields(config, values, source, fixed=tuple(given))
    return config


def _numbers(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Settings of ultralytics, which checks their names itself.

    Raises:
        ConfigError: one is not a finite number.
    """
    found: dict[str, Any] = {}
    for source, values in settings.items():
        for name, value in values.items():
            if type(value) not in (int, float) or not math.isfinite(value) or not name.isidentifier():
                raise ConfigError(f"{source}{name}={value}: ultralytics takes numbers, as mosaic=0.3")
        found |= values
    return found


def _train_torchvision(request: DetectorRequest, config: DetectorTraining, images: SplitImages) -> None:
    from training.detector.recipe import train_torchvision

    work, device = request.out / RUN, device_of(request.device)
    with progress("detector") as report:
        train_torchvision(images, config, request.out, work, device, report, start=request.start)
    shutil.rmtree(work / "checkpoints")


def _train_ultralytics(
    request: DetectorRequest, architecture: str, numbers: Mapping[str, Any], images: SplitImages
) -> None:
    """By ultralytics' own loop, on a copy of the images that is gone afterwards."""
    from detdiffusion.detectors.ultralytics.training import train_ultralytics

    work = request.out / RUN
    for split, places in (("train", images.learned), ("val", images.held_out)):
        copy_images(images.dataset, places, work / "data", split)
    with progress("detector", "epoch") as report:
        made = train_ultralytics(
            architecture,
            work / "data",
            images.dataset.things,
            image_size=request.image_size,
            epochs=request.epochs,
            batch=request.batch,
            seed=request.seed,
            out=work / "ultralytics",
            name=request.out.resolve().name,
            workers=LOADERS,
            on_epoch=report,
            start=request.start,
            device=device_of(request.device),
            **numbers,
        )
    for file in (
        *sorted(made.glob("*.safetensors")),
        made / DESCRIPTION_FILE,
    ):
        file.replace(request.out / file.name)
    for folder in (work / "data", work / "ultralytics"):
        shutil.rmtree(folder)


def copy_images(dataset: Samples, places: Sequence[int], folder: Path, split: str) -> None:
    """In YOLO form; what a kill left half written is written again."""
    from detdiffusion.detectors.ultralytics.yolo_folder import write_yolo_folder

    if (folder / split / "written").exists():
        return
    with progress(f"images: {split}", "image") as report:

        def pairs() -> Iterator[tuple[Image.Image, Layout]]:
            read = read_ahead((dataset[place] for place in places), Sample.load_image, AHEAD)
            for done, (sample, image) in enumerate(read, start=1):
                yield image, sample.layout
                report(done, len(places), {})

        write_yolo_folder(folder, pairs(), dataset.things, split)
    (folder / split / "written").touch()
