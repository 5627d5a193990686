"""python -m training loop: the user's data and detector -> attributes, generator, hard images, a better detector.

Every stage is one of the other verbs, with what the config file says after its name; `--dry-run` prints the commands. A
finished stage is not done again, and one that was stopped goes on, because the verbs do.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, fields, replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from detdiffusion.attributes import Strategy
from detdiffusion.core.arguments import out_folder
from detdiffusion.core.devices import check_device
from detdiffusion.detectors.architectures import check_any
from detdiffusion.errors import ConfigError, DataError, quoted, why
from training.core.cli import check_there
from training.core.orphans import bound_to_this
from training.core.status import STATUS, RunState, StageStatus, StatusWriter, telling
from training.data.request import Reading, SplitBy

COMMAND = (sys.executable, "-m", "training")
TRAIN, VALIDATION = "train", "val"  # splits of the loop's own copy of the data
GEODIFFUSION = "geodiffusion"
_STOPPED = (-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGINT)  # exit codes of a stage that was asked to end
_RENAMED = {"--real": "--data"}  # what the loop of version 0.1 called its own words
_VERBS = ("annotate", "autoencoder", "train", "generate", "trainability")
_CHECKED = (
    "annotate",
    "autoencoder",
    "train",
    "generate",
    "trainability",
)  # whose request needs nothing that another stage makes
_REHEARSED = ("annotate", "autoencoder", "train")  # on the user's own data


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """What a loop is run on. `annotate`, `autoencoder`, `train`, `generate` and `trainability` are further arguments of
    those verbs, as one would type them.

    Raises:
        ConfigError: something needed is missing, or a strategy is unknown.
    """

    data: str  # COCO, YOLO or VOC: the folder, or the file that names its objects
    out: str
    split: str | None = None  # to learn from (default: the only one, or train)
    validation: str = VALIDATION  # split to measure on
    split_by: float | str | None = None  # data in one piece: the share to learn from, as --split-by of subset
    images: str | None = None  # folder of the pictures, where data is a single COCO file
    fraction: float = 1.0  # of the pictures to learn from: no stage sees the others
    seed: int = 0  # which of them
    base: str | None = None  # of the generator: a Stable Diffusion folder; without it an autoencoder is trained first
    preset: str = "papercut-cpu"
    pictures: Mapping[str, int] = field(default_factory=dict)  # strategy, or geodiffusion -> how many are generated
    compare: Sequence[str] = ()  # folders of `generate`, of other models: rows of the table beside ours
    annotate: str = ""
    autoencoder: str = ""
    train: str = ""
    generate: str = ""
    trainability: str = ""

    def __post_init__(self) -> None:
        for name in ("data", "out", *_VERBS):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} needs to be text, got {quoted(getattr(self, name))}")
        if not isinstance(self.pictures, Mapping) or not isinstance(self.compare, Sequence):
            raise ConfigError("images needs strategies with their numbers, and compare a list of folders")
        if any(not isinstance(value, int | float) for value in (self.fraction, self.seed)):
            raise ConfigError("fraction and seed need to be numbers")
        try:
            words = {verb: shlex.split(getattr(self, verb)) for verb in _VERBS}
        except ValueError as error:
            raise ConfigError(f"one of {', '.join(_VERBS)} is no command line: {error}") from error
        known = (*Strategy, GEODIFFUSION)
        unknown = [name for name in self.pictures if name not in known]
        if not self.pictures or unknown:
            raise ConfigError(f"images needs numbers of images for some of {', '.join(known)}; got {self.pictures}")
        if any(not isinstance(count, int) or count < 1 for count in self.pictures.values()):
            raise ConfigError(f"pictures {dict(self.pictures)} needs whole numbers of 1 or more")
        if isinstance(self.compare, str):
            raise ConfigError(f"compare needs a list of folders, got {self.compare!r}")
        if self.split_by is not None:
            SplitBy.parse(str(self.split_by))
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"fraction {self.fraction} needs to be above 0 and at most 1")
        if "--detector" not in words["annotate"] or "--detector" not in words["trainability"]:
            raise ConfigError("annotate and trainability each need a --detector: who gives attributes, and who learns")

    @property
    def reading(self) -> Reading:
        """How `data` are read."""
        by = None if self.split_by is None else SplitBy.parse(str(self.split_by))
        return Reading(None if self.images is None else Path(self.images), by)

    @classmethod
    def read(cls, path: Path) -> LoopConfig:
        """A YAML file; paths in it are relative to its folder.

        Raises:
            ConfigError: missing, unreadable, or with unknown or missing fields.
        """
        from detdiffusion.core.yaml_files import load_yaml

        try:
            values = load_yaml(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = "it is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else why(error)
            raise ConfigError(f"{path} cannot be read: {reason}") from error
        known = {one.name for one in fields(cls)}
        if not isinstance(values, dict) or not set(values) <= known or not {"data", "out"} <= set(values):
            extra = sorted(str(key)[:40] for key in set(values) - known)[:3] if isinstance(values, dict) else []
            raise ConfigError(
                f"{path} needs data and out, and may have {', '.join(sorted(known - {'data', 'out'}))}"
                + (f"; not {', '.join(extra)}" if extra else "")
            )

        def beside(name: object) -> str:
            return os.path.normpath(path.parent / str(name))

        here: dict[str, Any] = {name: beside(values[name]) for name in ("data", "out")}
        here |= {name: beside(values[name]) for name in ("base", "images") if values.get(name)}
        if isinstance(values.get("compare"), list):
            here["compare"] = tuple(map(beside, values["compare"]))
        try:
            return cls(**{**values, **here})
        except TypeError as error:
            raise ConfigError(f"{path}: a value is of the wrong kind: {error}") from error


@dataclass(frozen=True, slots=True)
class Stage:
    """One command, and whether it is done: `proof` is the last file that it writes."""

    name: str
    words: tuple[str, ...]  # after python -m training
    proof: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training loop`."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="YAML, see docs/DATA_ENGINE.md")
    parser.add_argument("--dry-run", action="store_true", help="check everything and print the commands")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    config = LoopConfig.read(arguments.config)
    plan = stages(config)
    check(plan)
    check_inputs(config, plan)
    if arguments.dry_run:
        print("\n".join(shlex.join(["python", "-m", "training", *stage.words]) for stage in plan))
        return 0
    return perform(plan, Path(config.out))


def stages(config: LoopConfig) -> list[Stage]:
    """All commands, in order."""
    return list(_stages(config))


def _stages(config: LoopConfig) -> Iterator[Stage]:
    out = Path(config.out)
    data, attributes = out / "data", out / "attributes.jsonl"
    yield from _data_stages(config, data)
    ours = ("--data", str(data), "--split", TRAIN)
    more = {verb: shlex.split(getattr(config, verb)) for verb in _VERBS}
    words = ("annotate", *ours, "--out", str(attributes), *more["annotate"])
    yield Stage("attributes", words, attributes.with_suffix(".summary.json"))
    base = config.base
    if base is None:
        words = ("autoencoder", *ours, "--out", str(out / "autoencoder"), *more["autoencoder"])
        yield Stage("autoencoder", words, out / "autoencoder" / "report.json")
        base = str(out / "autoencoder" / "model")
    for name in dict.fromkeys(map(_generator, config.pictures)):
        preset = config.preset if name == "generator" else f"{config.preset}-{GEODIFFUSION}"
        run_folder = out / name
        labelled = ("--attributes", str(attributes)) if name == "generator" else ()
        words = ("train", "--preset", preset, *ours, *labelled, "--base", base, "--out", str(run_folder))
        yield Stage(name, (*words, *more["train"]), run_folder / "model" / "manifest.json")
    for name, count in config.pictures.items():
        model, folder = out / _generator(name) / "model", out / "pictures" / name
        strategy = Strategy.ORIGIN if name == GEODIFFUSION else name
        words = ("generate", "--model", str(model), "--layouts", str(data), "--split", TRAIN, "--strategy", strategy)
        words = (*words, "--attributes", str(attributes), "--count", str(count), "--out", str(folder))
        yield Stage(f"pictures: {name}", (*words, *more["generate"]), folder / "annotations.json")
    made = ",".join([*(str(out / "pictures" / name) for name in config.pictures), *config.compare])
    words = ("trainability", "--data", str(data), "--synthetic", made, "--out", str(out / "trainability"))
    result = out / "trainability" / "trainability.json"
    yield Stage("trainability", (*words, *more["trainability"]), result)
    yield Stage("report", ("report", str(result), "--out", str(out / "report")), out / "report" / "report.html")


def _data_stages(config: LoopConfig, data: Path) -> Iterator[Stage]:
    """The pictures to learn from and to measure on, in a folder that holds no others."""
    split = ("--split", config.split) if config.split else ()
    part = ("--fraction", str(config.fraction), "--seed", str(config.seed))
    given = {"--split-by": config.split_by, "--images": config.images}
    how = tuple(word for name, value in given.items() if value is not None for word in (name, str(value)))
    for name, asked in ((TRAIN, (*split, *part)), (VALIDATION, ("--split", config.validation))):
        words = ("subset", "--data", config.data, *how, *asked, "--name", name, "--out", str(data))
        yield Stage(f"data: {name}", words, data / "annotations" / f"instances_{name}.json")


def _generator(pictures: str) -> str:
    return GEODIFFUSION if pictures == GEODIFFUSION else "generator"


@cache
def _modules() -> Mapping[str, Any]:
    """The verbs that a loop runs: not imported for `--help`."""
    from training.autoencoder import command as autoencoder
    from training.data import subset
    from training.generator import command as train
    from training.labelling import annotate
    from training.report import command as report
    from training.studies import trainability
    from training.synthesis import command as generate

    first = {"subset": subset, "annotate": annotate, "autoencoder": autoencoder, "train": train}
    return {**first, "generate": generate, "trainability": trainability, "report": report}


def check(plan: Sequence[Stage]) -> None:
    """ConfigError if a command has arguments that its verb does not take: said before hours of work."""
    for stage in plan:
        arguments = _parsed(stage.name, stage.words)
        if stage.words[0] in _CHECKED:
            _modules()[stage.words[0]].request_of(arguments)


def _parsed(name: str, words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a stage's command, as its verb takes them."""
    parser = argparse.ArgumentParser(prog=f"python -m training {words[0]}")
    _modules()[words[0]].add_arguments(parser)
    try:
        return parser.parse_args(words[1:])
    except SystemExit as error:
        raise ConfigError(f"{name}: what the config says for {words[0]} is wrong, see above") from error


def check_inputs(config: LoopConfig, plan: Sequence[Stage]) -> None:
    """That everything is there which the commands need and do not make themselves: folders, splits, detectors, weights.

    Raises:
        DataError, DetectorError, ConfigError: something is not, or it cannot be written to `out`.
    """
    from training.data.datasets import open_dataset
    from training.data.filters import EVERYTHING
    from training.synthesis.request import NO_DETECTOR, check_request

    try:
        out_folder(config.out)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"out: {error}") from error
    learned, _ = (
        open_dataset(Path(config.data), filter=EVERYTHING, split=split, reading=config.reading)
        for split in (config.split, config.validation)
    )
    check_there(None if config.base is None else Path(config.base), *map(Path, config.compare), what="folder")
    asked = {stage.words[0]: _parsed(stage.name, stage.words) for stage in plan}
    check_there(*(getattr(one, name, None) for one in asked.values() for name in ("start", "val_attributes")))
    for verb, one in asked.items():
        check_device(getattr(one, "device", None), draws=verb == "generate")
    learner, count = asked["trainability"], math.ceil(len(learned) * config.fraction)
    if not Path(learner.detector).exists():
        check_any(learner.detector)
    if learner.limit is not None and learner.limit > count:
        raise DataError(f"trainability: {config.data} has {count} images to learn from, not --limit {learner.limit}")
    pictures = _modules()["generate"].request_of(asked["generate"])
    if asked["train"].detector == NO_DETECTOR and pictures.detector is None:  # the model then has none of its own
        pictures = replace(pictures, detector=NO_DETECTOR)
    check_request(pictures)
    rehearse(config, plan)


def rehearse(config: LoopConfig, plan: Sequence[Stage]) -> None:
    """A dry run, on the user's data, of every stage that is still to come and needs nothing that another one makes.

    Raises:
        DetDiffusionError: what the stage would raise.
    """
    reading, train = config.reading, _modules()["train"]
    for stage in plan:
        verb = stage.words[0]
        if verb not in _REHEARSED or stage.proof.exists():
            continue
        arguments = _parsed(stage.name, stage.words)
        arguments.data, arguments.split, arguments.dry_run = Path(config.data), config.split, True
        arguments.images, arguments.split_by = reading.images, reading.split_by
        if verb == "train":
            arguments.dry_run = train.BEFORE_ATTRIBUTES
        if verb == "train" and config.base is None:  # its autoencoder is still to be trained
            arguments.base = None
            train.check(train.request_of(arguments), attributes=False)
            continue
        arguments.out = arguments.out.with_name(f"dry-run-{arguments.out.name}")  # what is there is of the loop's data
        with redirect_stdout(StringIO()):  # of what they print, the plan alone is asked for
            _modules()[verb].run(arguments)


def perform(plan: Sequence[Stage], out: Path) -> int:
    """Runs what is not done, each command in a process of its own; returns the exit code of the first that failed.

    Raises:
        ConfigError: a finished stage was run with other arguments.
    """
    record = _Record(out)
    record.check(plan)
    with telling(out / STATUS, "stage") as status:
        for stage in plan:
            if record.done(stage):
                continue
            print("$", shlex.join(["python", "-m", "training", *stage.words]), file=sys.stderr, flush=True)
            record.tell(status, plan, stage, RunState.RUNNING)
            began = time.monotonic()
            code = _run([*COMMAND, *stage.words])
            if code or not stage.proof.exists():
                said = f"{stage.name} ended with code {code}; the same command goes on from there"
                record.tell(status, plan, stage, RunState.FAILED)
                status.say(RunState.STOPPED if code in _STOPPED else RunState.FAILED, said)
                print(f"error: {said}", file=sys.stderr)
                return code or 1
            record.finish(stage, time.monotonic() - began)
        record.tell(status, plan, plan[-1], RunState.FINISHED)
    print(plan[-1].proof)
    return 0


def _run(command: Sequence[str]) -> int:
    """Its exit code. It is told to stop when this process is, and is waited for: a training writes its checkpoint."""
    with subprocess.Popen(command, env=bound_to_this()) as child:
        before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        try:
            return child.wait()
        except KeyboardInterrupt:  # which a terminal sends to both
            child.wait()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)


class _Record:
    """What is done, in `out/stages/`, and where the whole stands, in `out/status.json`."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def check(self, plan: Sequence[Stage]) -> None:
        for stage in plan:
            before = self._read(stage)
            if before is not None and [_RENAMED.get(word, word) for word in before["command"]] != list(stage.words):
                raise ConfigError(
                    f"{stage.name} was done with `{shlex.join(before['command'])}`, and the config now says "
                    f"`{shlex.join(stage.words)}`: use the old config, give another out, or delete "
                    f"{self._path(stage)} and what it made"
                )

    def done(self, stage: Stage) -> bool:
        return self._read(stage) is not None and stage.proof.exists()

    def finish(self, stage: Stage, seconds: float) -> None:
        from detdiffusion.core.files import write_sealed

        self._path(stage).parent.mkdir(parents=True, exist_ok=True)
        write_sealed(self._path(stage), {"command": list(stage.words), "seconds": round(seconds)})

    def tell(self, status: StatusWriter, plan: Sequence[Stage], now: Stage, state: RunState) -> None:
        """Which stages are finished, and which one the loop is at."""
        rows = [StageStatus(stage.name, state if stage is now else self._state(stage)) for stage in plan]
        done = [row.state for row in rows].count(RunState.FINISHED)
        status.say(state, stage=now.name, done=done, total=len(rows), stages=tuple(rows))

    def _state(self, stage: Stage) -> RunState:
        return RunState.FINISHED if self.done(stage) else RunState.WAITING

    def _path(self, stage: Stage) -> Path:
        return self.out / "stages" / f"{stage.name.replace(': ', '-')}.json"

    def _read(self, stage: Stage) -> dict[str, Any] | None:
        from detdiffusion.core.files import json_object, read_json

        path, remedy = self._path(stage), "delete it, the stage is then done again"
        return read_json(path, json_object, ConfigError, remedy) if path.exists() else None
