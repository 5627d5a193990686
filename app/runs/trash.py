"""Runs that are renamed, thrown away and brought back. A run is a folder, so its trash is one beside it."""

import json
import shutil
import time
from pathlib import Path

from app.runs.jobs import Runs
from app.store.history import TRASH_DAYS
from detdiffusion.core.files import write_sealed, write_text
from detdiffusion.errors import ConfigError, why

TRASH = ".trash"  # no run is called so
LARGEST = 2_000_000  # bytes of a JSON file that may name the run's folder


def rename(runs: Runs, name: str, wish: str) -> str:
    """Gives a run another name; its folder moves, and what names that folder in it follows. Returns the name.

    Raises:
        ConfigError: there is no such run, it is running, or the name is taken or none.
    """
    wish = wish.strip()
    if wish == name:
        return name
    old, new = _idle(runs, name), runs.folder(wish)
    runs.check_free(wish)
    _move(old, new, f"{name} cannot be renamed")
    for path in (*new.glob("*.json"), *new.glob("*/*.json")):
        _follow(path, old, new)
    return wish


def throw_away(runs: Runs, name: str) -> None:
    """Moves a run to the trash.

    Raises:
        ConfigError: there is no such run, it is running, or it cannot be moved.
    """
    folder, now = _idle(runs, name), time.time()
    for old in _thrown(runs):
        if now - _when(old) > TRASH_DAYS * 86_400:
            shutil.rmtree(old.parent, ignore_errors=True)
    place = runs.root / TRASH / f"{time.time_ns()}"
    place.mkdir(parents=True)
    _move(folder, place / name, f"{name} cannot be deleted")


def bring_back(runs: Runs) -> str:
    """The run that was thrown away last is there again; its name.

    Raises:
        ConfigError: the trash is empty, or there is a run of that name by now.
    """
    thrown = _thrown(runs)
    if not thrown:
        raise ConfigError("the trash is empty")
    last = thrown[-1]
    runs.check_free(last.name)
    _move(last, runs.folder(last.name), f"{last.name} cannot be brought back")
    last.parent.rmdir()
    return last.name


def empty(runs: Runs) -> int:
    """Deletes for good what was thrown away; returns how many runs that were.

    Raises:
        ConfigError: something cannot be deleted.
    """
    thrown = _thrown(runs)
    try:
        if thrown:
            shutil.rmtree(runs.root / TRASH)
    except OSError as error:
        raise ConfigError(f"the trash cannot be emptied: {why(error)}") from error
    return len(thrown)


def _idle(runs: Runs, name: str) -> Path:
    if runs.status(name).state.alive:
        raise ConfigError(f"{name} is running: stop it first")
    return runs.folder(name)


def _thrown(runs: Runs) -> list[Path]:
    return sorted((runs.root / TRASH).glob("*/*"), key=_when)


def _when(thrown: Path) -> float:
    """In seconds since 1970: its place is named after it."""
    return int(thrown.parent.name) / 1e9 if thrown.parent.name.isdigit() else 0.0


def _move(source: Path, target: Path, what: str) -> None:
    try:
        source.rename(target)
    except OSError as error:
        raise ConfigError(f"{what}: {why(error)}") from error


def _follow(path: Path, old: Path, new: Path) -> None:
    """Paths into the run, as its own files name them (commands, orders)."""
    if path.stat().st_size > LARGEST:
        return
    text = path.read_text(encoding="utf-8")
    before, after = (json.dumps(str(folder))[1:-1] for folder in (old, new))
    changed = text.replace(f"{before}/", f"{after}/").replace(f'{before}"', f'{after}"')
    if changed != text:
        values = json.loads(changed)
        if isinstance(values, dict) and values.pop("seal", None):
            write_sealed(path, values)
        else:
            write_text(path, changed)
