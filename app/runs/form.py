"""What the forms of training, evaluation and data sets share: data, models, detectors, numbers as typed. No gradio."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.components.places import Places
from app.runs.files import MODEL
from detdiffusion.detectors import BUNDLED, detector_path
from detdiffusion.errors import ConfigError, DetectorError
from training.data.forms.recognise import DATA_FILES

TRAINING = (sys.executable, "-m", "training")


FIRST_SCENE = 100_000  # scenes below have trained the bundled detectors, which would find everything in them


SAMPLER_STEPS = 1000  # at most


class Source(StrEnum):
    """Where the images come from."""

    PAPERCUT = "Papercut"
    FOLDER = "Folder"


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run as it is to be started. `about` is what a person reads of it; `status` and `counts` are those of
    `app.runs.jobs.Job`."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    about: Mapping[str, str]
    status: tuple[str, ...]
    counts: int = 0


def whole_number(name: str, text: str, least: int, most: int) -> int | None:
    """None where nothing was typed."""
    typed = text.strip().replace(",", "")
    if not typed:
        return None
    if not (re.fullmatch(r"-?\d{1,18}", typed) and least <= int(typed) <= most):
        raise ConfigError(f"{name} {text.strip()!r} needs to be a whole number from {least} to {most:,}")
    return int(typed)


def papercut(scenes: int, size: int, out: Path, first: int = FIRST_SCENE) -> tuple[str, ...]:
    """The command that draws scenes of the built-in world."""
    where = ("--seed", str(first), "--image-size", str(size), "--workers", str(os.cpu_count() or 1), "--out", str(out))
    return (*TRAINING, "papercut", "--images", str(scenes), *where)


def data_folder(text: str, places: Places) -> Path:
    """A data set's folder, or the file that names its objects. ConfigError where there is none."""
    if not text.strip():
        raise ConfigError("enter the folder of the images and their annotations")
    folder = places.readable(text)
    if not folder.is_dir() and not (folder.is_file() and folder.suffix.lower() in DATA_FILES):
        raise ConfigError(f"{folder} is not a folder")
    return folder


def detector_of(text: str, home: Path, places: Places) -> str:
    """By path, so that the run does not depend on what a name means elsewhere."""
    places.check_command([text.strip()])
    try:
        found = detector_path(text.strip() or BUNDLED, home)
    except DetectorError as error:
        raise ConfigError(str(error)) from error
    places.readable(found.partition("=")[2] or found)
    return found


def model_name(folder: Path) -> str:
    """A model folder as a person would name it: that of a run by the run's name."""
    return folder.parent.name if folder.name == MODEL else folder.name


def model_folder(text: str, places: Places) -> Path:
    """ConfigError where it is none."""
    folder = places.readable(text)
    if not (folder / "model_index.json").is_file():
        raise ConfigError(f"{folder} is not a model folder (model_index.json is missing)")
    return folder
