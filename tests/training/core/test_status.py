"""What a run says of itself: rows that stand once, JSON without NaN, and a status with the time left."""

import json
import math
import os
from pathlib import Path

import pytest

from detdiffusion.errors import DataError
from training.core import status as metrics
from training.core.status import MetricsLog, RunStatus, cut_rows


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_row_a_step_and_null_for_what_is_not_finite(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "run", 0)
    log.write({"step": 1, "total": 0.5, "rate": math.nan})
    log.write({"step": 2, "total": math.inf, "rate": 0.25})
    log.close()
    assert read(tmp_path / "run" / "metrics.jsonl") == [
        {"step": 1, "total": 0.5, "rate": None},
        {"step": 2, "total": None, "rate": 0.25},
    ]


def test_rows_of_a_killed_run_go_before_it_goes_on(tmp_path: Path) -> None:
    first = MetricsLog(tmp_path, 0)
    for step in range(1, 6):
        first.write({"step": step, "total": float(step)})
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "tot')
    again = MetricsLog(tmp_path, 3)
    again.write({"step": 4, "total": 40.0})
    again.close()
    rows = [(row["step"], row["total"]) for row in read(tmp_path / "metrics.jsonl")]
    assert rows == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]


def test_tensorboard_forgets_them_too(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, value in ((0, 1.0), (3, 2.0)):
        log = MetricsLog(tmp_path, start)
        for step in range(start + 1, 6):
            log.write({"step": step, "total": value})
        log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    scalars = sorted((event.step, event.value) for event in events.Scalars("total"))
    assert scalars == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0)]


@pytest.mark.parametrize(
    ("text", "step", "left"),
    [
        ("", 5, []),
        ('{"step": 1}\n{"step": 2}\n', 0, []),
        ('{"step": 1}\n{"step": 2}\n', 1, [1]),
        ('{"step": 1}\n{"step": 2}\n', 2, [1, 2]),
        ('{"step": 1}\n{"step": 2', 9, [1]),
        ('{"step": 1}\nnoise\n[]\n{"other": 1}\n{"step": 2}\n', 9, [1, 2]),
    ],
)
def test_rows_are_cut(tmp_path: Path, text: str, step: int, left: list[int]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    cut_rows(path, step)
    assert [row["step"] for row in read(path)] == left
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


def test_no_rows_no_file(tmp_path: Path) -> None:
    cut_rows(tmp_path / "absent.jsonl", 3)
    assert not (tmp_path / "absent.jsonl").exists()


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    log = MetricsLog(tmp_path, 0)
    log.path = Path("/dev/full")
    with pytest.raises(DataError, match=r"step 7 cannot be written .*free some space"):
        log.write({"step": 7, "total": 1.0})
    log.close()


def test_status_and_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: clock[0])
    status = RunStatus(tmp_path, 50)

    def said() -> dict[str, object]:
        return dict(json.loads((tmp_path / "status.json").read_text()))

    status.say("preparing", 20, "encoding")
    about = {"pid": os.getpid(), "step": 20, "steps": 50, "seconds_left": None, "message": "encoding"}
    assert said() == {"state": "preparing", **about}
    status.running(21)  # the first of this run: nothing to count from
    assert (said()["state"], said()["step"], said()["seconds_left"]) == ("running", 21, None)
    clock[0] += 1.0
    status.running(22)
    assert said()["step"] == 21, "not yet worth a look at the disk"
    clock[0] += 9.0
    status.running(26)
    assert (said()["step"], said()["seconds_left"]) == (26, 24 * 10.0 / 5)
    status.end("failed", "why")
    assert (said()["state"], said()["step"], said()["message"]) == ("failed", 26, "why")


def test_a_full_disk_does_not_hide_why_a_run_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    status = RunStatus(tmp_path, 50)
    status.say("running", 3)
    monkeypatch.setattr(metrics, "write_json", full)
    status.end("failed", "the reason")
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "running"
