"""python -m training train: DetDiffusion on any data set, from a Stable Diffusion folder or from nothing; resumable.

One process, or many under `torchrun` or `accelerate launch` (on several machines: `--out` on a disk that all share).
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from detdiffusion.core.arguments import add_device, out_folder
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.devices import check_device
from detdiffusion.core.settings import check_settings, keep_settings
from detdiffusion.detectors import detector_path
from detdiffusion.diffusion.examples import bring_examples, given_examples
from detdiffusion.diffusion.habits.hub import is_hub_id
from detdiffusion.diffusion.manifest import check_model
from detdiffusion.errors import ConfigError, DataError
from training.autoencoder.folders import autoencoder_folder
from training.core.cli import add_config, add_examples, add_set, add_updates, check_there, progress_in_first
from training.core.settings import read_settings, with_fields, with_settings
from training.core.status import STATUS, RunState, StatusWriter, leads, telling
from training.core.trackers import add_tracker, tracks
from training.data.attributes import Attributes, read_attributes
from training.data.datasets import Dataset, check_dataset, data_words, open_dataset
from training.data.filters import NO_FILTER, LayoutFilter, add_filter_arguments, filter_of
from training.data.forms.recognise import check_data
from training.data.request import AS_IT_IS, Reading, add_attributes, add_data_arguments, reading_of
from training.generator.config import ADDED, FINE_TUNE, TRAIN_PRESETS, GeneratorConfig
from training.generator.detector_choice import NO_DETECTOR, choose_detector, copy_detector, detector_home
from training.generator.going_on import config_like
from training.generator.needs import check_disk, needs

if TYPE_CHECKING:
    import torch

    from training.core.processes import Processes

STOPPED = 130  # exit code, as of a command that Ctrl-C ended
WHOLE, BEFORE_ATTRIBUTES = "everything", "before-attributes"  # what a dry run checks


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What one training is asked for.

    preset: what the config began as; None: a file brought all of it.
    attributes: a file of `annotate`. base: a folder or a hub id. revision: of the latter. detector: a name, a path, or
        `none`. examples: files and folders of layouts.
    """

    preset: str | None
    config: GeneratorConfig
    data: Path
    out: Path
    split: str | None = None
    bounds: LayoutFilter = NO_FILTER
    attributes: Path | None = None
    base: str | None = None
    revision: str | None = None
    detector: str | None = None
    examples: tuple[Path, ...] = ()
    device: str | None = None
    reading: Reading = AS_IT_IS

    def dataset(self) -> Dataset:
        """The data set that is asked for, opened."""
        return open_dataset(self.data, filter=self.bounds, split=self.split, reading=self.reading)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training train`."""
    parser.add_argument(
        "--preset",
        choices=list(TRAIN_PRESETS),
        metavar="P",
        help=f"one of {', '.join(TRAIN_PRESETS)} (training/generator/config.py); needed unless --config names one or "
        "brings unet and text",
    )
    add_config(parser, "GeneratorConfig, over the preset's")
    add_data_arguments(parser)
    add_attributes(parser)
    parser.add_argument(
        "--base",
        metavar="DIR_OR_ID",
        help="sd15 presets: a Stable Diffusion folder, or a hub id, which is then downloaded. papercut presets: the "
        "folder whose autoencoder is used; fine-tune: the model that goes on (default: the bundled model)",
    )
    parser.add_argument("--revision", metavar="R", help="of a hub id: a branch, a tag or a commit (default: main)")
    parser.add_argument(
        "--out", type=out_folder, required=True, metavar="DIR", help="run folder; the model is DIR/model"
    )
    add_updates(parser)
    add_set(parser, "GeneratorConfig (training/generator/config.py)", "loss.use_dice=false")
    parser.add_argument(
        "--detector",
        metavar=f"NAME|PATH|{NO_DETECTOR}",
        help="checks samples during the training, and is copied into the model folder (default: the base's, if it "
        "knows a class of the data)",
    )
    parser.add_argument(
        "--dry-run",
        nargs="?",
        const=WHOLE,
        choices=(WHOLE, BEFORE_ATTRIBUTES),
        metavar=BEFORE_ATTRIBUTES,
        help=f"check everything and print config and needs, without training; with {BEFORE_ATTRIBUTES}, all but a "
        "missing --attributes",
    )
    add_examples(parser, "the base's")
    add_device(parser)
    add_tracker(parser)
    add_filter_arguments(parser)


@tracks
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    check_device(arguments.device)
    check_data(arguments.data)
    request = request_of(arguments)
    whole = arguments.dry_run != BEFORE_ATTRIBUTES
    check(request, attributes=whole)
    if arguments.dry_run:
        return _dry_run(request, Learned.of(request, attributes=whole))
    stop = _Stop()
    with telling(request.out / STATUS if leads() else None) as status, stop.signals():
        try:
            return _run(request, Learned.of(request), status, stop)
        except KeyboardInterrupt:
            said = "stopped without a new checkpoint; the same command goes on from the last one"
            status.say(RunState.STOPPED, said)
            raise


def _run(request: TrainRequest, learned: Learned, status: StatusWriter, stop: _Stop) -> int:
    from training.core.processes import join_processes, leave_processes

    processes, device = join_processes(request.device)
    try:
        return _train(request, learned, processes, device, status, stop)
    finally:
        leave_processes()


def request_of(arguments: argparse.Namespace) -> TrainRequest:
    """The preset, then `--config`, then `--set` and `--steps`: what comes later counts.

    Raises:
        ConfigError: there is no preset to begin with, a field does not exist, or a value is of another kind.
    """
    preset, base, revision, file = arguments.preset, arguments.base, arguments.revision, {}
    if arguments.config is not None:
        file = read_settings(arguments.config)
        if isinstance(file.get("config"), dict):  # of a run, which says more than its config
            preset, revision = preset or file.get("preset"), revision or (None if base else file.get("revision"))
            base = base or file.get("base")
            file = file["config"]
    if preset is None and not {"unet", "text"} <= set(file):
        raise ConfigError("give --preset, or a --config that names one or brings unet and text")
    if preset is not None and preset not in TRAIN_PRESETS:
        raise ConfigError(f"{arguments.config}: there is no preset {preset}; known: {', '.join(TRAIN_PRESETS)}")
    config = GeneratorConfig(unet=None, text=None) if preset is None else TRAIN_PRESETS[preset]
    config = with_fields(config, file, f"{arguments.config}: ")
    steps = [] if arguments.steps is None else [f"steps={arguments.steps}"]
    if preset == FINE_TUNE:
        base = str(Path(base or BUNDLED_MODEL).resolve())
        config = config_like(Path(base), config)
    return TrainRequest(
        preset=preset,
        config=with_settings(config, [*arguments.set, *steps]),
        data=arguments.data,
        out=arguments.out,
        split=arguments.split,
        bounds=filter_of(arguments),
        reading=reading_of(arguments),
        attributes=arguments.attributes,
        base=base,
        revision=revision,
        detector=arguments.detector,
        examples=tuple(arguments.examples),
        device=arguments.device,
    )


def check(request: TrainRequest, *, attributes: bool) -> None:
    """What can be seen to be wrong before the data are read and libraries are loaded.

    attributes: whether they have to be there.

    Raises:
        DetDiffusionError: a file or folder is missing, or belongs to something else.
    """
    annotate = f"python -m training annotate {shlex.join(data_words(request.data, request.split, request.reading))}"
    if attributes and request.config.attributes and request.attributes is None:
        raise DataError(
            f"this preset learns attributes: make them with `{annotate} --detector bundled --out attributes.jsonl` and "
            "give --attributes attributes.jsonl"
        )
    if attributes and request.attributes is not None and not request.attributes.is_file():
        raise DataError(
            f"{request.attributes}: no such file; make or finish it with: {annotate} --detector bundled|PATH --out "
            f"{request.attributes}"
        )
    check_dataset(request.data, request.split, request.reading)
    if request.revision is not None and not is_hub_id(request.base):
        raise ConfigError(f"--revision is for a hub id, and --base {request.base} is none")
    check_there(Path(request.config.start) if request.config.start else None, what="folder")
    check_there(*request.examples)
    if request.config.unet is not None:
        autoencoder_folder(Path(request.base or BUNDLED_MODEL))
    elif request.base is None:
        raise ConfigError("this preset fine-tunes Stable Diffusion: give its folder (or hub id) with --base")
    elif Path(request.base).is_dir():
        check_model(Path(request.base))
    if request.detector not in (None, NO_DETECTOR):
        detector_path(str(request.detector), detector_home(request.base))


@dataclass(frozen=True, slots=True)
class Learned:
    """What a training learns from, opened."""

    dataset: Dataset
    attributes: dict[str, Attributes] | None

    @classmethod
    def of(cls, request: TrainRequest, *, attributes: bool = True) -> Learned:
        """attributes: whether they have to be there.

        Raises:
            DataError: the data cannot be read, or the attributes are not theirs.
            ConfigError: `out` was started with others, or with other settings.
        """
        dataset = request.dataset()
        if attributes or request.attributes is None or request.attributes.is_file():
            check_settings(request.out / "config.json", _kept(request, dataset), added=ADDED)
        file = request.attributes if request.config.attributes else None
        if file is None or not (attributes or file.is_file()):
            return cls(dataset, None)
        return cls(dataset, read_attributes(file, dataset))


def _train(
    request: TrainRequest,
    learned: Learned,
    processes: Processes,
    device: torch.device,
    status: StatusWriter,
    stop: _Stop,
) -> int:
    from detdiffusion.diffusion.checkpoint import save_pipeline
    from training.core.checkpoints import checkpoint_step
    from training.generator.batch import SampleStore
    from training.generator.latents import encode_dataset
    from training.generator.model import new_model
    from training.generator.probe import Probe
    from training.generator.trainer import train_generator

    out, config, dataset = request.out, request.config, learned.dataset
    pipe = new_model(config, dataset, request.base, request.revision)
    examples = given_examples(request.examples, pipe.vocabulary)
    detector = choose_detector(request.detector, request.base, dataset)
    if processes.main:
        print("\n".join(dataset.describe()), file=sys.stderr)
        keep_settings(out / "config.json", _kept(request, dataset), added=ADDED)
        check_disk(out, needs(pipe, config, dataset))
        known = {"done": checkpoint_step(out / "checkpoints"), "total": config.steps}
        status.say(RunState.PREPARING, "encoding the images", **known)
    with progress_in_first(processes.main, "latents", "image") as report:
        encode_dataset(dataset, learned.attributes, pipe.vae, config, out / "latents", device, report, processes)
    store = SampleStore.load(out / "latents")
    start = checkpoint_step(out / "checkpoints")
    probe = Probe.of(pipe, store, config, detector, out, start) if processes.main else None
    stop.deferred = True
    with progress_in_first(processes.main, "training") as report:
        done = train_generator(
            pipe, store, config, out, device, report, processes=processes, watch=probe, stopped=lambda: stop.asked
        )
    if processes.main:
        if detector is not None:
            copy_detector(request.detector, request.base, out / "model")
        save_pipeline(pipe, out / "model")
        bring_examples(examples, detector_home(request.base), out / "model", pipe.vocabulary)
        print(out / "model")
        if done == config.steps:
            status.say(RunState.FINISHED, done=done)
        else:
            status.say(RunState.STOPPED, "the same command goes on", done=done)
    return 0 if done == config.steps else STOPPED


def _kept(request: TrainRequest, dataset: Dataset) -> dict[str, Any]:
    """What stays with the run, and is a `--config` for another one."""
    from detdiffusion.core.files import file_hash

    return {
        "preset": request.preset,
        "config": request.config.to_json(),
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint, "masks": dataset.mask_source.value},
        "attributes": None if request.attributes is None else file_hash(request.attributes),
        "base": request.base,
        "revision": request.revision,
    }


def _dry_run(request: TrainRequest, learned: Learned) -> int:
    from training.generator.model import new_model

    config, dataset = request.config, learned.dataset
    pipe = new_model(config, dataset, request.base, request.revision)
    given_examples(request.examples, pipe.vocabulary)
    detector = choose_detector(request.detector, request.base, dataset)
    needed = needs(pipe, config, dataset)
    print(json.dumps({"preset": request.preset, **config.to_json()}, indent=2))
    print("\n".join([*dataset.describe(), f"detector of the probe: {detector.name if detector else 'none'}"]))
    print("\n".join(needed.lines()))
    check_disk(request.out, needed)
    return 0


class _Stop:
    """SIGTERM and Ctrl-C: before the training they end the command, in it they ask for a checkpoint (the second time
    they end it)."""

    def __init__(self) -> None:
        self.asked = False
        self.deferred = False

    @contextmanager
    def signals(self) -> Iterator[None]:
        old = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.deferred or self.asked:
            raise KeyboardInterrupt
        self.asked = True
