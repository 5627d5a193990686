"""A diagnosis as a person orders it -> the commands that make it."""

from dataclasses import dataclass
from pathlib import Path

from app.runs.form import TRAINING, RunPlan, Source, data_folder, detector_of, papercut, whole_number
from app.runs.jobs import Runs
from detdiffusion.detectors import BUNDLED
from detdiffusion.errors import ConfigError
from training.core.status import STATUS
from training.data.datasets import check_dataset
from training.data.papercut.classes import HELD_OUT_SEED
from training.data.papercut.command import SIZE

SCENES, OUT = "scenes", "diagnosis"  # of a run's folder
MAX_SCENES = 100_000


@dataclass(frozen=True, slots=True)
class DiagnosisOrder:
    """The form, as it was typed."""

    source: str = Source.PAPERCUT
    scenes: str = "500"
    folder: str = ""
    split: str = ""
    detector: str = BUNDLED
    name: str = ""


def make_diagnosis(order: DiagnosisOrder, runs: Runs, home: Path) -> RunPlan:
    """`diagnose`, of scenes that are drawn first or of a folder. home: the model folder whose detectors have names.

    Raises:
        ConfigError, DataError: for what can be seen to be wrong at once.
    """
    name = order.name.strip() or runs.free_name(OUT)
    runs.check_free(name)
    folder, detector = runs.folder(name), detector_of(order.detector, home, runs.places)
    about = {"detector": order.detector.strip() or BUNDLED}
    if order.source == Source.PAPERCUT:
        scenes = whole_number("scenes", order.scenes, 1, MAX_SCENES)
        if scenes is None:
            raise ConfigError("enter the number of scenes")
        data, split = folder / SCENES, ""
        before: tuple[tuple[str, ...], ...] = (papercut(scenes, SIZE, data, HELD_OUT_SEED),)
        told: tuple[str, ...] = (f"{SCENES}/{STATUS}",)
        about |= {"data": f"Papercut, {scenes:,} unseen scenes"}
    else:
        data, split, before, told = data_folder(order.folder, runs.places), order.split.strip(), (), ()
        check_dataset(data, split or None)
        about |= {"data": f"{data.name}, {split}" if split else data.name}
    words = ["--data", str(data), *(["--split", split] if split else []), "--detector", detector]
    command = (*TRAINING, "diagnose", *words, "--out", str(folder / OUT))
    return RunPlan(name, (*before, command), about, (*told, f"{OUT}/{STATUS}"), counts=len(before))
