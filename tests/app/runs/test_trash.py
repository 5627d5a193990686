"""Runs are renamed, thrown away and brought back, and work as before."""

import json
import time
from pathlib import Path

import pytest

from app.runs import trash
from app.runs.jobs import Runs, State
from detdiffusion.errors import ConfigError

PATIENCE = 60.0  # seconds


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


def finished(runs: Runs, name: str) -> None:
    """A run whose command writes into its folder, and has ended."""
    write = ("sh", "-c", f"echo done >> {runs.folder(name)}/made.txt")
    runs.start(name, [write], {"data": "none"}, online=False)
    wait(runs, name)


def in_trash(runs: Runs) -> tuple[str, ...]:
    return tuple(path.name for path in sorted((runs.root / trash.TRASH).glob("*/*")))


def wait(runs: Runs, name: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while runs.status(name).state.alive:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_renamed_run_goes_on_in_its_new_folder(runs: Runs) -> None:
    finished(runs, "old")
    (runs.folder("old") / "config.json").write_text(json.dumps({"data": str(runs.folder("old") / "data"), "is": "old"}))
    assert trash.rename(runs, "old", " street ") == "street"
    assert runs.names() == ["street"]
    kept = json.loads((runs.folder("street") / "config.json").read_text())
    assert kept == {"data": str(runs.folder("street") / "data"), "is": "old"}
    runs.resume("street")
    wait(runs, "street")
    assert (runs.folder("street") / "made.txt").read_text() == "done\ndone\n"
    assert not runs.folder("old").exists()


def test_a_name_has_to_be_free_and_a_name(runs: Runs) -> None:
    finished(runs, "one")
    finished(runs, "two")
    with pytest.raises(ConfigError, match="there is a run 'two' already"):
        trash.rename(runs, "one", "two")
    with pytest.raises(ConfigError, match="is not a valid name"):
        trash.rename(runs, "one", "../elsewhere")
    with pytest.raises(ConfigError, match="there is no run 'three'"):
        trash.rename(runs, "three", "four")
    assert sorted(runs.names()) == ["one", "two"]


def test_what_was_thrown_away_comes_back(runs: Runs) -> None:
    finished(runs, "one")
    finished(runs, "two")
    trash.throw_away(runs, "one")
    trash.throw_away(runs, "two")
    assert runs.names() == [] and in_trash(runs) == ("one", "two")
    finished(runs, "two")  # the name is free again
    with pytest.raises(ConfigError, match="there is a run 'two' already"):
        trash.bring_back(runs)
    trash.rename(runs, "two", "three")
    assert [trash.bring_back(runs), trash.bring_back(runs)] == ["two", "one"]
    with pytest.raises(ConfigError, match="the trash is empty"):
        trash.bring_back(runs)
    assert sorted(runs.names()) == ["one", "three", "two"]
    assert (runs.folder("one") / "made.txt").read_text() == "done\n"


def test_the_trash_is_emptied_on_request_and_after_a_month(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two", "three"):
        finished(runs, name)
    with monkeypatch.context() as past:
        past.setattr(time, "time_ns", lambda: 10**18)
        trash.throw_away(runs, "one")
    trash.throw_away(runs, "two")
    assert in_trash(runs) == ("two",), "one went for good"
    trash.throw_away(runs, "three")
    assert trash.empty(runs) == 2 and in_trash(runs) == () and trash.empty(runs) == 0


def test_what_runs_is_left_alone(runs: Runs) -> None:
    runs.start("long", [("sleep", "60")], {}, online=False)
    try:
        for act in (lambda: trash.throw_away(runs, "long"), lambda: trash.rename(runs, "long", "short")):
            with pytest.raises(ConfigError, match="long is running: stop it first"):
                act()
    finally:
        runs.stop("long")
        wait(runs, "long")
    assert runs.status("long").state is State.STOPPED
