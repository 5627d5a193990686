"""python -m training autoencoder: the small autoencoder for any folder of images, and what it keeps of them.

Run the same command again after a stop: it goes on from the newest checkpoint.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.format import write_array_header_1_0
from PIL import Image

from detdiffusion.core.arguments import add_device, add_old_name, out_folder, positive
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.devices import check_device, device_of
from detdiffusion.core.files import bytes_hash, seal_file, sealed_file, text_hash, write_json, written_aside
from detdiffusion.core.settings import check_settings, keep_settings
from detdiffusion.detection import Detections, Detector, SeesFeatures
from detdiffusion.detectors import detector_path, load_detector
from detdiffusion.errors import ConfigError, DataError, why
from detdiffusion.evaluation.comparison import mean, object_confidences
from detdiffusion.layout import MAX_OBJECTS, Box, Layout
from training.autoencoder.config import OF_SCENES, AutoencoderConfig
from training.autoencoder.folders import autoencoder_folder
from training.core.cli import (
    add_config,
    add_dry_run,
    add_image_size,
    add_set,
    add_updates,
    add_weights,
    check_there,
    nothing_is_missing,
    progress,
)
from training.core.reading import read_ahead
from training.core.settings import read_settings, with_fields, with_settings
from training.core.status import STATUS, tells
from training.data.datasets import open_dataset, open_images
from training.data.forms.recognise import check_data, recognise
from training.data.images import read_image_file
from training.data.request import AS_IT_IS, Reading, add_data_arguments, reading_of

if TYPE_CHECKING:
    from detdiffusion.models.autoencoder import SmallAutoencoder

SIZE = 256  # pixels
HELD_OUT = 256  # images, at most
BATCH = 16
NUMBERS = ("size", "held_out")  # of a request; `--config` may bring them
_ABOUT = (
    "trained_on",
    "pictures_sha256",
    "perceptual_sha256",
    "start_sha256",
)  # what the config.json of a run says beside its settings


@dataclass(frozen=True, slots=True)
class AutoencoderRequest:
    """What one training of an autoencoder is asked for.

    size: side of the squares, in pixels. held_out: images to measure on; None: a tenth, at most `HELD_OUT`. detector: a
    name inside the folder `model`, or a path; None: no detector. start: the folder of an autoencoder to begin as.

    Raises:
        ConfigError: a number is out of range.
    """

    data: Path
    out: Path
    config: AutoencoderConfig
    split: str | None = None
    size: int = SIZE
    held_out: int | None = None
    detector: str | None = None
    model: Path = BUNDLED_MODEL
    device: str | None = None
    start: Path | None = None
    reading: Reading = AS_IT_IS

    def __post_init__(self) -> None:
        for name in NUMBERS:
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"{name} {value} needs to be a whole number of 1 or more")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training autoencoder`."""
    add_config(parser, "AutoencoderConfig, and size and held_out")
    add_data_arguments(parser, "a data set, or any folder of images")
    parser.add_argument(
        "--out", type=out_folder, required=True, metavar="DIR", help="writes DIR/model and DIR/report.json"
    )
    parser.add_argument(
        "--detector",
        metavar="NAME|PATH",
        help="a detector folder, a YOLO .pt file, or one of the model's: the decoder learns to keep what its first "
        "layers see (YOLO and RT-DETR), and the report says which share of its confidence is kept. Nothing is "
        "downloaded",
    )
    add_weights(
        parser,
        "begin as the small autoencoder of this model folder or run; with --set steps=0 its latents stay as they are, "
        "and only the decoder learns",
    )
    parser.add_argument(
        "--model", type=Path, default=BUNDLED_MODEL, metavar="DIR", help="model folder that names are looked up in"
    )
    add_image_size(parser, "size", str(SIZE))
    add_old_name(parser, "--size", "--image-size")
    parser.add_argument(
        "--held-out",
        type=positive,
        metavar="N",
        help=f"images held out for validation (default: a tenth, at most {HELD_OUT})",
    )
    add_updates(parser)
    add_set(parser, "AutoencoderConfig (training/autoencoder/config.py)", "batch=8 or block_out_channels=[32,64,128]")
    add_device(parser)
    add_dry_run(parser)


@tells(lambda arguments: arguments.out / STATUS)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    request = request_of(arguments)
    check_config(request.config, request.size)
    check_device(request.device)
    check_data(request.data)
    check_there(request.start)
    if request.start is not None:
        autoencoder_folder(request.start)
    if request.detector is not None:
        detector_path(request.detector, request.model)
    chosen = choose_images(request)
    check_settings(request.out / "config.json", chosen.settings)
    detector, begun = None, None
    if request.detector is not None:
        detector = load_detector(request.detector, request.model, device=device_of(request.device))
    if request.start is not None:
        from training.autoencoder.loading import load_small_autoencoder

        begun = load_small_autoencoder(request.start)
    if arguments.dry_run:
        check_settings(request.out / "config.json", {**chosen.settings, **seen_by(detector, begun)})
        return nothing_is_missing()
    report = train(request, chosen, detector, begun)
    print(f"PSNR {report['psnr']:.2f} dB on {report['pictures']['held_out']} held-out images")
    if detector is not None:
        print(_confidence_line(detector, report["confidence"]))
    print(request.out / "model")
    return 0


def request_of(arguments: argparse.Namespace) -> AutoencoderRequest:
    """`--config`, then the arguments and `--set`: what comes later counts.

    Raises:
        ConfigError: a field does not exist, or a value is of another kind or out of range.
    """
    file = {} if arguments.config is None else read_settings(arguments.config)
    chosen = {name: file.pop(name, None) for name in NUMBERS}
    chosen |= {name: value for name in NUMBERS if (value := getattr(arguments, name)) is not None}
    learning = {name: value for name, value in file.items() if name not in _ABOUT}
    config = with_fields(AutoencoderConfig(), learning, f"{arguments.config}: ", fixed=OF_SCENES)
    steps = [] if arguments.steps is None else [f"steps={arguments.steps}"]
    return AutoencoderRequest(
        config=with_settings(config, [*arguments.set, *steps], fixed=OF_SCENES),
        **{name: value for name, value in chosen.items() if value is not None},
        **{name: getattr(arguments, name) for name in ("data", "out", "split", "detector", "model", "device", "start")},
        reading=reading_of(arguments),
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """The images of a training, and what of its settings is known before anything is loaded."""

    parts: Parts
    counts: Mapping[str, int]
    settings: Mapping[str, Any]


def choose_images(request: AutoencoderRequest) -> Chosen:
    """DataError: there are too few images, or no data set with such a split."""
    files = image_files(request.data, request.split, request.reading)
    parts = split_files(files, request.held_out, request.config.seed)
    fields = {name: value for name, value in asdict(request.config).items() if name not in OF_SCENES}
    home = request.data if request.data.is_dir() else request.data.parent
    names = text_hash("\n".join(Path(os.path.relpath(path, home)).as_posix() for path in files))
    counts = {"size": request.size, "trained_on": len(parts.trained), "held_out": len(parts.held_out)}
    return Chosen(parts, counts, {**fields, **counts, "pictures_sha256": names})


def seen_by(detector: Detector | None, begun: SmallAutoencoder | None) -> dict[str, Any]:
    """The rest of the settings: who teaches, and what the training begins as."""
    from safetensors.torch import save

    teacher = detector.sha256 if isinstance(detector, SeesFeatures) else None
    return {"perceptual_sha256": teacher, "start_sha256": begun and bytes_hash(save(begun.state_dict()))}


def train(
    request: AutoencoderRequest, chosen: Chosen, detector: Detector | None, begun: SmallAutoencoder | None
) -> dict[str, Any]:
    """Trains on the images that were chosen, writes `out/model` and `out/report.json`, and returns the report.

    begun: what it begins as.

    Raises:
        ConfigError: `out` was started with other settings or other images, the start does not fit, or there is no such
            device.
        DataError: an image cannot be read.
    """
    from training.autoencoder.recipe import train_autoencoder

    config, out, parts = request.config, request.out, chosen.parts
    device = device_of(request.device)
    keep_settings(out / "config.json", {**chosen.settings, **seen_by(detector, begun)})
    stack = image_stack([*parts.trained, *parts.held_out], request.size, out / "pictures.npy")
    with progress("autoencoder") as on_step:
        model = train_autoencoder(stack[: len(parts.trained)], config, out, device, on_step, detector, begun)
    report = {
        "pictures": chosen.counts,
        "steps": config.steps + config.decoder_steps,
        **measure(model, stack[len(parts.trained) :], detector),
        "detector": None
        if detector is None
        else {"name": detector.name, "sha256": detector.sha256, "min_score": detector.min_score},
    }
    write_json(out / "report.json", report)
    return report


def check_config(config: AutoencoderConfig, size: int) -> None:
    """ConfigError if nothing can be trained so on images of this size: said before images are read."""
    levels = len(config.block_out_channels)
    for name in ("layers_per_block", "decoder_channels", "decoder_layers"):
        if len(getattr(config, name)) != levels or levels == 0:
            raise ConfigError(f"block_out_channels has {levels} levels, {name} {len(getattr(config, name))}")
    cell = 2**levels
    if config.crop % (2 * cell) or config.crop > size or size % cell:
        raise ConfigError(
            f"crop {config.crop} needs to be a multiple of {2 * cell} (two latent cells) and at most the size {size}, "
            f"which needs to be a multiple of {cell}"
        )


# --- images ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parts:
    """Files to train on, and others to measure on."""

    trained: tuple[Path, ...]
    held_out: tuple[Path, ...]


def image_files(folder: Path, split: str | None, reading: Reading = AS_IT_IS) -> list[Path]:
    """The images of a data set, or every image below the folder, in an order that holds still.

    Raises:
        DataError: there is no such folder, no such split, or no image.
    """
    if recognise(folder, reading.images) is not None:
        dataset = open_dataset(folder, split=split, reading=reading)
    elif split is None and reading.split_by is None:
        dataset = open_images(folder, strict=reading.strict)
    else:
        raise DataError(f"{folder}: only data sets have splits, and this is just a folder; leave --split out")
    print("\n".join(dataset.describe()), file=sys.stderr)
    return [sample.path for sample in dataset]


def split_files(files: Sequence[Path], held_out: int | None, seed: int) -> Parts:
    """The same split for the same files and seed.

    Raises:
        DataError: nothing is left to train on.
    """
    count = min(HELD_OUT, math.ceil(len(files) / 10)) if held_out is None else held_out
    if count >= len(files):
        raise DataError(f"{len(files)} images, {count} of them held out: nothing is left to train on")
    order = np.random.default_rng(seed).permutation(len(files)).tolist()
    return Parts(tuple(files[i] for i in order[count:]), tuple(files[i] for i in order[:count]))


def image_stack(files: Sequence[Path], size: int, path: Path) -> np.ndarray:
    """The images stretched to squares (as the generator's are), as a memory map [N, size, size, 3] uint8.

    Raises:
        DataError: an image cannot be read, or the disk is full.
    """
    if not sealed_file(path):
        try:
            with written_aside(path) as aside:
                _write_stack(files, size, aside)
                seal_file(aside)
        except OSError as error:
            remedy = "free some space, or make --image-size smaller"
            raise DataError(f"{path} cannot be written ({why(error)}); {remedy}") from error
    images: np.ndarray = np.load(path, mmap_mode="c")  # the file is never written: torch only wants to be allowed to
    return images


def _write_stack(files: Sequence[Path], size: int, path: Path) -> None:
    """By plain writes: on a full disk they raise, where a memory map would end the process."""
    with path.open("wb") as file, progress("images", "image") as report:
        shape = (len(files), size, size, 3)
        write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for done, (_, image) in enumerate(read_ahead(files, lambda name: _square(name, size), BATCH), start=1):
            file.write(image.tobytes())
            report(done, len(files), {})


def _square(file: Path, size: int) -> np.ndarray:
    return np.asarray(read_image_file(file).resize((size, size), Image.Resampling.LANCZOS))


# --- what is kept ---------------------------------------------------------------------------------


def measure(model: SmallAutoencoder, images: np.ndarray, detector: Detector | None) -> dict[str, Any]:
    """`psnr`, the mean over images [N, H, W, 3] passed through the model, in dB; `confidence` (None without a
    detector): how sure it is, before and after, of the `objects` that it finds in the originals, and the share `kept`.
    """
    from training.autoencoder.recipe import psnr, reconstruct, to_tensor

    decibels: list[float] = []
    pairs: list[tuple[float, float]] = []
    for start in range(0, len(images), BATCH):
        originals = [Image.fromarray(image) for image in images[start : start + BATCH]]
        restored = reconstruct(model, originals)
        before, after = (to_tensor(np.stack([np.asarray(image) for image in part])) for part in (originals, restored))
        decibels += [psnr(*pair) for pair in zip(after, before, strict=True)]
        if detector is not None:
            pairs += confidence_pairs(detector, originals, restored)
    return {"psnr": mean(decibels), "confidence": None if detector is None else _kept(pairs)}


def confidence_pairs(
    detector: Detector, originals: Sequence[Image.Image], restored: Sequence[Image.Image]
) -> Iterator[tuple[float, float]]:
    """(confidence before, after) of every object that the detector finds in the originals.

    The images may come without truth, so what the detector finds stands in for it.
    """
    for image, before, after in zip(originals, detector.detect(originals), detector.detect(restored), strict=True):
        boxes = _found(before.at_least(detector.min_score))
        if boxes:
            layout = Layout(image.width, image.height, boxes)
            was, became = object_confidences(layout, before), object_confidences(layout, after)
            yield from zip(was.tolist(), became.tolist(), strict=True)


def _found(detections: Detections) -> tuple[Box, ...]:
    """Detections as objects, the surest ones; one without an area is none."""
    rows = zip(detections.labels, detections.boxes_xyxy.clip(0, 1).tolist(), strict=True)
    boxes = [Box(label, (x1, y1, x2, y2)) for label, (x1, y1, x2, y2) in rows if x1 < x2 and y1 < y2]
    return tuple(boxes[:MAX_OBJECTS])


def _kept(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    if not pairs:
        return {"objects": 0, "before": None, "after": None, "kept": None}
    before, after = (mean(values) for values in zip(*pairs, strict=True))
    return {"objects": len(pairs), "before": before, "after": after, "kept": after / before if before else None}


def _confidence_line(detector: Detector, found: dict[str, Any]) -> str:
    if not found["objects"]:
        return f"{detector.name} finds nothing in the held-out images, so nothing can be said of its confidence"
    return (
        f"confidence of {detector.name} in {found['objects']} objects: {found['before']:.3f} before, "
        f"{found['after']:.3f} after: {found['kept']:.1%} kept"
    )
