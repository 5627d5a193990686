"""Runs are real processes here, with tiny commands: started, found again by a fresh object, stopped with what they
started, resumed where they were."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.runs.files import log_tail, read_object
from app.runs.handlers import look
from app.runs.jobs import ROOT, Runs, State, Status
from app.runs.processes import Leader, living, members
from app.runs.views import RunHead
from detdiffusion.errors import ConfigError

PATIENCE = 30.0  # seconds; a test machine may be busy

# What a trainer tells of itself (training/generator/command.py), in short.
TRAINER = """
import json, os, pathlib, signal, sys, time
run = pathlib.Path(sys.argv[1])
def tell(state, **more):
    text = json.dumps({"state": state, "pid": os.getpid(), "step": 3, "steps": 10, "message": "", **more})
    (run / "status.partial").write_text(text)
    (run / "status.partial").replace(run / "status.json")
def stop(*_):
    tell("stopped", message="checkpoint of step 3 written")
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
tell("running", seconds_left=70.5)
while not (run / "go").exists():
    time.sleep(0.02)
tell("finished", step=10)
"""
# Ends on no request, and starts a child that does not either.
STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the child inherits this
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
aside = pathlib.Path(sys.argv[1], "child.partial")
aside.write_text(str(child.pid))
aside.rename(aside.with_name("child"))
time.sleep(600)
"""


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path / "runs", stop_seconds=PATIENCE)
    yield runs
    for name in runs.names():  # a failed test leaves nothing behind
        record = (read_object(runs.folder(name) / "job.json") or {}).get("process")
        if record and members(Leader(**record), living()):
            os.killpg(record["pid"], signal.SIGKILL)


def start(runs: Runs, name: str, *commands: list[str]) -> None:
    runs.start(name, commands, {"data": "none"}, online=False)


def wait(runs: Runs, name: str, wanted: Callable[[Status], bool]) -> Status:
    deadline = time.monotonic() + PATIENCE
    while not wanted(status := runs.status(name)):
        assert time.monotonic() < deadline, status
        time.sleep(0.02)
    return status


def reach(runs: Runs, name: str, state: State) -> Status:
    return wait(runs, name, lambda status: status.state is state)


def test_a_run_from_start_to_end(runs: Runs) -> None:
    folder = runs.folder("street")
    start(runs, "street", python("print('scenes 1/2\\rscenes 2/2')"), python(TRAINER, folder))
    running = reach(runs, "street", State.RUNNING)
    assert (running.step, running.steps, running.seconds_left) == (3, 10, 70.5)
    assert running.about == {"data": "none"}
    (folder / "go").touch()
    finished = reach(runs, "street", State.FINISHED)
    assert (finished.step, finished.seconds_left, finished.has_model) == (10, None, False)
    assert "scenes 2/2" in log_tail(folder / "log.txt")


def test_a_run_is_a_session_of_its_own(runs: Runs) -> None:
    folder = runs.folder("street")
    start(runs, "street", python(TRAINER, folder))
    reach(runs, "street", State.RUNNING)
    pid = json.loads((folder / "job.json").read_text())["process"]["pid"]
    assert os.getsid(pid) == pid != os.getsid(0)
    assert json.loads((folder / "status.json").read_text())["pid"] == pid, "the last command is the process itself"
    (folder / "go").touch()


def test_a_run_outlives_the_studio_that_started_it(runs: Runs) -> None:
    folder = runs.folder("street")
    code = """
import json, pathlib, sys
from app.runs.jobs import Runs
Runs(pathlib.Path(sys.argv[1])).start("street", json.loads(sys.argv[2]), {}, online=False)
"""
    commands = json.dumps([python(TRAINER, folder)])
    subprocess.run(python(code, runs.root, commands), cwd=ROOT, check=True)
    reach(runs, "street", State.RUNNING)
    runs.stop("street")
    reach(runs, "street", State.STOPPED)


def test_a_run_that_cannot_be_written_leaves_nothing(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Runs, "_write", full)
    with pytest.raises(ConfigError, match=r"cannot be started in .*: the disk is full"):
        start(runs, "street", python("pass"))
    assert list(runs.root.iterdir()) == []


def test_only_a_run_that_was_allowed_to_may_ask_a_hub(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    runs = Runs(runs.root)
    tell = "import os; print('offline', os.environ.get('HF_HUB_OFFLINE'))"
    for name, online, told in (("in", False, "offline 1"), ("out", True, "offline None")):
        runs.start(name, [python(tell)], {}, online=online)
        reach(runs, name, State.FAILED)
        assert log_tail(runs.folder(name) / "log.txt")[-1] == told


def test_a_fresh_object_finds_the_run_stops_it_and_resumes_it(runs: Runs) -> None:
    folder = runs.folder("street")
    once = "import pathlib, sys; path = pathlib.Path(sys.argv[1], 'once'); assert not path.exists(); path.touch()"
    start(runs, "street", python(once, folder), python(TRAINER, folder))
    reach(runs, "street", State.RUNNING)
    fresh = Runs(runs.root, stop_seconds=PATIENCE)
    assert [status.state for status in fresh.statuses()] == [State.RUNNING]
    with pytest.raises(ConfigError, match="running already"):
        fresh.resume("street")
    fresh.stop("street")
    assert reach(fresh, "street", State.STOPPED).message == "checkpoint of step 3 written"
    fresh.resume("street")
    assert reach(fresh, "street", State.RUNNING).step == 3, "the first command was finished, and is not run again"
    (folder / "go").touch()
    assert reach(fresh, "street", State.FINISHED).step == 10


def stubborn(runs: Runs) -> tuple[Leader, int]:
    """A run that has to be ended by force: its first process, and that one's child."""
    runs.stop_seconds = 0.5
    folder = runs.folder("deaf")
    start(runs, "deaf", python(STUBBORN, folder))
    wait(runs, "deaf", lambda _: (folder / "child").exists())
    leader = Leader(**json.loads((folder / "job.json").read_text())["process"])
    child = int((folder / "child").read_text())
    assert {leader.pid, child} <= set(members(leader, living()))
    return leader, child


def test_stop_ends_the_whole_group_even_what_is_deaf(runs: Runs) -> None:
    leader, child = stubborn(runs)
    runs.stop("deaf")
    assert runs.status("deaf").state in (State.STOPPING, State.STOPPED)
    reach(runs, "deaf", State.STOPPED)
    assert not {leader.pid, child} & set(living())


def test_asked_twice_it_does_not_wait(runs: Runs) -> None:
    leader, child = stubborn(runs)
    runs.stop_seconds = 100 * PATIENCE
    runs.stop("deaf")
    assert runs.status("deaf").state is State.STOPPING
    Runs(runs.root).stop("deaf")  # also after a restart of the studio, which forgot that it was waiting
    reach(runs, "deaf", State.STOPPED)
    assert not {leader.pid, child} & set(living())


def test_children_of_a_dead_leader_still_count_and_are_stopped(runs: Runs) -> None:
    leader, child = stubborn(runs)
    os.kill(leader.pid, signal.SIGKILL)
    wait(runs, "deaf", lambda _: leader.pid not in living())
    assert runs.status("deaf").state.alive
    runs.stop("deaf")
    reach(runs, "deaf", State.STOPPED)
    assert child not in living()


def test_failed_run_shows_the_last_line_of_its_log(runs: Runs) -> None:
    bad = "import sys; print('reading'); print('error: no images in here', file=sys.stderr); sys.exit(2)"
    start(runs, "empty", python(bad), python("print('never')"))
    failed = reach(runs, "empty", State.FAILED)
    assert failed.message == "no images in here"
    assert "never" not in (runs.folder("empty") / "log.txt").read_text()


REFUSES = """
import pathlib, sys
from detdiffusion.errors import ConfigError, DataError
from training.core.status import RunState, telling
with telling(pathlib.Path(sys.argv[1], "status.json")) as status:
    status.say(RunState.PREPARING)
    raise ConfigError("another size") if sys.argv[2] == "settings" else DataError("the disk is full")
"""


@pytest.mark.parametrize(
    ("reason", "message", "helps"),
    [
        ("settings", "another size. The same settings would fail again: start a new run.", False),
        ("disk", "the disk is full", True),
    ],
)
def test_resume_is_offered_where_it_can_help(runs: Runs, reason: str, message: str, helps: bool) -> None:
    start(runs, reason, python(REFUSES, runs.folder(reason), reason))
    failed = reach(runs, reason, State.FAILED)
    assert (failed.message, failed.resumable, look(runs, reason, "").may_resume) == (message, helps, helps)


def test_killed_run_is_told_from_one_that_stopped(runs: Runs) -> None:
    folder = runs.folder("killed")
    start(runs, "killed", python("print('half way', flush=True)"), python(TRAINER, folder))
    reach(runs, "killed", State.RUNNING)
    os.kill(json.loads((folder / "job.json").read_text())["process"]["pid"], signal.SIGKILL)
    assert "ended without an error message" in reach(runs, "killed", State.FAILED).message


TELLS = """
import json, os, pathlib, sys
path = pathlib.Path(sys.argv[1])
path.parent.mkdir(exist_ok=True)
path.write_text(json.dumps({"state": sys.argv[2], "pid": os.getpid(), "group": os.getpgrp(), "done": 4, "total": 4}))
"""


def test_the_first_status_counts_and_the_last_one_says_how_it_ended(runs: Runs) -> None:
    work, page = runs.folder("two") / "work/status.json", runs.folder("two") / "page/status.json"
    commands = [python(TELLS, work, "finished"), python(TELLS + "sys.exit('error: no page')", page, "failed")]
    runs.start("two", commands, {}, online=False, status=["work/status.json", "page/status.json"])
    failed = reach(runs, "two", State.FAILED)
    assert (failed.step, failed.steps) == (4, 4)
    job = read_object(runs.folder("two") / "job.json") or {}
    for last, state, message in (
        (python("pass"), State.FAILED, "without an error message"),  # the first command's end is not the run's
        (python(TELLS, page, "finished"), State.FINISHED, ""),
    ):
        job["commands"][1] = last
        (runs.folder("two") / "job.json").write_text(json.dumps(job))
        runs.resume("two")
        ended = wait(runs, "two", lambda status: not status.state.alive)
        assert ended.state is state and message in ended.message and ended.steps == 4


def test_what_prepares_shows_its_own_progress(runs: Runs) -> None:
    """Scenes are drawn before a training: they are what is counted then, and the training's steps afterwards."""
    folder = runs.folder("train")
    draw = TELLS.replace('"done": 4, "total": 4', '"stage": "papercut", "unit": "scene", "done": 3, "total": 9')
    commands = [
        python(draw + "import time; time.sleep(float(sys.argv[3]))", folder / "data/status.json", "running", 3),
        python(TELLS, folder / "status.json", "finished"),
    ]
    runs.start("train", commands, {}, online=False, status=["data/status.json", "status.json"], counts=1)
    drawing = wait(runs, "train", lambda status: status.steps == 9)
    assert (drawing.state, drawing.step, drawing.unit, drawing.stage) == (State.PREPARING, 3, "scene", "papercut")
    assert "drawing scenes: scene 3 of 9" in RunHead(drawing).html()
    done = reach(runs, "train", State.FINISHED)
    assert (done.step, done.steps, done.unit, done.stage) == (4, 4, "step", "")


def test_a_run_between_two_commands_is_not_finished(runs: Runs) -> None:
    """A data set's two commands tell in one file: what the first has said there is not how the run ended."""
    told = runs.folder("set") / "set/status.json"
    commands = [python(TELLS, told, "finished"), python("import time; time.sleep(600)")]
    runs.start("set", commands, {}, online=False, status=["set/status.json"])
    wait(runs, "set", lambda status: status.steps == 4 and (runs.folder("set") / "chain.json").exists())
    runs.stop("set")
    stopped = wait(runs, "set", lambda status: not status.state.alive)
    assert (stopped.state, stopped.step, stopped.steps) == (State.STOPPED, 4, 4)
    job = read_object(runs.folder("set") / "job.json") or {}
    job["commands"][1] = python(TELLS, told, "finished")
    (runs.folder("set") / "job.json").write_text(json.dumps(job))
    runs.resume("set")
    assert wait(runs, "set", lambda status: not status.state.alive).state is State.FINISHED


@pytest.mark.parametrize(
    ("proof", "asked", "state"),
    [
        ("page/report.html", False, State.FINISHED),
        ("set/card.json", True, State.FINISHED),
        (None, True, State.STOPPED),
        (None, False, State.FAILED),
    ],
)
def test_a_run_of_version_0_1_that_told_nothing(runs: Runs, proof: str | None, asked: bool, state: State) -> None:
    folder = runs.folder("old")
    folder.mkdir(parents=True)
    job = {"commands": [["true"]], "about": {}, "begun": 1.0, "online": False, "stop_asked": asked, "process": None}
    (folder / "job.json").write_text(json.dumps(job))
    if proof is not None:
        (folder / proof).parent.mkdir()
        (folder / proof).touch()
    assert runs.status("old").state is state
    assert [status.name for status in runs.statuses()] == ["old"]


def test_what_an_earlier_process_said_does_not_count(runs: Runs) -> None:
    folder = runs.folder("twice")
    start(runs, "twice", python(TRAINER, folder))
    reach(runs, "twice", State.RUNNING)
    runs.stop("twice")
    reach(runs, "twice", State.STOPPED)
    job = read_object(folder / "job.json") or {}
    job["commands"] = [python("import sys; sys.exit('error: another config')")]
    (folder / "job.json").write_text(json.dumps(job))
    runs.resume("twice")
    assert reach(runs, "twice", State.FAILED).message == "another config"


def test_a_number_that_another_process_has_by_now_is_not_ours(runs: Runs) -> None:
    start(runs, "old", python("pass"))
    reach(runs, "old", State.FAILED)  # it ended without a status
    path = runs.folder("old") / "job.json"
    job = read_object(path) or {}
    job["process"] = {"pid": os.getpid(), "start": "of an earlier day"}
    path.write_text(json.dumps(job))
    assert not runs.status("old").state.alive
    runs.stop("old")  # would end this test


@pytest.mark.parametrize("name", ["", "../other", "a/b", ".hidden", "x" * 61, "a b"])
def test_names_that_are_none(runs: Runs, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a valid name"):
        runs.check_free(name)


def test_names_are_taken_once(runs: Runs) -> None:
    start(runs, "street-1", python("pass"))
    with pytest.raises(ConfigError, match="there is a run 'street-1' already"):
        start(runs, "street-1", python("pass"))
    assert runs.free_name("street") == "street-2"
    reach(runs, "street-1", State.FAILED)


def test_newest_run_comes_first(runs: Runs) -> None:
    for name in ("b", "a", "c"):
        start(runs, name, python("pass"))
        reach(runs, name, State.FAILED)
    assert runs.names() == ["c", "a", "b"]


def test_a_damaged_record_is_named(runs: Runs) -> None:
    start(runs, "damaged", python("pass"))
    reach(runs, "damaged", State.FAILED)
    (runs.folder("damaged") / "job.json").write_text('{"commands": [')
    assert "cannot be read" in runs.status("damaged").message
    assert not look(runs, "damaged", "").may_resume
    for act in (runs.resume, runs.stop):
        with pytest.raises(ConfigError, match="cannot be read"):
            act("damaged")


def test_unknown_run(runs: Runs) -> None:
    for act in (runs.status, runs.resume, runs.stop):
        with pytest.raises(ConfigError, match="there is no run 'nobody'"):
            act("nobody")


def test_jobs_know_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("DETDIFFUSION_AUTH", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD", "openai_api_key")
    for name in secrets:
        monkeypatch.setenv(name, "hush")
    monkeypatch.setenv("LANG", "C.UTF-8")
    runs = Runs(tmp_path)
    assert runs.environment(online=False)["LANG"] == "C.UTF-8"
    assert not set(secrets) & set(runs.environment(online=False))
    assert set(secrets) & set(runs.environment(online=True)) == {"HF_TOKEN"}
