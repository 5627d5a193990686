"""What a loop's config says, and its stages without rounds: data and detector -> attributes, generator, images, table.

Every stage is one of the other verbs, with what the config file says after its name.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, fields, replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.attributes import Strategy
from detdiffusion.core.arguments import out_folder
from detdiffusion.core.devices import check_device
from detdiffusion.detectors.architectures import check_any
from detdiffusion.errors import ConfigError, DataError, quoted, why
from training.core.cli import check_there
from training.data.request import Reading, SplitBy
from training.loop.config import Rounds, StudioModel

if TYPE_CHECKING:
    from training.data.datasets import Dataset

TRAIN, VALIDATION, DIAGNOSED = "train", "val", "diagnosed"  # splits of the loop's own copy of the data
GENERATOR, GEODIFFUSION = "generator", "geodiffusion"
_VERBS = ("annotate", "autoencoder", "train", "generate", "trainability")
_NOT_STUDIO = ("rounds", "pictures", "compare", "model", "generate", "trainability")
_CHECKED = (
    "annotate",
    "autoencoder",
    "train",
    "generate",
    "trainability",
)  # whose request needs nothing that another stage makes
_REHEARSED = ("detector", "annotate", "autoencoder", "train")  # on the user's own data


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
    model: str | None = None  # with rounds: a trained model; without it one is trained first
    rounds: Rounds | None = None  # None: one pass, whose end is the table
    studio: StudioModel | None = None  # the end is a model folder instead
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
            raise ConfigError("pictures needs strategies with their numbers, and compare a list of folders")
        if any(not isinstance(value, int | float) for value in (self.fraction, self.seed)):
            raise ConfigError("fraction and seed need to be numbers")
        try:
            words = {verb: shlex.split(getattr(self, verb)) for verb in _VERBS}
        except ValueError as error:
            raise ConfigError(f"one of {', '.join(_VERBS)} is no command line: {error}") from error
        self._check_pictures()
        if isinstance(self.compare, str):
            raise ConfigError(f"compare needs a list of folders, got {self.compare!r}")
        if self.split_by is not None:
            SplitBy.parse(str(self.split_by))
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"fraction {self.fraction} needs to be above 0 and at most 1")
        labels = self.model is not None or "--detector" in words["annotate"]
        learns = self.studio is not None or "--detector" in words["trainability"]
        if not labels or not learns:
            raise ConfigError("annotate and trainability each need a --detector: who gives attributes, and who learns")

    def _check_pictures(self) -> None:
        if self.studio is not None:
            if given := [name for name in _NOT_STUDIO if getattr(self, name)]:
                raise ConfigError(f"with studio the end is a model folder: leave {', '.join(given)} out")
            return
        if self.rounds is not None:
            if self.pictures or self.compare:
                raise ConfigError("with rounds each one says which images it makes: leave pictures and compare out")
            return
        if self.model is not None:
            raise ConfigError("model goes with rounds; without them a generator is trained")
        known = (*Strategy, GEODIFFUSION)
        unknown = [name for name in self.pictures if name not in known]
        if not self.pictures or unknown:
            raise ConfigError(f"pictures needs numbers of images for some of {', '.join(known)}; got {self.pictures}")
        if any(not isinstance(count, int) or count < 1 for count in self.pictures.values()):
            raise ConfigError(f"pictures {dict(self.pictures)} needs whole numbers of 1 or more")

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
        here |= {name: beside(values[name]) for name in ("base", "images", "model") if values.get(name)}
        if isinstance(values.get("compare"), list):
            here["compare"] = tuple(map(beside, values["compare"]))
        if values.get("rounds") is not None:
            here["rounds"] = Rounds.of(values["rounds"])
        if values.get("studio") is not None:
            here["studio"] = StudioModel.of(values["studio"], beside)
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


def stages(config: LoopConfig) -> list[Stage]:
    """All commands of a loop without rounds, in order."""
    return [*data_stages(config), *generator_stages(config, list(config.pictures)), *_table_stages(config)]


def data_stages(config: LoopConfig) -> Iterator[Stage]:
    """The images to learn from, to diagnose on and to measure on, in a folder that holds no others."""
    data = Path(config.out) / "data"
    split = ("--split", config.split) if config.split else ()
    given = {"--split-by": config.split_by, "--images": config.images}
    how = tuple(word for name, value in given.items() if value is not None for word in (name, str(value)))
    part = (*how, *split, "--fraction", str(config.fraction), "--seed", str(config.seed))
    wanted: dict[str, tuple[str, ...]] = {TRAIN: part, VALIDATION: (*how, "--split", config.validation)}
    sources: dict[str, str] = {}
    diagnosed = None if config.rounds is None else config.rounds.diagnosed
    if isinstance(diagnosed, str):
        wanted[DIAGNOSED] = (*how, "--split", diagnosed)
    elif diagnosed is not None:
        pool = Path(config.out) / "pool"  # what is learned from and what is diagnosed on
        yield _subset("pool", config.data, part, TRAIN, pool)
        by = ("--split-by", str(SplitBy(round(1 - diagnosed, 6), config.seed)))
        wanted |= {TRAIN: (*by, "--split", TRAIN), DIAGNOSED: (*by, "--split", VALIDATION)}
        sources = dict.fromkeys((TRAIN, DIAGNOSED), str(pool))
    for name, asked in wanted.items():
        yield _subset(name, sources.get(name, config.data), asked, name, data)


def _subset(stage: str, source: str, asked: Sequence[str], name: str, out: Path) -> Stage:
    words = ("subset", "--data", source, *asked, "--name", name, "--out", str(out))
    return Stage(f"data: {stage}", words, out / "annotations" / f"instances_{name}.json")


def generator_stages(config: LoopConfig, pictures: Sequence[str]) -> Iterator[Stage]:
    """Attributes, the autoencoder where there is no base, and the generators that these pictures need."""
    out = Path(config.out)
    ours = ("--data", str(out / "data"), "--split", TRAIN)
    attributes = out / "attributes.jsonl"
    more = {verb: shlex.split(getattr(config, verb)) for verb in _VERBS}
    words: tuple[str, ...] = ("annotate", *ours, "--out", str(attributes), *more["annotate"])
    yield Stage("attributes", words, attributes.with_suffix(".summary.json"))
    base = config.base
    if base is None:
        words = ("autoencoder", *ours, "--out", str(out / "autoencoder"), *more["autoencoder"])
        yield Stage("autoencoder", words, out / "autoencoder" / "report.json")
        base = str(out / "autoencoder" / "model")
    for name in dict.fromkeys(map(_generator, pictures)):
        preset = config.preset if name == GENERATOR else f"{config.preset}-{GEODIFFUSION}"
        run_folder = out / name
        labelled = ("--attributes", str(attributes)) if name == GENERATOR else ()
        words = ("train", "--preset", preset, *ours, *labelled, "--base", base, "--out", str(run_folder))
        yield Stage(name, (*words, *more["train"]), run_folder / "model" / "manifest.json")


def _table_stages(config: LoopConfig) -> Iterator[Stage]:
    out = Path(config.out)
    data, attributes = out / "data", out / "attributes.jsonl"
    more = {verb: shlex.split(getattr(config, verb)) for verb in _VERBS}
    for name, count in config.pictures.items():
        model, folder = out / _generator(name) / "model", out / "pictures" / name
        strategy = Strategy.ORIGIN if name == GEODIFFUSION else name
        of = ("--layouts", str(data), "--split", TRAIN, "--strategy", strategy, "--attributes", str(attributes))
        drawn = ("generate", "--model", str(model), *of, "--count", str(count), "--out", str(folder))
        yield Stage(f"pictures: {name}", (*drawn, *more["generate"]), folder / "annotations.json")
    made = ",".join([*(str(out / "pictures" / name) for name in config.pictures), *config.compare])
    words = ("trainability", "--data", str(data), "--synthetic", made, "--out", str(out / "trainability"))
    result = out / "trainability" / "trainability.json"
    yield Stage("trainability", (*words, *more["trainability"]), result)
    yield Stage("report", ("report", str(result), "--out", str(out / "report")), out / "report" / "report.html")


def _generator(pictures: str) -> str:
    return GEODIFFUSION if pictures == GEODIFFUSION else GENERATOR


@cache
def _modules() -> Mapping[str, Any]:
    """The verbs that a loop runs: not imported for `--help`."""
    from training.autoencoder import command as autoencoder
    from training.data import subset
    from training.detector import command as detector
    from training.diagnosis import command as diagnose
    from training.diagnosis import plan_command as plan
    from training.distillation import command as distill
    from training.generator import assemble
    from training.generator import command as train
    from training.labelling import annotate
    from training.report import command as report
    from training.studies import trainability
    from training.synthesis import command as generate

    first = {"subset": subset, "annotate": annotate, "autoencoder": autoencoder, "train": train}
    then = {"diagnose": diagnose, "plan": plan, "generate": generate}
    studio = {"detector": detector, "distill": distill, "assemble": assemble}
    return {**first, **then, **studio, "trainability": trainability, "report": report}


def check(plan: Sequence[Stage]) -> None:
    """ConfigError if a command has arguments that its verb does not take: said before hours of work."""
    for stage in plan:
        arguments = parsed(stage.name, stage.words)
        if stage.words[0] in _CHECKED:
            _modules()[stage.words[0]].request_of(arguments)


def parsed(name: str, words: Sequence[str]) -> argparse.Namespace:
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
    from training.synthesis.request import NO_DETECTOR, check_request

    learned = open_data(config)
    check_there(None if config.base is None else Path(config.base), *map(Path, config.compare), what="folder")
    asked = {stage.words[0]: parsed(stage.name, stage.words) for stage in plan}
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


def open_data(config: LoopConfig) -> Dataset:
    """The data that a loop learns from; those that it is validated on can be read, too.

    Raises:
        ConfigError: `out` can be no folder.
        DataError: a split cannot be read.
    """
    from training.data.datasets import open_dataset
    from training.data.filters import EVERYTHING

    try:
        out_folder(config.out)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"out: {error}") from error
    learned, _ = (
        open_dataset(Path(config.data), filter=EVERYTHING, split=split, reading=config.reading)
        for split in (config.split, config.validation)
    )
    return learned


def rehearse(config: LoopConfig, plan: Sequence[Stage]) -> None:
    """A dry run, on the user's data, of every stage that is still to come and needs nothing that another one makes.

    Raises:
        DetDiffusionError: what the stage would raise.
    """
    train = _modules()["train"]
    for stage in plan:
        verb = stage.words[0]
        if verb not in _REHEARSED or stage.proof.exists():
            continue
        if verb == "train" and config.base is None:  # its autoencoder is still to be trained
            arguments = _on_user_data(config, stage)
            arguments.base = None
            train.check(train.request_of(arguments), attributes=False)
            continue
        rehearse_stage(config, stage, train.BEFORE_ATTRIBUTES if verb == "train" else True)


def rehearse_stage(config: LoopConfig, stage: Stage, dry: bool | str = True) -> None:
    """A dry run of one stage, on the user's data in place of the loop's copy."""
    arguments = _on_user_data(config, stage)
    arguments.dry_run = dry
    arguments.out = arguments.out.with_name(f"dry-run-{arguments.out.name}")  # what is there is of the loop's data
    with redirect_stdout(StringIO()):  # of what they print, the plan alone is asked for
        _modules()[stage.words[0]].run(arguments)


def _on_user_data(config: LoopConfig, stage: Stage) -> argparse.Namespace:
    arguments = parsed(stage.name, stage.words)
    arguments.data, arguments.split = Path(config.data), config.split
    arguments.images, arguments.split_by = config.reading.images, config.reading.split_by
    if stage.words[0] == "trainability":
        arguments.val_split = config.validation
    return arguments
