"""The closed loop: diagnose -> plan -> generate and check -> train -> diagnose again, until a gain includes zero.

A round's gain is paired: a detector that learns from the images of this round, too, against one that does not, with the
same seeds and updates, on images that neither they nor a diagnosis have seen.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detdiffusion.core.arguments import out_folder
from detdiffusion.core.files import write_json, write_text
from detdiffusion.core.json_stream import elements
from detdiffusion.detectors import own_detectors
from detdiffusion.errors import ConfigError, DataError
from training.core.cli import check_there
from training.data.datasets import open_dataset
from training.data.filters import EVERYTHING
from training.loop.config import Rounds
from training.loop.stages import (
    DIAGNOSED,
    GENERATOR,
    TRAIN,
    VALIDATION,
    LoopConfig,
    Stage,
    data_stages,
    generator_stages,
    parsed,
    rehearse,
    rehearse_stage,
)
from training.report.blocks import Block, Plot, Table, Text, to_html
from training.report.data import read_report
from training.report.plots import Bar, bars
from training.report.study_tables import SeedEstimate, TrainabilityTable, points
from training.studies.trainability import RESULT
from training.studies.trainability_findings import above_zero
from training.studies.trainability_rows import REAL, Row
from training.studies.trainability_table import result_path
from training.synthesis.exports import ANNOTATIONS

FILE, PAGE = "rounds.json", "report.html"
FIRST = "first detector"
LEAST_SEEDS = 2  # a gain has an interval from there on
_IMAGES, _REPORT = "images", "report"  # stages of a round after which it may be over


@dataclass(frozen=True, slots=True)
class _Paths:
    """Where a closed loop keeps what it makes. Round 0 is what is there before the first one."""

    config: LoopConfig
    seed: int  # of the detectors that are diagnosed

    @property
    def out(self) -> Path:
        return Path(self.config.out)

    @property
    def model(self) -> Path:
        return Path(self.config.model) if self.config.model is not None else self.out / GENERATOR / "model"

    def round(self, number: int) -> Path:
        return self.out / f"round-{number}"

    def images(self, number: int) -> Path:
        return self.out / "images" / f"round-{number}"

    def detector(self, number: int) -> Path:
        row = Row(row_name(number), (), 0, 0)
        return result_path(self.round(number) / "table", row, self.seed).with_name("detector")


def row_name(number: int) -> str:
    """The row of a round's table that learns from all images so far."""
    return " + ".join(("real", *(f"round-{one}" for one in range(1, number + 1)))) if number else REAL


def round_stages(config: LoopConfig) -> list[Stage]:
    """All commands of a closed loop, of as many rounds as there may be."""
    return list(_stages(config, _rounds(config)))


def _rounds(config: LoopConfig) -> Rounds:
    assert config.rounds is not None  # whoever asks for rounds has some
    return config.rounds


def _learning(config: LoopConfig) -> tuple[str, ...]:
    """How every detector of a closed loop learns."""
    data = ("--data", str(Path(config.out) / "data"), "--split", TRAIN, "--val-split", VALIDATION)
    return ("trainability", *data, *shlex.split(config.trainability), "--keep")


def _asked(config: LoopConfig) -> argparse.Namespace:
    return parsed("trainability", (*_learning(config), "--out", "."))


def _paths(config: LoopConfig) -> _Paths:
    return _Paths(config, _asked(config).seeds[0])


def _stages(config: LoopConfig, rounds: Rounds) -> Iterator[Stage]:
    yield from data_stages(config)
    if config.model is None:
        yield from generator_stages(config, [GENERATOR])
    paths = _paths(config)
    first = paths.round(0) / "table"
    only = ("--rows", "real", "--seeds", str(paths.seed), "--out", str(first))
    yield Stage(FIRST, (*_learning(config), *only), first / RESULT)
    yield _diagnosis(paths, rounds, 0)
    for number in range(1, rounds.most + 1):
        yield from _round(paths, rounds, number)


def _round(paths: _Paths, rounds: Rounds, number: int) -> Iterator[Stage]:
    here, before, images = paths.round(number), paths.round(number - 1), paths.images(number)
    known = ("--diagnosis", str(before / "diagnosis"))
    count = ("--count", str(rounds.images), "--seed", str(number))
    layouts = here / "layouts.jsonl"
    words: tuple[str, ...] = ("plan", *known, *count, "--out", str(layouts), *shlex.split(rounds.plan))
    yield Stage(f"round {number}: plan", words, layouts.with_suffix(".summary.json"))
    drawn = ("--model", str(paths.model), "--layouts", str(layouts), "--strategy", "origin", "--check")
    more = (*_checked_by(paths), *shlex.split(paths.config.generate))
    words = ("generate", *drawn, *count, "--out", str(images), *more)
    yield Stage(f"round {number}: {_IMAGES}", words, images / ANNOTATIONS)
    so_far = ",".join(str(paths.images(one)) for one in range(1, number))
    learned = (*(("--also", so_far) if so_far else ()), "--synthetic", str(images))
    words = (*_learning(paths.config), "--rows", "real,generated", *learned, *known, "--out", str(here / "table"))
    yield Stage(f"round {number}: training", words, here / "table" / RESULT)
    yield _diagnosis(paths, rounds, number)
    both = (str(before / "diagnosis"), str(here / "diagnosis"))
    words = ("diagnose", "--compare", *both, "--out", str(here / "change"))
    yield Stage(f"round {number}: change", words, here / "change" / "comparison.json")
    words = ("report", str(here / "table" / RESULT), "--out", str(here / "report"))
    yield Stage(f"round {number}: {_REPORT}", words, here / "report" / "report.html")


def _diagnosis(paths: _Paths, rounds: Rounds, number: int) -> Stage:
    out = paths.round(number) / "diagnosis"
    data = ("--data", str(paths.out / "data"), "--split", DIAGNOSED, "--detector", str(paths.detector(number)))
    words = ("diagnose", *data, "--out", str(out), *shlex.split(rounds.diagnose))
    return Stage(f"round {number}: diagnosis" if number else "diagnosis", words, out / "report.html")


def _checked_by(paths: _Paths) -> tuple[str, ...]:
    """A model that brings no detector has its images checked by the one that learned from real images alone."""
    if "--detector" in shlex.split(paths.config.generate) or own_detectors(paths.model):
        return ()
    return ("--detector", str(paths.detector(0)))


# --- before the work ------------------------------------------------------------------------------


def check_rounds(config: LoopConfig, plan: Sequence[Stage]) -> None:
    """That everything is there which the commands need and do not make themselves.

    Raises:
        DataError, DetectorError, CheckpointError, LayoutError, ConfigError: something is not, the model does not know a
            class of the data, or it cannot be written to `out`.
    """
    rounds = _rounds(config)
    try:
        out_folder(config.out)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"out: {error}") from error
    asked, first = _asked(config), next(stage for stage in plan if stage.name == FIRST)
    if len(asked.seeds) < LEAST_SEEDS or asked.most is not None:
        raise ConfigError("trainability: a round's gain needs an interval: --seeds of two or more, and no --most")
    named = (rounds.diagnosed,) if isinstance(rounds.diagnosed, str) else ()
    if config.validation in named:
        raise ConfigError(
            f"diagnosed and validation are both {config.validation}: gains would be measured on the images that layouts"
            " are planned from; give diagnosed another split, or a share of the images to learn from"
        )
    learned, *_ = [
        open_dataset(Path(config.data), filter=EVERYTHING, split=split, reading=config.reading)
        for split in (config.split, config.validation, *named)
    ]
    check_there(*(None if one is None else Path(one) for one in (config.base, config.model)), what="folder")
    if config.model is not None:
        _check_model(Path(config.model), learned.things)
    rehearse(config, plan)
    if not first.proof.exists():
        rehearse_stage(config, first)


def _check_model(model: Path, things: Sequence[str]) -> None:
    from detdiffusion.diffusion.manifest import check_model, read_vocabulary

    check_model(model)
    vocabulary = read_vocabulary(model)
    for label in things:
        vocabulary.class_index(label)


# --- after each round -----------------------------------------------------------------------------


def ending(config: LoopConfig) -> Callable[[Stage], str | None]:
    """Whether a closed loop is over after a stage, and why: all images of a round were refused, or its gain includes
    zero. After each round `out/rounds.json` and `out/report.html` say what came of all so far."""
    paths = _paths(config)

    def ends(stage: Stage) -> str | None:
        found = re.fullmatch(rf"round (\d+): ({_IMAGES}|{_REPORT})", stage.name)
        if found is None:
            return None
        number = int(found[1])
        if found[2] == _IMAGES:
            return None if _accepted(paths, number) else _tell(paths, number - 1, _refused(paths, number))
        gain = _gain(paths, number)
        over = None
        if not above_zero(gain):
            over = f"the gain of round {number}, {points(gain)} points of mAP, includes zero or is below it"
        elif number == _rounds(config).most:
            over = f"all {number} rounds are done; the last one still gained {points(gain)} points of mAP"
        return _tell(paths, number, over)

    return ends


def _accepted(paths: _Paths, number: int) -> int:
    return sum(1 for _ in elements(paths.images(number) / ANNOTATIONS, ("images",)))


def _refused(paths: _Paths, number: int) -> str:
    return (
        f"all images of round {number} were refused, with the reasons in {paths.images(number) / 'refused.json'}: the "
        "model does not draw what is planned"
    )


def _gain(paths: _Paths, number: int) -> SeedEstimate:
    """Of the row that learns from this round's images, over the one that does not."""
    path = paths.round(number) / "table" / RESULT
    table = read_report(path)
    rows = table.rows if isinstance(table, TrainabilityTable) else ()
    found = next((row.over for row in rows if row.name == row_name(number)), None)
    if found is None:
        raise DataError(f"{path} has no gain of {row_name(number)}: delete it, the same command makes it again")
    return found[1]


def _tell(paths: _Paths, done: int, over: str | None) -> str | None:
    """Writes what came of the rounds that are done; returns why it is over, if it is."""
    rows: list[dict[str, Any]] = []
    for number in range(1, done + 1):
        gain = _gain(paths, number)
        about = {"round": number, "accepted": _accepted(paths, number), "asked": _rounds(paths.config).images}
        told = {"mean": gain.mean, "ci95": list(gain.ci95), "values": list(gain.values)}
        rows.append({**about, "gain": told, "helps": above_zero(gain)})
    best = max((one["round"] for one in rows if one["helps"]), default=0)
    detector = paths.detector(best).relative_to(paths.out).as_posix()
    write_json(paths.out / FILE, {"rounds": rows, "over": over, "best": best, "detector": detector})
    write_text(paths.out / PAGE, to_html("Closed loop", list(_blocks(paths, rows, over, detector))))
    return over


def _blocks(paths: _Paths, rows: Sequence[dict[str, Any]], over: str | None, detector: str) -> Iterator[Block]:
    yield Text(
        "In each round the detector of before is diagnosed, layouts of what it lacks are planned, their images are"
        " drawn and checked, and detectors learn from all images so far. Gain: points of mAP on images that nobody has"
        " seen, over detectors that learn from the images of the rounds before, with the same seeds and updates (95 % "
        "intervals, Student's t)."
    )
    gains = [_gain(paths, one["round"]) for one in rows]
    cells = tuple(
        (
            str(one["round"]),
            f"{one['accepted']:,} of {one['asked']:,}",
            points(gain),
            f"round-{one['round']}/report/report.html",
        )
        for one, gain in zip(rows, gains, strict=True)
    )
    yield Table("", ("round", "accepted images", "gain", "its report"), cells)
    shown = [
        Bar(f"round {one['round']}", 100 * gain.mean, 100 * gain.ci95[0], 100 * gain.ci95[1])
        for one, gain in zip(rows, gains, strict=True)
    ]
    if shown:
        yield Plot("rounds", "Gain of each round", bars(shown, "points of mAP"))
    yield Text(f"The detector to use is {detector}." + (f" It is over: {over}." if over else " It goes on."))
