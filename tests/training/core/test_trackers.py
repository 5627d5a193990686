"""`--tracker`: the rows of metrics.jsonl in Weights & Biases and MLflow, offline, each step once."""

import argparse
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from detdiffusion.errors import ConfigError
from training.__main__ import build_parser
from training.core import trackers
from training.core.status import MetricsLog
from training.core.trackers import Tracker, TrackerRun, rows_of, tracking, tracks

VERBS = ("train", "bundle", "distill", "detector")


class Heard:
    """What a tracker was told."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.ended = 0

    def log(self, values: dict[str, float], step: int) -> None:
        self.rows.append((step, values))

    def finish(self) -> None:
        self.ended += 1


def write(out: Path, start: int, steps: Sequence[int]) -> None:
    log = MetricsLog(out, start)
    for step in steps:
        log.write({"step": step, "loss": 1 / step, "odd": float("nan")})
    log.close()


@pytest.mark.parametrize("verb", VERBS)
def test_the_library_is_asked_for_before_all_else(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else of the command is there, not even its data."""
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "wandb" else find_spec(name))
    said = {
        "train": ["--preset", "papercut-cpu", "--data", "absent", "--out", "out"],
        "bundle": ["--preset", "cpu", "--out", "out"],
        "distill": ["--model", "absent", "--out", "out"],
        "detector": ["--arch", "yolo11n", "--data", "absent", "--out", "out"],
    }[verb]
    parsed = build_parser(verb).parse_args([verb, *said, "--tracker", "wandb"])
    with pytest.raises(ConfigError, match=r"--tracker wandb needs wandb: pip install -r requirements-trackers.txt"):
        parsed.run(parsed)


def test_a_step_is_told_once_whatever_the_training_goes_back_to() -> None:
    heard = Heard()
    run = TrackerRun(heard, last=2)
    for step in (1, 2, 3, 3, 4):
        run.log({"step": step, "loss": 0.5, "odd": float("nan"), "none": None})
    assert heard.rows == [(3, {"loss": 0.5}), (4, {"loss": 0.5})]


def test_without_a_tracker_nothing_but_tensorboard_is_written(tmp_path: Path) -> None:
    for name in (None, Tracker.TENSORBOARD):
        out = tmp_path / str(name)
        with tracking(name):
            write(out, 0, [1, 2])
        assert not (out / trackers.RUNS).exists() and list((out / "tensorboard").iterdir())


def test_torn_rows_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert list(rows_of(path)) == []
    path.write_text('{"step": 1, "loss": 2}\n{"loss": 3}\n[4]\n{"step": 2, "lo')
    assert list(rows_of(path)) == [{"step": 1, "loss": 2}]


def test_a_command_is_run_with_its_tracker() -> None:
    seen = []

    @tracks
    def run(arguments: Any) -> int:
        seen.append(trackers._asked.get())
        return 7

    assert run(argparse.Namespace(tracker=Tracker.TENSORBOARD)) == 7
    assert seen == [Tracker.TENSORBOARD] and trackers._asked.get() is None


@pytest.mark.process
@pytest.mark.parametrize("late", [False, True], ids=["from the beginning", "from the middle"])
def test_mlflow_has_each_step_once(tmp_path: Path, late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps 1 to 4, then back to the checkpoint of step 2, and on to 6: one run in the folder's own database."""
    mlflow = pytest.importorskip("mlflow", reason="MLflow is an extra: pip install -r requirements-trackers.txt")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    out = tmp_path / "run"
    with tracking(None if late else Tracker.MLFLOW):
        write(out, 0, [1, 2, 3, 4])
    with tracking(Tracker.MLFLOW):
        write(out, 2, [3, 4, 5, 6])
    client = mlflow.MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    (key,) = json.loads((out / trackers.RUNS).read_text()).values()
    (run,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert run.info.run_id == key and set(run.data.metrics) == {"loss"}
    history = client.get_metric_history(key, "loss")
    assert sorted((one.step, one.value) for one in history) == [(step, 1 / step) for step in range(1, 7)]


@pytest.mark.process
def test_wandb_goes_on_in_the_same_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is an extra: pip install -r requirements-trackers.txt")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    out = tmp_path / "run"
    with tracking(Tracker.WANDB):
        write(out, 0, [1, 2, 3])
        write(out, 2, [3, 4])
    (key,) = json.loads((out / trackers.RUNS).read_text()).values()
    files = sorted(out.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2 and {path.stem for path in files} == {f"run-{key}"}
    assert all(path.stat().st_size for path in files)
