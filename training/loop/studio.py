"""A loop that ends with a model folder for the studio: detectors, attributes, generator, student, all in one folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from detdiffusion.core.parts import MANIFEST
from detdiffusion.detectors.folder import DESCRIPTION_FILE
from detdiffusion.diffusion.examples import given_examples
from detdiffusion.text.vocabulary import Vocabulary
from training.core.cli import check_there
from training.loop.config import StudioModel
from training.loop.stages import GENERATOR, TRAIN, LoopConfig, Stage, data_stages, generator_stages, open_data, rehearse

DETECTOR, HELD_OUT, STUDENT = "detector", "held-out", "student"
_LOOKED_AT = ("autoencoder", "train")  # verbs that take a detector


def studio_stages(config: LoopConfig) -> list[Stage]:
    """All commands, in order."""
    return list(_stages(config, _wanted(config)))


def _wanted(config: LoopConfig) -> StudioModel:
    assert config.studio is not None  # whoever asks for a model folder has said which
    return config.studio


def _stages(config: LoopConfig, wanted: StudioModel) -> Iterator[Stage]:
    out = Path(config.out)
    yield from data_stages(config)
    ours = ("--data", str(out / "data"), "--split", TRAIN)
    looking = {name: _folder(out / name, more) for name, more in _asked(wanted).items()}
    for name, more in _asked(wanted).items():
        words = ("detector", *ours, "--out", str(looking[name]), *more)
        yield Stage(name, words, looking[name] / "run" / "report.json")
    for stage in generator_stages(config, [GENERATOR]):
        takes = stage.words[0] in _LOOKED_AT and "--detector" not in stage.words
        yield replace(stage, words=(*stage.words, "--detector", str(looking[DETECTOR]))) if takes else stage
    made = out / GENERATOR / "model"
    if wanted.distill is not None:
        learned = (*ours, "--attributes", str(out / "attributes.jsonl"))
        words = ("distill", "--model", str(made), *learned, "--out", str(out / STUDENT), *shlex.split(wanted.distill))
        made = out / STUDENT / "model"
        yield Stage(STUDENT, words, made / MANIFEST)
    detectors = ("--detector", str(looking[DETECTOR]), "--held-out-detector", str(looking[HELD_OUT]))
    words = ("assemble", "--model", str(made), *detectors)
    examples = ("--examples", *wanted.examples) if wanted.examples else ()
    about = () if wanted.about is None else ("--about", wanted.about)
    folder = out / wanted.name
    yield Stage("model", (*words, *examples, *about, "--loop", str(out), "--out", str(folder)), folder / MANIFEST)


def _asked(wanted: StudioModel) -> dict[str, list[str]]:
    """How the two detectors learn."""
    return {DETECTOR: shlex.split(wanted.detector), HELD_OUT: shlex.split(wanted.held_out)}


def _folder(place: Path, words: Sequence[str]) -> Path:
    """A detector has the name of its folder: that of its architecture, where one is named."""
    return place / (words[words.index("--arch") + 1] if "--arch" in words[:-1] else place.name)


def check_studio(config: LoopConfig, plan: Sequence[Stage]) -> None:
    """That everything is there which the commands need and do not make themselves.

    Raises:
        DataError, DetectorError, LayoutError, ConfigError: something is not, or it cannot be written to `out`.
    """
    learned = open_data(config)
    wanted = _wanted(config)
    check_there(*(None if path is None else Path(path) for path in (config.base, wanted.about)))
    given_examples(map(Path, wanted.examples), Vocabulary(tuple(learned.things), tuple(learned.stuff)))
    detector = _folder(Path(config.out) / DETECTOR, _asked(wanted)[DETECTOR])
    rehearse(config, [_before_detector(stage, detector) for stage in plan])


def _before_detector(stage: Stage, detector: Path) -> Stage:
    """A stage as it can be rehearsed while the detector is still to be trained."""
    if stage.words[0] not in _LOOKED_AT or str(detector) not in stage.words or (detector / DESCRIPTION_FILE).is_file():
        return stage
    place = stage.words.index(str(detector))
    without = ("--detector", "none") if stage.words[0] == "train" else ()
    return replace(stage, words=(*stage.words[: place - 1], *without, *stage.words[place + 1 :]))
