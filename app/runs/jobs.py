"""Training runs as processes of their own: started, stopped, resumed, and found again after a restart of the studio.

A run is a folder. `job.json` in it holds the commands and the process that works on them; everything else there is
written by those commands (see run_files.py). Nothing about a run is kept in memory, so any studio on the same
workspace sees the same.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from app.components.places import ANYWHERE, Places
from app.runs.files import JOB, LOG, MODEL, log_tail, read_object
from app.runs.processes import Leader, Table, end, leader, living, members
from detdiffusion.core.files import write_sealed
from detdiffusion.errors import ConfigError, quoted, why
from training.core.status import STATUS, RunState, RunStatus, StageStatus

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
# Of a run of version 0.1, whose commands told nothing: files that it has when it is finished.
PROOFS_0_1 = ("page/report.html", "set/card.json")
SECRET = re.compile("auth|token|secret|passw|credential|cookie|api_?key|access_?key|private", re.IGNORECASE)  # of names
HUB = re.compile("(HF|HUGGING_?FACE)_")
STOP_SECONDS = 180.0  # a large checkpoint and a model folder are written in this time


class State(StrEnum):
    """Of a run, as the page shows it."""

    PREPARING = "preparing"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def alive(self) -> bool:
        """Whether its processes are still there."""
        return self in (State.PREPARING, State.RUNNING, State.STOPPING)


@dataclass(frozen=True, slots=True)
class Job:
    """What to run and what runs it. `about` is what a person chose, by name, for the page.

    status: files in which its commands tell how far they are, in the order of the commands, relative to the run's
        folder; the last one says how the run ended. None of a job of version 0.1.
    counts: which of them counts what the run is for; those before it prepare.
    """

    commands: tuple[tuple[str, ...], ...]
    about: Mapping[str, str]
    begun: float  # seconds since 1970, of the first start
    online: bool = False  # may ask a model hub: only for a base model that a person named there
    stop_asked: bool = False
    process: Leader | None = None
    status: tuple[str, ...] = ()
    counts: int = 0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Job":
        """KeyError, TypeError, ValueError or ConfigError for what `to_json` has not made."""
        process, told, counts = (
            values["process"],
            tuple(map(str, values.get("status", ()))),
            int(values.get("counts", 0)),
        )
        if not 0 <= counts <= len(told):
            raise ValueError("counts names none of its status files")
        return cls(
            tuple(tuple(map(str, command)) for command in values["commands"]),
            {str(key): str(value) for key, value in values["about"].items()},
            float(values["begun"]),
            bool(values["online"]),
            bool(values["stop_asked"]),
            Leader(int(process["pid"]), str(process["start"])) if process else None,
            told,
            counts,
        )

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is: `step` of `steps` `unit`s (0: not known yet) of a `stage`. `message` says what it does, or why
    it ended."""

    name: str
    state: State
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    message: str = ""
    has_model: bool = False
    about: Mapping[str, str] = field(default_factory=dict)
    unit: str = "step"
    stage: str = ""
    stages: tuple[StageStatus, ...] = ()
    resumable: bool = True  # its commands can be read, and may succeed when they are run again


class Runs:
    """The runs of one kind in a workspace."""

    def __init__(self, folder: Path, stop_seconds: float = STOP_SECONDS, places: Places = ANYWHERE) -> None:
        """places: what its commands may read and write."""
        self.root, self.places = folder.resolve(), places
        self.stop_seconds = stop_seconds
        self._lock = threading.Lock()  # two clicks start one process
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1"}

    def folder(self, name: str) -> Path:
        """ConfigError for a name that is none, or is a path to somewhere else."""
        if not NAME.fullmatch(name):
            raise ConfigError(f"{quoted(name)} is not a valid name: use at most 60 letters, digits, dots, - and _")
        return self.root / name

    def names(self) -> list[str]:
        """Newest first."""
        begun = {path.parent.name: _begun(path) for path in self.root.glob(f"*/{JOB}")}
        return sorted(filter(NAME.fullmatch, begun), key=lambda name: (begun[name], name), reverse=True)

    def free_name(self, wish: str) -> str:
        """`wish-1`, or the first number that is not taken."""
        number = 1
        while (self.root / f"{wish}-{number}").exists():
            number += 1
        return f"{wish}-{number}"

    def check_free(self, name: str) -> None:
        """ConfigError where a run of this name is there already, or cannot be."""
        if self.folder(name).exists():
            raise ConfigError(f"there is a run {name!r} already: choose another name, or resume it")

    def check_paths(self, commands: Sequence[Sequence[str]]) -> None:
        """ConfigError where a command names what it may not read or write."""
        for _, *words in commands if self.places is not ANYWHERE else ():  # after the program
            self.places.check_command(words)

    def start(
        self,
        name: str,
        commands: Sequence[Sequence[str]],
        about: Mapping[str, str],
        online: bool,
        status: Sequence[str] = (STATUS,),
        counts: int = 0,
    ) -> None:
        """Starts a new run in a session of its own, which outlives the studio.

        status, counts: files in which the commands tell how far they are, and which of them counts (see `Job`).

        Raises:
            ConfigError: the name is taken, a path is not allowed, or the folder cannot be written.
        """
        self.check_free(name)
        self.check_paths(commands)
        folder = self.folder(name)
        with self._lock:
            try:
                folder.mkdir(parents=True)
            except OSError as error:
                raise ConfigError(f"the run's folder {folder} cannot be made: {why(error)}") from error
            try:
                words = tuple(map(tuple, commands))
                job = Job(words, dict(about), time.time(), online, status=tuple(status), counts=counts)
                self._launch(name, job)
            except OSError as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise ConfigError(f"{name} cannot be started in {self.root}: {why(error)}") from error

    def resume(self, name: str) -> None:
        """Runs the same commands again: they go on where they stopped.

        Raises:
            ConfigError: there is no such run, or it is running.
        """
        with self._lock:
            job = self._job(name)
            if job.process and members(job.process, living()):
                raise ConfigError(f"{name} is running already")
            self._launch(name, replace(job, stop_asked=False, process=None))

    def stop(self, name: str) -> None:
        """Asks the whole process group to end (the trainer writes a checkpoint first) and, where it has not after
        `stop_seconds`, or when it is asked again, ends it. Returns at once; what has ended is left alone.

        Raises:
            ConfigError: there is no such run.
        """
        with self._lock:
            job = self._job(name)
            if job.process is None or not members(job.process, living()):
                return
            self._write(name, replace(job, stop_asked=True))
        patience = 0.0 if job.stop_asked else self.stop_seconds
        threading.Thread(target=end, args=(job.process, patience), name=f"stop-{name}", daemon=True).start()

    def status(self, name: str) -> Status:
        """ConfigError if there is no such run."""
        return self._status(name, living())

    def statuses(self) -> list[Status]:
        """Of every run, newest first."""
        table = living()
        return [self._status(name, table) for name in self.names()]

    def environment(self, *, online: bool) -> dict[str, str]:
        """What a command of a run finds in its environment: no secrets but, where it is allowed out of the machine,
        those of the model hub. The studio itself is offline."""
        barred = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if online else ()
        known = {name: value for name, value in self._environment.items() if name not in barred}
        return {name: value for name, value in known.items() if not SECRET.search(name) or (online and HUB.match(name))}

    # --- the process ---

    def _launch(self, name: str, job: Job) -> None:
        folder = self.folder(name)
        self._write(name, job)
        with (folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "app.runs.chain", str(folder)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(online=job.online),
                start_new_session=True,
            )
        self._write(name, replace(job, process=leader(process.pid)))
        threading.Thread(target=process.wait, name=f"wait-{name}", daemon=True).start()  # else it stays as a zombie

    # --- the folder ---

    def _status(self, name: str, table: Table) -> Status:
        folder = self.folder(name)
        try:
            job = self._job(name)
        except ConfigError as error:
            if not (folder / JOB).exists():
                raise
            return Status(name, State.FAILED, message=str(error), resumable=False)
        alive = job.process is not None and bool(members(job.process, table))
        told = _Told.read(job, folder)
        state = told.state(job, alive)
        if not (alive or job.status) and any((folder / proof).is_file() for proof in PROOFS_0_1):
            state = State.FINISHED
        now = told.now or RunStatus(RunState.PREPARING)
        prepares = state is State.PREPARING and now.total > 0
        count = now if prepares else told.count or RunStatus(RunState.PREPARING)
        return Status(
            name,
            state,
            step=count.done,
            steps=count.total,
            seconds_left=now.seconds_left if state in (State.RUNNING, State.PREPARING) else None,
            message=_message(now, state, folder / LOG),
            has_model=(folder / MODEL / "model_index.json").is_file(),
            about=job.about,
            unit=count.unit,
            stage=count.stage if state.alive else "",
            stages=count.stages,
            resumable=not _refused(now, state),
        )

    def _job(self, name: str) -> Job:
        path = self.folder(name) / JOB
        if not path.is_file():
            raise ConfigError(f"there is no run {name!r} in {self.root}")
        try:
            return Job.from_json(read_object(path) or {})
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, ConfigError) as error:
            raise ConfigError(f"{path} cannot be read: the run cannot be resumed; its files are untouched") from error

    def _write(self, name: str, job: Job) -> None:
        write_sealed(self.folder(name) / JOB, job.to_json())


@dataclass(frozen=True, slots=True)
class _Told:
    """What the commands of a run tell: how much is done, what they do now (in this start, not an earlier), and what the
    last one of them says: it alone is the run's own process (app/runs/chain.py), and it may write to the file of the
    one before it. prepares: the command that counts has not begun."""

    count: RunStatus | None
    now: RunStatus | None
    last: RunStatus | None
    prepares: bool = False

    @classmethod
    def read(cls, job: Job, folder: Path) -> "_Told":
        told = [RunStatus.read(folder / path) for path in job.status or (STATUS,)]
        ours = [one for one in told if one is not None and job.process and one.group == job.process.pid]
        now = ours[-1] if ours else None
        ends = now is not None and now is told[-1] and job.process is not None and now.pid == job.process.pid
        before = told[: job.counts]
        return cls(told[min(job.counts, len(told) - 1)], now, now if ends else None, any(now is one for one in before))

    def state(self, job: Job, alive: bool) -> State:
        """From whether it lives, what was asked of it, and what it says about itself."""
        says = self.now.state if self.now else RunState.PREPARING
        if alive:
            if job.stop_asked:
                return State.STOPPING
            return State.PREPARING if self.prepares or says is RunState.PREPARING else State.RUNNING
        if says is RunState.FAILED or (self.last and says is RunState.FINISHED):
            return State(says)
        return State.STOPPED if job.stop_asked or says is RunState.STOPPED else State.FAILED


def _refused(now: RunStatus, state: State) -> bool:
    """Whether the same commands would fail again."""
    return state is State.FAILED and now.refused


def _message(now: RunStatus, state: State, log: Path) -> str:
    """What a run does, or why it ended and what can be done: in its own words, or in those of its log."""
    said = now.message if now.state.value == state.value else _last_words(state, log)
    return f"{said}. The same settings would fail again: start a new run." if _refused(now, state) else said


def _last_words(state: State, log: Path) -> str:
    """Where a run says nothing about itself, its log does."""
    if state is State.STOPPING:
        return f"It finishes what it is at and saves it, within {STOP_SECONDS / 60:.0f} min. Stop now ends it at once."
    if state not in (State.PREPARING, State.RUNNING, State.FAILED):
        return ""
    line = next(reversed(log_tail(log)), "")
    if state is not State.FAILED or line.startswith("error:"):
        return line.removeprefix("error:").strip()
    return f"it ended without an error message (killed, or out of memory?); its log ends with: {line or 'nothing'}"


def _begun(job: Path) -> float:
    return _seconds((read_object(job) or {}).get("begun")) or 0.0


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= sys.float_info.max else None
