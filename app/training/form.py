"""A training run as a person orders it -> the commands that do it, and whether they can work."""

import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.components.places import Places
from app.runs.files import MODEL
from app.runs.form import FIRST_SCENE, TRAINING, Source, data_folder, detector_of, papercut, whole_number
from app.runs.jobs import ROOT, Runs
from detdiffusion.core.files import typed_path
from detdiffusion.detectors import BUNDLED
from detdiffusion.errors import ConfigError
from detdiffusion.sampling_config import MAX_SEED
from training.core.status import STATUS, status_beside
from training.data.papercut.coco_export import write_dataset
from training.generator.config import FINE_TUNE, TRAIN_PRESETS

MAX_SCENES, MAX_STEPS, MAX_BATCH = 200_000, 10_000_000, 4096
SCENE_BYTES = 120_000  # a scene's picture and annotations: 60 kB measured at 512 pixels, twice over
ATTRIBUTES = "attributes.jsonl"
AS_PRESET = "Preset default"  # no --base
CHECK_SCENES = 4
CHECK_SECONDS = 900.0  # an annotation file of 1 GB is read in this time
HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+))?")  # and, behind an @, its revision


@dataclass(frozen=True, slots=True)
class Order:
    """The form, as it was typed. What is empty is left to the preset."""

    source: str
    scenes: str
    folder: str
    preset: str
    base: str | None = AS_PRESET
    steps: str = ""
    batch: str = ""
    rate: str = ""
    seed: str = ""
    detector: str = BUNDLED
    settings: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Every word of a run's commands; `check` is the last of them in a form that can be asked before the others ran."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    check: tuple[str, ...]
    status: tuple[str, ...]  # files in which they tell how far they are; the last one's counts
    data: str
    scene_size: int  # pixels; 0: the data are there already
    bytes_needed: int
    about: Mapping[str, str]  # what a person reads of it
    online: bool


def presets() -> list[str]:
    """Names of the presets of `train`."""
    return list(TRAIN_PRESETS)


def first_order() -> Order:
    """What the form shows when the page opens."""
    return Order(Source.PAPERCUT, "300", "", FINE_TUNE)


def make_plan(order: Order, runs: Runs, home: Path, present: Path | None = None) -> Plan:
    """The commands of an order. home: the model folder in which detectors are looked up by name. present: the model
    that the studio works with, which a fine-tuning goes on from.

    Raises:
        ConfigError: for what can be seen to be wrong at once.
    """
    if order.preset not in TRAIN_PRESETS:
        raise ConfigError(f"there is no preset {order.preset!r}; choose one of {', '.join(TRAIN_PRESETS)}")
    name = order.name.strip() or runs.free_name(order.preset)
    runs.check_free(name)
    run = runs.folder(name)
    scenes = whole_number("scenes", order.scenes, 1, MAX_SCENES) if order.source == Source.PAPERCUT else 0
    if scenes is None:
        raise ConfigError("enter the number of scenes")
    data = run / "data" if scenes else data_folder(order.folder, runs.places)
    base, online = _base(order.base, runs.places)
    if order.preset == FINE_TUNE and not base:
        base = str((present or home).resolve())
    check = _train(order, run, data, base)
    size = _scene_size(order.preset) if scenes else 0
    commands = [papercut(scenes, size, data)] if scenes else []
    status = [f"{data.name}/{STATUS}"] if scenes else []
    if _has_attributes(order.preset):
        attributes = str(run / ATTRIBUTES)
        status.append(str(status_beside(Path(ATTRIBUTES))))
        commands.append(_annotate(data, detector_of(order.detector, home, runs.places), attributes))
        commands.append(_train(order, run, data, base, ("--attributes", attributes)))
    else:
        commands.append(check)
    runs.check_paths((*commands, check))
    shown = {"data": f"Papercut, {scenes:,} scenes" if scenes else data.name, "preset": order.preset}
    whole = TRAIN_PRESETS[order.preset].unet is None or order.preset == FINE_TUNE
    taken = "from" if whole else "autoencoder of"  # the rest is from nothing
    about = {**shown, "base": f"{taken} {_base_name(base)}"} if base else shown
    told = (*status, STATUS)
    return Plan(name, tuple(commands), check, told, str(data), size, scenes * SCENE_BYTES, about, online)


def check_disk(folder: Path, needed: int) -> None:
    """ConfigError where the disk has not the bytes that the scenes take; the trainer checks for its own."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise ConfigError(
            f"the scenes need about {needed / 1e9:.1f} GB, and {there} has {free / 1e9:.1f} GB left: free some space, "
            "or choose fewer scenes"
        )


def rehearse(plan: Plan, environment: Mapping[str, str]) -> None:
    """Asks the trainer whether this run can work; scenes that are not there yet are stood in for by a few.

    Raises:
        ConfigError: it cannot, in the trainer's words.
    """
    if not plan.scene_size:
        dry_run(plan.check, environment)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), range(FIRST_SCENE, FIRST_SCENE + CHECK_SCENES), size=plan.scene_size)
        dry_run([folder if word == plan.data else word for word in plan.check], environment)


def dry_run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Runs a `train` command with --dry-run, before there are attributes. ConfigError with the last thing that it said,
    if it fails."""
    try:
        done = subprocess.run(
            [*command, "--dry-run", "before-attributes"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"the check was not finished within {CHECK_SECONDS:.0f} s; is the disk slow?") from None
    if done.returncode:
        *_, last = done.stderr.strip().splitlines() or ["the check failed without an error message"]
        raise ConfigError(last.rpartition("error: ")[2])


# --- the commands ---


def _scene_size(preset: str) -> int:
    """Scenes are square; pictures are stretched to the preset's size."""
    return max(TRAIN_PRESETS[preset].size)


def _has_attributes(preset: str) -> bool:
    return TRAIN_PRESETS[preset].attributes


def _annotate(data: Path, detector: str, out: str) -> tuple[str, ...]:
    return (*TRAINING, "annotate", "--data", str(data), "--detector", detector, "--out", out)


def _train(order: Order, run: Path, data: Path, base: str, attributes: tuple[str, ...] = ()) -> tuple[str, ...]:
    settings = {
        "steps": whole_number("steps", order.steps, 1, MAX_STEPS),
        "batch": whole_number("batch", order.batch, 1, MAX_BATCH),
        "learning_rate": _rate(order.rate),
        "seed": whole_number("seed", order.seed, 0, MAX_SEED),
    }
    chosen = [f"{name}={value}" for name, value in settings.items() if value is not None] + _lines(order.settings)
    where = ("--data", str(data), *attributes, "--out", str(run), *_base_words(base))
    return (*TRAINING, "train", "--preset", order.preset, *where, *(("--set", *chosen) if chosen else ()))


# --- what a person typed ---


def _rate(text: str) -> float | None:
    """None where nothing was typed."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise ConfigError(f"learning rate {text.strip()!r} needs to be a number above 0 and at most 1, like 1e-4")
    return value


def _lines(settings: str) -> list[str]:
    lines = [line.strip() for line in settings.splitlines() if line.strip()]
    for line in lines:
        if not re.fullmatch(r"[\w.]+=\S.*", line):
            raise ConfigError(f"{line!r} is not a setting: write field=value, one per line")
    return lines


def _base(text: str | None, places: Places) -> tuple[str, bool]:
    """What --base gets ("": the preset's own), and whether it has to come from a hub."""
    wanted = (text or "").strip()
    if wanted in ("", AS_PRESET):
        return "", False
    path = typed_path(wanted, ConfigError)
    if HUB_ID.fullmatch(wanted) and not path.exists():
        return wanted, True
    if places.readable(wanted).exists():
        return str(path), False
    raise ConfigError(
        f"base model {wanted!r} is neither a folder nor the id of a model on a hub (owner/name, or owner/name@revision)"
    )


def _base_words(base: str) -> tuple[str, ...]:
    if not base:
        return ()
    match = HUB_ID.fullmatch(base)
    if match is None or match[2] is None or Path(base).exists():
        return "--base", base
    return "--base", match[1], "--revision", match[2]


def _base_name(base: str) -> str:
    """As a person would name it: a run by its own name, not by that of the model folder in it."""
    path = Path(base)
    return path.parent.name if path.name == MODEL else base if HUB_ID.fullmatch(base) else path.name
