"""Evaluations as they are ordered and shown: commands, refusals before a start, states, the report in its frame."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.evaluation import handlers
from app.evaluation.form import STATUS, EvaluationOrder, make_evaluation
from app.runs import handlers as shared
from app.runs.form import Source
from app.runs.jobs import Runs, State
from detdiffusion.errors import ConfigError

PATIENCE = 30.0  # seconds


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "evaluations", stop_seconds=PATIENCE)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A model folder with its detectors, and one beside it without any."""
    for name in ("home", "baseline"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model_index.json").write_text("{}")
    for name in ("bundled", "judge"):
        (tmp_path / "models" / "home" / "detectors" / name).mkdir(parents=True)
    return tmp_path / "models" / "home"


def option(command: tuple[str, ...], name: str) -> str | None:
    return command[command.index(name) + 1] if name in command else None


def test_an_order_becomes_two_commands(runs: Runs, home: Path) -> None:
    plan = make_evaluation(EvaluationOrder(str(home)), runs, home)
    evaluate, report = plan.commands
    assert (plan.name, plan.about) == ("home-1", {"model": "home", "data": "Papercut, 100 layouts"})
    assert evaluate[:4] == (sys.executable, "-m", "training", "evaluate")
    assert option(evaluate, "--model") == str(home) and option(evaluate, "--layouts") == "papercut:100@900000"
    assert "--one-hard" in evaluate and not {"--detector", "--baselines", "--steps"} & set(evaluate)
    folder = runs.folder("home-1")
    assert option(evaluate, "--out") == str(folder / "report.json")
    assert report[3:] == ("report", str(folder / "report.json"), "--out", str(folder / "page"))


def test_everything_that_can_be_asked(runs: Runs, home: Path, tmp_path: Path) -> None:
    baseline = home.parent / "baseline"
    order = EvaluationOrder(
        str(baseline),
        Source.FOLDER,
        "",
        str(tmp_path),
        [str(home), str(baseline)],
        "judge",
        "4",
        "0, 1.5",
        False,
        "mine",
    )
    plan = make_evaluation(order, runs, home)
    evaluate = plan.commands[0]
    assert option(evaluate, "--layouts") == str(tmp_path) and option(evaluate, "--baselines") == str(home)
    assert option(evaluate, "--detector") == str(home / "detectors" / "judge") and option(evaluate, "--steps") == "4"
    assert "--attribute-guidance=0.0,1.5" in evaluate and "--one-hard" not in evaluate
    assert plan.about["baselines"] == "against home" and plan.name == "mine"
    alone = make_evaluation(replace(order, detectors="", baselines=()), runs, home).commands[0]
    assert option(alone, "--detector") == f"{home / 'detectors' / 'bundled'},{home / 'detectors' / 'judge'}"
    (baseline / "detectors" / "judge").mkdir(parents=True)
    own = make_evaluation(replace(order, detectors="", baselines=()), runs, home).commands[0]
    assert option(own, "--detector") is None, "the command takes the only one that the model has"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "/nowhere"}, "is not a model folder"),
        ({"baselines": ["/nowhere"]}, "is not a model folder"),
        ({"layouts": ""}, "enter the number of layouts"),
        ({"layouts": "0"}, "layouts '0' needs to be a whole number from 1"),
        ({"steps": "2000"}, "steps '2000' needs to be a whole number from 1 to 1,000"),
        ({"source": Source.FOLDER, "folder": "/nowhere"}, "is not a folder"),
        ({"detectors": "nobody.pt"}, "there is no detector at"),
        ({"attribute_guidance": "a"}, "attribute guidance 'a' needs numbers"),
        ({"attribute_guidance": "1,inf"}, "needs numbers"),
        ({"name": "a/b"}, "is not a valid name"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, Any], reason: str, runs: Runs, home: Path) -> None:
    with pytest.raises(ConfigError, match=reason):
        make_evaluation(replace(EvaluationOrder(str(home)), **change), runs, home)
    assert not runs.root.exists()


# What `evaluate` and `report` tell of themselves, in short.
TELLS = """
import json, os, pathlib, sys
def tell(part, state, **more):
    path = pathlib.Path(sys.argv[1], part, "status.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"state": state, "pid": os.getpid(), "group": os.getpgrp(), **more}))
"""


def begin(runs: Runs, name: str, code: str) -> Path:
    folder = runs.folder(name)
    command = [sys.executable, "-c", TELLS + code, str(folder)]
    runs.start(name, [command], {"model": "home"}, online=False, status=STATUS)
    return folder


def wait(runs: Runs, name: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while runs.status(name).state.alive:
        assert time.monotonic() < deadline
        time.sleep(0.02)


WRITES = (
    "import pathlib, sys; page = pathlib.Path(sys.argv[1], 'page'); page.mkdir(exist_ok=True); "
    "(page / 'report.html').write_text('<p class=\"a\">it & that</p>'); tell('page', 'finished')"
)


def test_from_nothing_to_a_report_in_a_frame(runs: Runs) -> None:
    empty = handlers.look(runs, "", "")
    assert "None yet" in empty.run.runs and "No evaluation yet" in empty.run.head and not empty.run.may_stop
    with pytest.raises(ConfigError, match="nothing here yet"):
        shared.stop(runs, "")
    begin(runs, "one", WRITES)
    wait(runs, "one")
    screen = handlers.look(runs, "", "")
    assert screen.may_open and not screen.run.may_resume and "Finished" in screen.run.head
    assert screen.page is not None and "<iframe sandbox" in screen.page
    assert "&lt;p class=&#34;a&#34;&gt;it &amp; that" in screen.page, "as text of an attribute"
    assert handlers.look(runs, "one", screen.seen).page is None, "the page holds it"


def test_running_stopped_resumed(runs: Runs) -> None:
    code = (
        "import pathlib, sys, time; here = pathlib.Path(sys.argv[1], 'second')\n"
        "print('papercut: easy: 50%', flush=True)\n"
        "tell('report.work', 'running', done=64, total=1280, unit='image', seconds_left=90)\n"
        "if not here.exists(): here.touch(); time.sleep(60)\n" + WRITES.replace("; ", "\n")
    )
    begin(runs, "one", code)
    deadline = time.monotonic() + PATIENCE
    while "image 64" not in (screen := handlers.look(runs, "one", "")).run.head:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "papercut: easy: 50%" in screen.run.log
    assert "image 64 of 1,280 · 2 min left" in screen.run.head and "width:5.0%" in screen.run.head
    assert "running 5%" in screen.run.runs
    assert screen.run.may_stop and screen.page is not None and "when the evaluation is finished" in screen.page
    assert "one is stopping" in shared.stop(runs, "one")
    wait(runs, "one")
    assert runs.status("one").state is State.STOPPED and handlers.look(runs, "one", "").run.may_resume
    shared.resume(runs, "one")
    wait(runs, "one")
    assert handlers.look(runs, "one", "").may_open


def test_a_failure_tells_its_reason(runs: Runs) -> None:
    begin(runs, "one", "import sys; print('error: there is no such folder', file=sys.stderr); sys.exit(2)")
    wait(runs, "one")
    screen = handlers.look(runs, "", "")
    assert "Failed" in screen.run.head and "there is no such folder" in screen.run.head and screen.run.may_resume


def test_models_to_choose_from(home: Path, tmp_path: Path) -> None:
    trainings = Runs(tmp_path / "runs")
    made = trainings.folder("trained")
    (made / "model").mkdir(parents=True)
    (made / "model" / "model_index.json").write_text("{}")
    job = {"commands": [["true"]], "about": {}, "begun": 1.0, "online": False, "stop_asked": False, "process": None}
    (made / "job.json").write_text(json.dumps(job))
    assert [name for name, _ in shared.models(home, trainings)] == ["home", "baseline", "trained"]
