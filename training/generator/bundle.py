"""Detectors, autoencoder, attributes, causes, generator: all that the studio needs, in one resumable command.

Baselines (GeoDiffusion, ControlNet, models of words alone) learn from the same samples with the same seed and steps.

Run the same command again after a stop: finished stages are skipped, the one in hand goes on from its checkpoint.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from tqdm import tqdm

from detdiffusion.core.files import seal_file, sealed_file, write_json, written_aside
from detdiffusion.core.settings import keep_settings
from detdiffusion.detectors import BUNDLED, HELD_OUT_FOLDER, load_detector
from detdiffusion.detectors.ultralytics.calibration import centre_scores
from detdiffusion.detectors.ultralytics.training import train_ultralytics
from detdiffusion.detectors.ultralytics.yolo_folder import write_yolo_folder
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.evaluation.threshold import best_threshold
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.cause_classifier import FOLDER as CAUSES_FOLDER
from training.autoencoder.config import AutoencoderConfig
from training.autoencoder.loading import Autoencoder
from training.autoencoder.recipe import train_autoencoder
from training.causes.run import train_causes
from training.core.cli import progress
from training.data.papercut.causes import Cause
from training.data.papercut.classes import STUFF, THINGS
from training.data.papercut.scene import Scene, scenes
from training.generator.batch import SampleStore
from training.generator.config import ADDED, OLD_NAMES, VARIANTS, BundleConfig, GeneratorConfig, Stage
from training.generator.detector_config import DetectorConfig
from training.generator.model import small_model
from training.generator.samples import make_samples
from training.generator.trainer import train_generator


def train_bundle(
    config: BundleConfig,
    out: Path,
    device: torch.device,
    until: Stage = Stage.GENERATOR,
    workers: int = 2,
    baselines: Sequence[str] = (),
    baseline_steps: int | None = None,
) -> Path:
    """Runs the stages up to `until` and returns the model folder (`out/model`).

    Args:
        baselines: of `VARIANTS`; each is trained after the stages, into `out/baselines/NAME/model`.
        baseline_steps: of each baseline's training; None: as many as the generator's.

    Raises:
        ConfigError: `out` was started with another config.
    """
    keep_settings(out / "config.json", config.kept(), OLD_NAMES, ADDED)
    for stage in list(Stage)[: list(Stage).index(until) + 1]:
        folder = out / stage
        finished = (folder / "done.json").exists()
        if finished and (stage is not Stage.GENERATOR or _assembled(out / "model")):
            continue
        began = time.monotonic()
        _run_stage(stage, config, out, device, workers)
        write_json(folder / "done.json", {"seconds_of_last_run": round(time.monotonic() - began)})
    for name in baselines:
        folder = baseline_folder(out, name)
        if not (folder / "model" / "manifest.json").exists():
            start = config.generator.start and f"{config.generator.start}-{name}"
            steps = baseline_steps or config.generator.steps
            lessons = replace(VARIANTS[name](config.generator), start=start, steps=steps)
            pipe = learn(lessons, _autoencoder(out), out / Stage.ATTRIBUTES, folder, device)
            save_pipeline(pipe, folder / "model")
    return out / "model"


def _assembled(model: Path) -> bool:
    """Whether a model folder has all its parts."""
    return (model / "manifest.json").exists() and (model / CAUSES_FOLDER).exists()


def baseline_folder(out: Path, name: str) -> Path:
    """A run that version 0.1 began has it under `rivals`, and goes on there."""
    old = out / "rivals" / name
    return old if old.is_dir() else out / "baselines" / name


def _run_stage(stage: Stage, config: BundleConfig, out: Path, device: torch.device, workers: int) -> None:
    match stage:
        case Stage.DETECTOR:
            train_detector(config.detector, config.image_size, out / stage, workers)
        case Stage.HELD_OUT:
            train_detector(config.held_out, config.image_size, out / stage, workers)
        case Stage.AUTOENCODER:
            pictures = render_images(config.autoencoder, config.image_size, out / stage / "pictures.npy", workers)
            detector = load_detector(out / Stage.DETECTOR / "model")
            with progress("autoencoder") as report:
                train_autoencoder(pictures, config.autoencoder, out / stage, device, report, detector)
        case Stage.ATTRIBUTES:
            detector = load_detector(out / Stage.DETECTOR / "model")
            autoencoder = _autoencoder(out).to(device)
            with progress("attributes", "chunk") as report:
                make_samples(config.samples, config.image_size, detector, autoencoder, out / stage, report)
        case Stage.CAUSES:
            size, autoencoder = config.image_size, _autoencoder(out)
            train_causes(config.causes, out / stage, device, size=size, autoencoder=autoencoder, workers=workers)
        case Stage.GENERATOR:
            assemble(learn(config.generator, _autoencoder(out), out / Stage.ATTRIBUTES, out / stage, device), out)


def learn(
    config: GeneratorConfig, autoencoder: Autoencoder, samples: Path, folder: Path, device: torch.device
) -> DetDiffusionPipeline:
    """A model of Papercut that has learned from these samples; checkpoints and metrics lie in `folder`."""
    pipe = small_model(config, THINGS, STUFF, autoencoder)
    with progress(folder.name) as report:
        train_generator(pipe, SampleStore.load(samples), config, folder, device, report)
    return pipe


def _autoencoder(out: Path) -> Autoencoder:
    loaded: Autoencoder = SmallAutoencoder.from_pretrained(out / Stage.AUTOENCODER / "model")
    return loaded


def train_detector(config: DetectorConfig, image_size: int, out: Path, workers: int) -> None:
    """Scenes in YOLO form under `out/data`, then the detector folder `out/model`."""
    for split, made, count in (
        ("val", partial(validation_scenes, config), config.validation_scenes),
        ("train", partial(training_scenes, config), config.scenes + config.alone_scenes * len(Cause)),
    ):
        if (out / "data" / split / "written").exists():
            continue
        samples = (
            (scene.image, scene.layout)
            for scene in tqdm(made(image_size, workers), f"{out.name}: {split} scenes", count, mininterval=5)
        )
        write_yolo_folder(out / "data", samples, THINGS, split)
        (out / "data" / split / "written").touch()
    with progress(out.name, "epoch") as report:
        folder = train_ultralytics(
            config.architecture,
            out / "data",
            THINGS,
            image_size=config.image_size,
            epochs=config.epochs,
            batch=config.batch,
            seed=config.seed,
            out=out / "run",
            on_epoch=report,
            start=Path(config.start) if config.start else None,
            **config.augmentation,
        )
    shutil.copytree(folder, out / "model", dirs_exist_ok=True)
    if config.centred:
        _centre(config, image_size, out / "model", workers)


def _centre(config: DetectorConfig, image_size: int, folder: Path, workers: int) -> None:
    """A confidence of 0.5 becomes the threshold with the best F1 on the validation scenes."""
    made = list(validation_scenes(config, image_size, workers))
    layouts = [scene.things for scene in made]
    best = best_threshold(layouts, load_detector(folder).detect([scene.image for scene in made]))
    centre_scores(folder, best.score)
    write_json(folder.parent / "threshold.json", {**best._asdict(), "f1": best.f1})


def training_scenes(config: DetectorConfig, size: int, workers: int) -> Iterator[Scene]:
    """Those of the mixture, then those of every cause alone."""
    first = config.first_scene
    yield from scenes(range(first, first + config.scenes), size, config.hard_share, workers)
    first += config.scenes + config.validation_scenes
    for cause in Cause if config.alone_scenes else ():
        yield from scenes(range(first, first + config.alone_scenes), size, 1.0, workers, cause)
        first += config.alone_scenes


def validation_scenes(config: DetectorConfig, size: int, workers: int) -> Iterator[Scene]:
    """Of the mixture."""
    first = config.first_scene + config.scenes
    return scenes(range(first, first + config.validation_scenes), size, config.hard_share, workers)


def render_images(config: AutoencoderConfig, image_size: int, path: Path, workers: int) -> np.ndarray:
    """Scenes as one memory map [N, H, W, 3] uint8."""
    if not sealed_file(path):
        seeds = range(config.first_scene, config.first_scene + config.scenes)
        made = scenes(seeds, size=image_size, workers=workers)
        with written_aside(path) as aside:
            stack = open_memmap(aside, mode="w+", dtype=np.uint8, shape=(config.scenes, image_size, image_size, 3))
            for row, scene in enumerate(tqdm(made, "autoencoder: scenes", config.scenes, mininterval=5)):
                stack[row] = np.asarray(scene.image)
            stack.flush()
            seal_file(aside)
    pictures: np.ndarray = np.load(path, mmap_mode="r")
    return pictures


def assemble(pipe: DetDiffusionPipeline, out: Path) -> None:
    """`out/model`: the generator in half precision with detectors and classifier inside, and a manifest of SHA-256s."""
    for stage, name in (
        (Stage.DETECTOR, f"detectors/{BUNDLED}"),
        (Stage.HELD_OUT, f"detectors/{HELD_OUT_FOLDER}"),
        (Stage.CAUSES, CAUSES_FOLDER),
    ):
        shutil.copytree(out / stage / "model", out / "model" / name, dirs_exist_ok=True)
    save_pipeline(pipe, out / "model")
