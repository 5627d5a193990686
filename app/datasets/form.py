"""A data set, or a closed loop, as a person orders it -> the commands that make it."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from app.components.places import ANYWHERE, Places
from app.runs.form import (
    FIRST_SCENE,
    SAMPLER_STEPS,
    TRAINING,
    RunPlan,
    Source,
    data_folder,
    detector_of,
    model_folder,
    model_name,
    whole_number,
)
from app.runs.jobs import Runs
from detdiffusion.attributes import Strategy
from detdiffusion.detectors import BUNDLED, own_detectors
from detdiffusion.errors import ConfigError
from detdiffusion.sampling_config import MAX_SEED
from training.core.status import STATUS, status_beside
from training.loop.command import plan_of
from training.loop.stages import LoopConfig, check
from training.synthesis.store import REFINEMENTS

SET, PAGE, PLANNED = "set", "page/report.html", "layouts.jsonl"
MAX_COUNT, MAX_WORKERS = 1_000_000, 64
KEEP = "Keep all"


class Kind(StrEnum):
    """What the tab makes."""

    DATASET = "Data set"
    LOOP = "Closed loop"


@dataclass(frozen=True, slots=True)
class DatasetOrder:
    """The form, as it was typed."""

    model: str
    source: str = Source.PAPERCUT
    layouts: str = "500"
    folder: str = ""
    strategy: str = Strategy.HARD
    count: str = "200"
    steps: str = ""
    seed: str = ""
    workers: str = "1"
    refine: str = KEEP
    augment: bool = True
    yolo: bool = True
    check: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """What layouts are planned for in place of those that the form names: a slice of a diagnosis (its folder)."""

    diagnosis: Path
    slice: str

    @property
    def wish(self) -> str:
        """The name of a run, without its number."""
        return f"more-{re.sub('[^A-Za-z0-9]+', '-', self.slice).strip('-')[:40]}"

    def command(self, count: int, seed: int, out: Path) -> tuple[str, ...]:
        """All layouts show the slice."""
        words = ("--slice", self.slice, "--coverage", "0", "--count", str(count), "--seed", str(seed))
        return (*TRAINING, "plan", "--diagnosis", str(self.diagnosis), *words, "--out", str(out))


def layouts_spec(order: DatasetOrder, places: Places = ANYWHERE) -> str:
    """What --layouts gets. places: where the folder may lie.

    Raises:
        ConfigError: no number, or no folder.
    """
    if order.source == Source.FOLDER:
        return str(data_folder(order.folder, places))
    count = whole_number("layouts", order.layouts, 1, MAX_COUNT)
    if count is None:
        raise ConfigError("enter the number of layouts")
    return f"papercut:{count}@{FIRST_SCENE}"


def make_dataset(order: DatasetOrder, runs: Runs, home: Path) -> RunPlan:
    """`generate`, then `verify`. home: the model folder whose detector looks where a model has none.

    Raises:
        ConfigError: for what can be seen to be wrong at once.
    """
    model, spec = model_folder(order.model, runs.places), layouts_spec(order, runs.places)
    if order.strategy not in tuple(Strategy):
        raise ConfigError(f"there is no strategy {order.strategy!r}; choose one of {', '.join(Strategy)}")
    name = order.name.strip() or runs.free_name(order.strategy)
    runs.check_free(name)
    commands = _generate(order, model, spec, runs.folder(name) / SET, home, runs.places)
    shown = f"Papercut, {order.layouts} layouts" if order.source == Source.PAPERCUT else Path(spec).name
    about = {"kind": Kind.DATASET, "model": model_name(model), "data": shown}
    return RunPlan(name, commands, about, (f"{SET}/{STATUS}",))


def make_more(order: DatasetOrder, need: Need, runs: Runs, home: Path) -> RunPlan:
    """`plan` for a slice, `generate` of the layouts, `verify`: as `make_dataset`, but for the layouts."""
    model, name = model_folder(order.model, runs.places), runs.free_name(need.wish)
    folder = runs.folder(name)
    layouts = folder / PLANNED
    seed = int(name.rpartition("-")[2])  # other layouts for the same slice each time
    plan = need.command(_images(order), seed, layouts)
    commands = (plan, *_generate(order, model, str(layouts), folder / SET, home, runs.places))
    about = {"kind": Kind.DATASET, "model": model_name(model), "data": f"more of: {need.slice}"}
    return RunPlan(name, commands, about, (str(status_beside(Path(PLANNED))), f"{SET}/{STATUS}"), counts=1)


def _images(order: DatasetOrder) -> int:
    count = whole_number("images", order.count, 1, MAX_COUNT)
    if count is None:
        raise ConfigError("enter the number of images")
    return count


def _generate(
    order: DatasetOrder, model: Path, spec: str, out: Path, home: Path, places: Places
) -> tuple[tuple[str, ...], ...]:
    words = ["--model", str(model), "--layouts", spec, "--strategy", order.strategy, "--count", str(_images(order))]
    for option, what, text, least, most in (
        ("--steps", "steps", order.steps, 1, SAMPLER_STEPS),
        ("--seed", "seed", order.seed, 0, MAX_SEED),
        ("--workers", "workers", order.workers, 1, MAX_WORKERS),
    ):
        number = whole_number(what, text, least, most)
        words += [] if number is None else [option, str(number)]
    if BUNDLED not in own_detectors(model):
        words += ["--detector", detector_of(BUNDLED, home, places)]
    words += ["--refine", order.refine] if order.refine in REFINEMENTS else []
    words += ["--augment"] * order.augment + ["--yolo"] * order.yolo + ["--check"] * order.check
    return (*TRAINING, "generate", *words, "--out", str(out)), (*TRAINING, "verify", str(out))


def make_loop(text: str, runs: Runs) -> RunPlan:
    """`loop`, then its report as a page of the run.

    Raises:
        ConfigError: the file cannot be read, or says something that a stage does not know.
    """
    if not text.strip():
        raise ConfigError("name the loop's config file (docs/DATA_ENGINE.md has an example)")
    path = runs.places.readable(text)
    config = LoopConfig.read(path)
    plan = plan_of(config)
    for stage in plan:
        runs.places.check_command(stage.words)
    check(plan)
    name = runs.free_name(path.stem)
    page = runs.folder(name) / Path(PAGE).parent
    table = Path(config.out) / "trainability" / "trainability.json"
    commands: tuple[tuple[str, ...], ...] = ((*TRAINING, "loop", "--config", str(path)),)
    if config.rounds is None and config.studio is None:  # with rounds the loop writes its own, which the tab shows
        commands = (*commands, (*TRAINING, "report", str(table), "--out", str(page)))
    about = {"kind": Kind.LOOP, "data": Path(config.data).name, "out": config.out}
    return RunPlan(name, commands, about, (str(Path(config.out) / STATUS), f"{Path(PAGE).parent}/{STATUS}"))
