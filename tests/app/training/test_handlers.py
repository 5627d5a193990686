"""What runs have written -> what the page shows; presses -> runs."""

import json
import os
import re
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from app.engine.studio import Studio
from app.runs.files import log_tail
from app.runs.form import Source
from app.runs.jobs import Runs, State
from app.training import handlers
from app.training.form import Order, Plan, presets
from app.training.handlers import Chosen
from detdiffusion.errors import ConfigError

PATIENCE = 30.0  # seconds


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs", stop_seconds=PATIENCE)


def ended(runs: Runs, name: str, state: str = "finished") -> Path:
    """A run that was, in some state."""
    tell = (
        "import json, os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text("
        "json.dumps({'state': sys.argv[2], 'pid': os.getpid(), 'step': 40, 'steps': 40}))"
    )
    folder = runs.folder(name)
    runs.start(name, [[sys.executable, "-c", tell, str(folder / "status.json"), state]], {"data": "none"}, online=False)
    deadline = time.monotonic() + PATIENCE
    while runs.status(name).state.alive:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert runs.status(name).state == state
    return folder


def write_curves(folder: Path) -> None:
    rows = [{"step": s, "total": 2 / s, "denoise": 1 / s, "mask": 0.0, "dice": 0.5} for s in range(1, 41)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    probe = {"step": 20, "recall_easy": 0.75, "recall_hard": 0.25, "confidence_easy": 0.9, "confidence_hard": 0.4}
    (folder / "probe.jsonl").write_text(json.dumps(probe) + "\n")


def write_sample(folder: Path, step: int, colour: str) -> None:
    (folder / "samples").mkdir(exist_ok=True)
    Image.new("RGB", (64, 48), colour).save(folder / "samples" / f"step-{step:08d}.png")


def test_before_the_first_run(runs: Runs) -> None:
    screen = handlers.look(runs, Chosen(), "")
    assert "None yet" in screen.run.runs
    assert "No run yet" in screen.run.head
    assert screen.sample is not None
    assert not (screen.run.may_stop or screen.run.may_resume or screen.may_use)
    for press in (handlers.stop, handlers.resume):
        with pytest.raises(ConfigError, match="there is no run yet"):
            press(runs, Chosen())


def test_curves_show_what_was_written(runs: Runs) -> None:
    write_curves(ended(runs, "street-1"))
    charts = handlers.look(runs, Chosen(), "").charts
    assert re.findall(r'class="line (\w+)"', charts) == ["total", "denoise", "dice", "easy", "hard"], (
        "no mask: all zero"
    )
    assert 'aria-label="Found by the detector at step 20: easy 0.75, hard 0.25"' in charts


def test_a_run_and_a_step_can_be_chosen(runs: Runs) -> None:
    for name, colours in (("old", {10: "red"}), ("new", {10: "green", 20: "blue"})):
        folder = ended(runs, name)
        for step, colour in colours.items():
            write_sample(folder, step, colour)
    newest = handlers.look(runs, Chosen(), "")
    assert newest.seen.startswith("new/20/")
    assert "samples of step 20" in (newest.sample or "")
    assert handlers.look(runs, Chosen(), newest.seen).sample is None, "the page has it already"
    assert handlers.look(runs, Chosen("old"), newest.seen).seen.startswith("old/10/")
    first = handlers.choose_sample(runs, Chosen(), "10")
    assert first == Chosen("new", 10)
    assert handlers.look(runs, first, newest.seen).seen.startswith("new/10/")
    assert handlers.choose_sample(runs, first, "latest") == Chosen("new", None)
    assert handlers.look(runs, Chosen("gone"), "").seen.startswith("new/"), "a run that is no more: the newest"


def test_a_press_is_about_the_run_that_was_shown(runs: Runs) -> None:
    assert handlers.settle(runs, Chosen()) == Chosen()
    ended(runs, "old")
    shown = handlers.settle(runs, Chosen())
    ended(runs, "new")
    assert shown == handlers.settle(runs, shown) == Chosen("old")
    assert handlers.settle(runs, Chosen("old", 10)) == Chosen("old", 10)
    assert handlers.settle(runs, Chosen("gone")) == Chosen("new")
    for press in (handlers.stop, handlers.resume):
        with pytest.raises(ConfigError, match="there is no run 'gone'"):
            press(runs, Chosen("gone"))


def test_a_sample_that_is_being_written_is_looked_at_later(runs: Runs) -> None:
    folder = ended(runs, "street-1")
    write_sample(folder, 10, "red")
    before = handlers.look(runs, Chosen(), "").seen
    (folder / "samples/step-00000020.png").write_bytes((folder / "samples/step-00000010.png").read_bytes()[:60])
    half = handlers.look(runs, Chosen(), before)
    assert (half.sample, half.seen) == (None, before)
    write_sample(folder, 20, "blue")
    assert handlers.look(runs, Chosen(), before).seen.startswith("street-1/20/")


@pytest.mark.parametrize(("state", "resumable"), [("finished", False), ("stopped", True), ("failed", True)])
def test_what_may_be_done_with_an_ended_run(runs: Runs, state: str, resumable: bool) -> None:
    folder = ended(runs, "street-1", state)
    screen = handlers.look(runs, Chosen(), "")
    assert (screen.run.may_stop, screen.run.may_resume, screen.may_use) == (False, resumable, False)
    (folder / "model").mkdir()
    (folder / "model" / "model_index.json").touch()
    assert handlers.look(runs, Chosen(), "").may_use


def test_stop_says_what_happens_and_is_offered_until_it_has(runs: Runs) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    runs.start("street-1", [[sys.executable, "-c", deaf]], {}, online=False)
    deadline = time.monotonic() + PATIENCE
    while log_tail(runs.folder("street-1") / "log.txt")[-1:] != ["deaf"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "stops; Resume continues" in handlers.stop(runs, Chosen())
    screen = handlers.look(runs, Chosen(), "")
    assert (screen.run.may_stop, screen.run.stopping) == (True, True)
    assert "stopped at once" in handlers.stop(runs, Chosen())
    while runs.status("street-1").state is not State.STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not handlers.look(runs, Chosen(), "").run.may_stop


def test_model_of_a_run_goes_into_the_studio(runs: Runs, studio: Studio, model_folder: Path) -> None:
    folder = ended(runs, "street-1", "stopped")
    with pytest.raises(ConfigError, match="street-1 has no finished model"):
        handlers.use_model(studio, runs, Chosen())
    (folder / "model").symlink_to(model_folder)
    assert handlers.use_model(studio, runs, Chosen()) == "street-1 generates the images now; watcher checks them."
    assert studio.model.name == "street-1"
    assert ("street-1 (boxes, attributes)", str(folder / "model")) in handlers.bases(studio, runs)


def test_start_asks_the_trainer_first(runs: Runs, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Plan] = []
    monkeypatch.setattr(handlers, "rehearse", lambda plan, environment: asked.append(plan) or _refuse())
    order = Order(Source.PAPERCUT, "4", "", presets()[0], detector=os.devnull)
    with pytest.raises(ConfigError, match="it will not work"):
        handlers.start(studio, runs, order)
    assert len(asked) == 1
    assert runs.names() == []
    assert not runs.root.exists()


def _refuse() -> None:
    raise ConfigError("it will not work")


def test_started_run_is_the_one_that_is_shown(
    runs: Runs, studio: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = Plan(
        "mine", ((sys.executable, "-c", "pass"),), (), ("status.json",), "", 0, 0, {"data": "none"}, online=False
    )
    monkeypatch.setattr(handlers, "make_plan", lambda *_: plan)
    monkeypatch.setattr(handlers, "rehearse", lambda *_: None)
    chosen = handlers.start(studio, runs, Order(Source.PAPERCUT, "4", "", "any"))
    assert chosen == Chosen("mine")
    deadline = time.monotonic() + PATIENCE
    while runs.status("mine").state is not State.FAILED:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "mine" in handlers.look(runs, chosen, "").run.head
