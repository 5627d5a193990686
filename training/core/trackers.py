"""Trackers of experiments by name: the rows of metrics.jsonl go to one of them, too, through accelerate's classes.

Nothing leaves this machine unless the user says so: Weights & Biases writes offline runs and MLflow a database, both in
the run folder. WANDB_MODE and MLFLOW_TRACKING_URI of the environment say otherwise.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from detdiffusion.core.files import json_object, read_json, write_json
from detdiffusion.errors import ConfigError, DataError

RUNS = "trackers.json"  # which run of which tracker a folder's rows go to
PROJECT = "detdiffusion"


class Tracker(StrEnum):
    """What `--tracker` takes."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"


_asked: ContextVar[Tracker | None] = ContextVar("tracker", default=None)


def add_tracker(parser: argparse.ArgumentParser) -> None:
    """`--tracker NAME`, of every command that writes metrics.jsonl."""
    parser.add_argument(
        "--tracker",
        type=Tracker,
        choices=list(Tracker),
        metavar="NAME",
        help=f"{', '.join(Tracker)}: also gets the metrics, offline, in the run folder (default: tensorboard, which is "
        "always written; the others need requirements-trackers.txt)",
    )


def tracks(run: Callable[[Any], int]) -> Callable[[Any], int]:
    """A command's `run`: what it trains is tracked by `--tracker`, which is checked before all else."""

    @wraps(run)
    def told(arguments: Any) -> int:
        check_tracker(arguments.tracker)
        with tracking(arguments.tracker):
            return run(arguments)

    return told


def check_tracker(name: Tracker | None) -> None:
    """ConfigError where its library is not installed: seen without importing it."""
    for needed in () if name in (None, Tracker.TENSORBOARD) else ("accelerate", str(name)):
        if find_spec(needed) is None:
            raise ConfigError(f"--tracker {name} needs {needed}: pip install -r requirements-trackers.txt")


@contextmanager
def tracking(name: Tracker | None) -> Iterator[None]:
    """Inside, `open_run` gives runs of this tracker."""
    before = _asked.set(name)
    try:
        yield
    finally:
        _asked.reset(before)


def open_run(out: Path, before: Iterable[Mapping[str, float]], last: float) -> TrackerRun | None:
    """The run of a folder in the tracker that was asked for; None where none was, or TensorBoard alone.

    Args:
        before: rows of metrics.jsonl that stay: a run that begins only now gets them.
        last: step of the last row that was ever written there: the tracker has it, though the training may have gone
            back to a checkpoint before it.

    Raises:
        DataError: the note of the folder's runs is damaged.
    """
    name = _asked.get()
    if name in (None, Tracker.TENSORBOARD):
        return None
    known: dict[str, Any] = read_json(out / RUNS, json_object, DataError, "delete it") if (out / RUNS).exists() else {}
    started = name in known
    tracker, key = _start(name, out, known.get(str(name)))
    write_json(out / RUNS, {**known, str(name): key})
    run = TrackerRun(tracker, last if started else -math.inf)
    for row in () if started else before:
        run.log(row)
    return run


class TrackerRun:
    """A run of a tracker, which gets each step once. last: the last step that it has."""

    def __init__(self, tracker: Any, last: float) -> None:
        self.tracker, self.last = tracker, last

    def log(self, values: Mapping[str, float | None]) -> None:
        """`step` and its scalars; what is not finite is left out."""
        step = int(values["step"] or 0)
        if step > self.last:
            known = {k: v for k, v in values.items() if k != "step" and v is not None and math.isfinite(v)}
            self.tracker.log(known, step=step)
            self.last = step

    def close(self) -> None:
        """Ends this part of the run; the same run goes on with the next start."""
        self.tracker.finish()


def rows_of(path: Path) -> Iterator[dict[str, float]]:
    """The rows of metrics.jsonl; none where there is no such file. A torn one is passed over."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
            float(row["step"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        yield row


def _start(name: Tracker | None, out: Path, key: str | None) -> tuple[Any, str]:
    """accelerate's tracker, started, and the key of its run. key: of the run that goes on; None: a new one."""
    from accelerate import PartialState
    from accelerate.tracking import MLflowTracker, WandBTracker

    PartialState()  # its log needs one
    title = f"{out.resolve().parent.name}/{out.resolve().name}"
    if name is Tracker.WANDB:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        key = key or uuid.uuid4().hex
        how = {"mode": os.environ.get("WANDB_MODE", "offline"), "dir": str(out), "id": key, "resume": "allow"}
        tracker = WandBTracker(PROJECT, name=title, **how)
        tracker.start()
        return tracker, key
    import mlflow

    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri(f"sqlite:///{out.resolve() / 'mlflow.db'}")
    place = str((out / "mlflow-artifacts").resolve())
    tracker = MLflowTracker(PROJECT, logging_dir=place, run_id=key, run_name=None if key else title)
    tracker.start()
    return tracker, str(tracker.active_run.info.run_id)
