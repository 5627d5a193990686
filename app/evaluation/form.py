"""An evaluation as a person orders it -> the commands that do it: `evaluate`, then `report`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.components.places import Places
from app.runs.form import (
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
from detdiffusion.detectors import BUNDLED, HELD_OUT, own_detectors
from detdiffusion.errors import ConfigError
from training.data.papercut.classes import HELD_OUT_SEED

REPORT, PAGE = "report.json", "page/report.html"
STATUS = ("report.work/status.json", "page/status.json")  # of its commands
MAX_LAYOUTS = 100_000


@dataclass(frozen=True, slots=True)
class EvaluationOrder:
    """The form, as it was typed."""

    model: str
    source: str = Source.PAPERCUT
    layouts: str = "100"
    folder: str = ""
    baselines: Sequence[str] = ()
    detectors: str = ""  # with commas between; none: the model's own, or the home model's
    steps: str = ""
    attribute_guidance: str = ""
    one_hard: bool = True
    name: str = ""


def make_evaluation(order: EvaluationOrder, runs: Runs, home: Path) -> RunPlan:
    """The commands of an order; `home` is the model folder whose detectors look where a model has none.

    Raises:
        ConfigError: for what can be seen to be wrong at once.
    """
    model, places = model_folder(order.model, runs.places), runs.places
    others = [model_folder(baseline, places) for baseline in order.baselines]
    baselines = [folder for folder in others if folder != model]
    name = order.name.strip() or runs.free_name(model_name(model))
    runs.check_free(name)
    folder = runs.folder(name)
    count = whole_number("layouts", order.layouts, 1, MAX_LAYOUTS) if order.source == Source.PAPERCUT else None
    if order.source == Source.PAPERCUT and count is None:
        raise ConfigError("enter the number of layouts")
    spec = f"papercut:{count}@{HELD_OUT_SEED}" if count else str(data_folder(order.folder, places))
    words = ["--model", str(model), "--layouts", spec]
    words += ["--baselines", ",".join(map(str, baselines))] if baselines else []
    detectors = _detectors(order.detectors, model, home, places)
    words += ["--detector", ",".join(detectors)] if detectors else []
    steps = whole_number("steps", order.steps, 1, SAMPLER_STEPS)
    words += ["--steps", str(steps)] if steps else []
    amounts = _amounts(order.attribute_guidance)
    words += [f"--attribute-guidance={','.join(map(str, amounts))}"] if amounts else []
    words += ["--one-hard"] if order.one_hard else []
    shown = f"Papercut, {count:,} layouts" if count else Path(spec).name
    against = {"baselines": f"against {', '.join(map(model_name, baselines))}"} if baselines else {}
    commands = (
        (*TRAINING, "evaluate", *words, "--out", str(folder / REPORT)),
        (*TRAINING, "report", str(folder / REPORT), "--out", str((folder / PAGE).parent)),
    )
    return RunPlan(name, commands, {"model": model_name(model), "data": shown, **against}, STATUS)


def _detectors(text: str, model: Path, home: Path, places: Places) -> list[str]:
    """Paths; none where the model's own are to look."""
    wanted = [word.strip() for word in text.split(",") if word.strip()]
    if not wanted and own_detectors(model):
        return []
    return [detector_of(word, home, places) for word in wanted or (BUNDLED, HELD_OUT)]


def _amounts(text: str) -> list[float]:
    try:
        amounts = [float(word) for word in text.split(",") if word.strip()]
    except ValueError:
        amounts = [math.nan]
    if not all(map(math.isfinite, amounts)):
        raise ConfigError(f"attribute guidance {text.strip()!r} needs numbers separated by commas, like 0,1,2")
    return amounts
