"""What a run says of itself: rows that stand once, JSON without NaN, and a status with the time left."""

import argparse
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detdiffusion.errors import ConfigError, DataError
from training.core import status as metrics
from training.core.cli import progress
from training.core.status import (
    STATUS,
    MetricsLog,
    RunState,
    RunStatus,
    StageStatus,
    StatusWriter,
    cut_rows,
    status_writer,
    telling,
    tells,
)


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


def said(folder: Path) -> RunStatus:
    status = RunStatus.read(folder / STATUS)
    assert status is not None
    return status


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: clock[0])
    return clock


def test_status_and_time_left(tmp_path: Path, clock: list[float]) -> None:
    status = StatusWriter(tmp_path / STATUS)
    status.say(RunState.PREPARING, "encoding", done=20, total=50)
    told = said(tmp_path)
    assert (told.state, told.done, told.total, told.message) == (RunState.PREPARING, 20, 50, "encoding")
    assert (told.pid, told.group, told.seconds_left, told.unit) == (os.getpid(), os.getpgrp(), None, "step")
    status.progress(21, 50)  # the first of this run: nothing to count from
    assert (said(tmp_path).state, said(tmp_path).done, said(tmp_path).seconds_left) == (RunState.RUNNING, 21, None)
    clock[0] += 1.0
    status.progress(22, 50)
    assert said(tmp_path).done == 21, "not yet worth a look at the disk"
    clock[0] += 9.0
    status.progress(26, 50)
    assert (said(tmp_path).done, said(tmp_path).seconds_left) == (26, 24 * 10.0 / 5)
    status.end(RunState.FAILED, "why")
    assert (said(tmp_path).state, said(tmp_path).done, said(tmp_path).message) == (RunState.FAILED, 26, "why")


def test_what_was_found_does_not_promise_an_early_end(tmp_path: Path, clock: list[float]) -> None:
    """Chunks of an earlier run pass in no time."""
    status = StatusWriter(tmp_path / STATUS)
    status.say(RunState.PREPARING, done=0, total=40, unit="picture")
    told = []
    for made, seconds in ((False, 1.0), (True, 4.0), (True, 4.0)):
        clock[0] += seconds
        status.add(8, "easy", made=made)
        told.append(said(tmp_path))
    assert [one.done for one in told] == [8, 16, 24] and {one.total for one in told} == {40}
    assert [one.seconds_left for one in told] == [None, 12, 8]
    assert {(one.stage, one.unit) for one in told} == {("easy", "picture")}


def test_the_time_left_is_counted_anew_for_another_stage(tmp_path: Path, clock: list[float]) -> None:
    status = StatusWriter(tmp_path / STATUS)
    for stage, seconds in (("a", 4.0), ("b", 40.0)):
        status.progress(1, 10, stage)
        assert said(tmp_path).seconds_left is None
        clock[0] += seconds
        status.progress(2, 10, stage)
        assert said(tmp_path).seconds_left == 8 * seconds


def test_a_full_disk_ends_no_run_and_hides_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    status = StatusWriter(tmp_path / STATUS)
    status.progress(3, 50)
    monkeypatch.setattr(metrics, "write_json", full)
    status.progress(50, 50)
    status.end(RunState.FAILED, "the reason")
    assert said(tmp_path).state is RunState.RUNNING


def test_a_status_comes_back_as_it_was(tmp_path: Path) -> None:
    stages = (StageStatus("data", RunState.FINISHED), StageStatus("train", RunState.WAITING))
    status = RunStatus(RunState.RUNNING, "train", 1, 2, "stage", 2.5, "why", 1.0, 2.0, 7, 6, stages)
    (tmp_path / STATUS).write_text(json.dumps(status.to_json()))
    assert RunStatus.read(tmp_path / STATUS) == status


def test_a_status_of_version_0_1_is_read() -> None:
    old = {"state": "running", "pid": 7, "step": 3, "steps": 10, "seconds_left": 70.5, "message": ""}
    status = RunStatus.from_json(old)
    assert (status.done, status.total, status.seconds_left, status.pid, status.group) == (3, 10, 70.5, 7, 7)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "3",
        "[]",
        "{}",
        '{"state": "odd"}',
        '{"state": "running", "done": -1}',
        '{"state": "running", "pid": "x"}',
    ],
)
def test_what_is_no_status(tmp_path: Path, text: str) -> None:
    assert RunStatus.read(tmp_path / "absent.json") is None
    (tmp_path / STATUS).write_text(text)
    assert RunStatus.read(tmp_path / STATUS) is None


# --- how a command ends ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (None, RunState.FINISHED, ""),
        (DataError("the reason\nin two lines"), RunState.FAILED, "the reason in two lines"),
        (ConfigError("another size"), RunState.FAILED, "another size"),
        (ValueError("a fault"), RunState.FAILED, "ValueError: a fault"),
        (KeyboardInterrupt(), RunState.STOPPED, "stopped; run the same command to resume"),
    ],
)
def test_how_a_command_ends_is_its_last_word(
    tmp_path: Path, error: BaseException | None, state: RunState, message: str
) -> None:
    with contextlib.suppress(BaseException), telling(tmp_path / STATUS):
        with progress("work", "image") as report:
            report(1, 4, {})
            report(3, 4, {})
        assert (status_writer().last.stage, status_writer().last.unit) == ("work", "image")
        if error is not None:
            raise error
    told = said(tmp_path)
    assert (told.state, told.message, told.done, told.seconds_left) == (state, message, 3, None)
    assert told.refused == isinstance(error, ConfigError), "only what would fail again"
    assert status_writer().path is None, "nobody tells after the end"


def test_a_command_that_is_told_to_end_says_so(tmp_path: Path) -> None:
    def command() -> None:
        with telling(tmp_path / STATUS) as writer:
            writer.progress(2, 4)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        command()
    told = said(tmp_path)
    assert (told.state, told.message, told.done) == (RunState.STOPPED, "stopped; run the same command to resume", 2)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_what_a_command_has_forked_dies_of_the_signal_as_ever(tmp_path: Path) -> None:
    with telling(tmp_path / STATUS):
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_bad_input_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(DataError), telling(tmp_path / "new" / STATUS, shared=True):
        raise DataError("there are no images")
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_start_said_is_over_but_its_work_stands(tmp_path: Path) -> None:
    StatusWriter(tmp_path / STATUS).say(RunState.FAILED, "full", done=3, total=9)
    with telling(tmp_path / STATUS):
        assert (said(tmp_path).state, said(tmp_path).done, said(tmp_path).total) == (RunState.PREPARING, 3, 9)


def test_of_many_processes_the_first_tells(tmp_path: Path) -> None:
    with telling(tmp_path / STATUS, shared=True) as first:
        first.progress(1, 10, "first")
        with telling(tmp_path / STATUS, shared=True) as second:
            second.progress(9, 10, "second")
        assert (said(tmp_path).stage, said(tmp_path).state) == ("first", RunState.RUNNING)
    assert said(tmp_path).state is RunState.FINISHED


def test_a_verb_tells(tmp_path: Path) -> None:
    @tells(lambda arguments: arguments.out / STATUS, "scene")
    def run(arguments: argparse.Namespace) -> int:
        status_writer().progress(2, 2)
        return 0

    assert run(argparse.Namespace(out=tmp_path)) == 0
    assert (said(tmp_path).state, said(tmp_path).done, said(tmp_path).unit) == (RunState.FINISHED, 2, "scene")


def test_a_second_command_in_one_folder_is_refused_by_name(tmp_path: Path) -> None:
    """Two trainers in one folder would spoil each other's rows; what the first says of itself stays."""
    other = (
        "import pathlib, sys\nfrom training.core.status import telling\n"
        "with telling(pathlib.Path(sys.argv[1])) as status:\n    status.progress(1, 2)"
    )
    with telling(tmp_path / STATUS) as first:
        first.progress(3, 10, "mine")
        done = subprocess.run([sys.executable, "-c", other, str(tmp_path / STATUS)], capture_output=True, text=True)
        assert done.returncode == 1 and f"{tmp_path} is in use by process {os.getpid()} on" in done.stderr
        assert (said(tmp_path).stage, said(tmp_path).done) == ("mine", 3)
        with telling(tmp_path / STATUS) as inner:  # a command that calls another one of its own
            inner.progress(4, 10, "mine")
    assert said(tmp_path).state is RunState.FINISHED
    assert not (tmp_path / "status.holder").exists()
