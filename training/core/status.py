"""What a run says of itself while it goes on: status.json of every long command, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cache, wraps
from pathlib import Path
from types import FrameType
from typing import Any

from detdiffusion.core.files import claim, hold, read_json, write_json, write_text
from detdiffusion.errors import ConfigError, DataError, DetDiffusionError, sentence, why
from training.core.trackers import open_run, rows_of

STATUS = "status.json"
STATUS_SECONDS = 2.0  # between two writes of status.json
FLUSH_SECONDS = 10  # of TensorBoard, what a killed run loses at most


class RunState(StrEnum):
    """Of a run, or of one of its stages."""

    WAITING = "waiting"  # a stage whose turn has not come
    PREPARING = "preparing"
    RUNNING = "running"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        """Whether the command has ended."""
        return self in (RunState.STOPPED, RunState.FINISHED, RunState.FAILED)


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One of the commands that a run works through."""

    name: str
    state: RunState


@dataclass(frozen=True, slots=True)
class RunStatus:
    """`status.json` of a long command: what it does, how far it is, how long it will take, why it ended.

    Raises:
        DataError: a count or the time left is negative.
    """

    state: RunState
    stage: str = ""  # what is counted now, in the command's own words
    done: int = 0
    total: int = 0  # 0: not known yet
    unit: str = "step"  # what is counted, one of it
    seconds_left: float | None = None
    message: str = ""  # why it ended, or what it prepares
    started: float = 0.0  # seconds since 1970, of this start
    updated: float = 0.0
    pid: int = 0
    group: int = 0  # of processes: that of the session which started the command
    stages: tuple[StageStatus, ...] = ()
    refused: bool = False  # it failed for its settings: the same command would fail again

    def __post_init__(self) -> None:
        for name, value in (("done", self.done), ("total", self.total), ("seconds_left", self.seconds_left or 0.0)):
            if not 0 <= value < math.inf:
                raise DataError(f"status: {name} {value} needs to be 0 or more")

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunStatus:
        """Also what version 0.1 has written, which counted `step` of `steps`.

        Raises:
            DataError: it is something else.
        """
        try:
            pid, left = int(values.get("pid", 0)), values.get("seconds_left")
            return cls(
                RunState(values["state"]),
                stage=str(values.get("stage", "")),
                done=int(values.get("done", values.get("step", 0))),
                total=int(values.get("total", values.get("steps", 0))),
                unit=str(values.get("unit", "step")),
                seconds_left=None if left is None else float(left),
                message=str(values.get("message") or ""),
                started=float(values.get("started", 0.0)),
                updated=float(values.get("updated", 0.0)),
                pid=pid,
                group=int(values.get("group", pid)),
                stages=tuple(StageStatus(str(row["name"]), RunState(row["state"])) for row in values.get("stages", ())),
                refused=bool(values.get("refused", False)),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"this is no status of a run: {error}") from error

    @classmethod
    def read(cls, path: Path) -> RunStatus | None:
        """The status in a file; None where there is none, or something else."""
        try:
            return read_json(path, cls.from_json, DataError)
        except DataError:
            return None


def status_beside(out: Path) -> Path:
    """The status file of a command that writes one file and no folder."""
    return out.parent / f"{out.stem}.{STATUS}"


class StatusWriter:
    """Writes the `status.json` of one command. A disk that is full ends no work and hides no reason: it is passed over.

    path: None: nothing is written, as by a process that does not lead.
    leads: asked before every word: False: another process tells.
    """

    def __init__(self, path: Path | None, unit: str = "step", leads: Callable[[], bool] = lambda: True) -> None:
        self.path, self.leads, now = path, leads, time.time()
        group = os.getpgrp() if hasattr(os, "getpgrp") else os.getpid()
        self.last = RunStatus(RunState.PREPARING, unit=unit, started=now, updated=now, pid=os.getpid(), group=group)
        self._written = -math.inf
        self._made, self._spent, self._since = 0, 0.0, None  # type: int, float, float | None

    def say(self, state: RunState, message: str = "", **changes: Any) -> None:
        """Writes at once. changes: other fields of `RunStatus`; the rest stays."""
        self.last = replace(
            self.last, state=state, message=message, **{"seconds_left": None, "refused": False, **changes}
        )
        self._write()

    def progress(self, done: int, total: int, stage: str = "", unit: str = "", *, made: bool = True) -> None:
        """`done` of `total` units are there; writes now and then.

        The time left is counted from the first call about the same total. made: what is new was made since the last
        call, not found: only that says something about the time left.
        """
        now, last = time.monotonic(), self.last
        unit = unit or last.unit
        anew = self._since is None or (total, unit) != (last.total, last.unit) or done < last.done
        if anew:
            self._made, self._spent = 0, 0.0
        elif made and self._since is not None:
            self._made, self._spent = self._made + done - last.done, self._spent + now - self._since
        self._since = now
        left = max(0, total - done) * self._spent / self._made if self._made else None
        about: dict[str, Any] = {"done": done, "total": total, "stage": stage, "unit": unit, "seconds_left": left}
        self.last = replace(last, state=RunState.RUNNING, message="", **about)
        if anew or done >= total or now - self._written >= STATUS_SECONDS:
            self._write()

    def add(self, count: int, stage: str = "", *, made: bool) -> None:
        """`count` more of the total that `say` has named."""
        self.progress(self.last.done + count, self.last.total, stage, made=made)

    def end(self, state: RunState, message: str = "", **changes: Any) -> None:
        """Where the last word left it; nothing where no word was said: bad input leaves no trace."""
        if self.path is not None and self.path.exists():
            self.say(state, message, **changes)

    def _write(self) -> None:
        self._written = time.monotonic()
        self.last = replace(self.last, updated=time.time())
        if self.path is not None and self.leads():
            with contextlib.suppress(OSError):
                write_json(self.path, self.last.to_json(), durable=False)


_writer: ContextVar[StatusWriter | None] = ContextVar("status_writer", default=None)


def status_writer() -> StatusWriter:
    """That of the command which runs; one that writes nothing where there is none."""
    return _writer.get() or StatusWriter(None)


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM ends what runs inside as Ctrl-C does, so that it can say that it stopped. What is forked from here dies
    of it as ever; outside of the main thread, which alone gets signals, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = os.getpid()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() == ours:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def telling(path: Path | None, unit: str = "step", *, shared: bool = False) -> Iterator[StatusWriter]:
    """A command tells in a status file how far it is: progress bars inside feed it, how it ends is its last word.

    SIGTERM and Ctrl-C end it alike, as `stopped`.

    Args:
        path: None: this process does not lead, and tells nothing.
        shared: several processes may do this work together: only the one that came first tells.

    Raises:
        DataError: another process works there, and the work is not shared.
    """
    with ExitStack() as stack:
        outer = _writer.get()

        @cache  # the lock is taken with the first word: bad input leaves no trace
        def leads() -> bool:
            if path is None or (not shared and outer is not None and outer.path == path):
                return True
            lock = path.with_suffix(".lock")
            if shared:
                return stack.enter_context(claim(lock))
            try:
                stack.enter_context(hold(lock, DataError, str(path.parent)))
            except DataError:
                writer.path = None  # what stands there is the other one's
                raise
            return True

        writer = StatusWriter(path, unit, leads)
        stack.callback(_writer.reset, _writer.set(writer))
        if path is not None and (before := RunStatus.read(path)):
            writer.say(RunState.PREPARING, done=before.done, total=before.total)  # its state is over, its work stands
        try:
            with _ended_like_ctrl_c():
                yield writer
        except KeyboardInterrupt:
            if not writer.last.state.over:
                writer.end(RunState.STOPPED, "stopped; run the same command to resume")
            raise
        except Exception as error:
            known = isinstance(error, DetDiffusionError | OSError)
            text = sentence(error) if known else f"{type(error).__name__}: {sentence(error)}"
            writer.end(RunState.FAILED, text, refused=isinstance(error, ConfigError))
            raise
        if not writer.last.state.over:
            writer.say(RunState.FINISHED)


def leads() -> bool:
    """Whether this is the first of the processes that torchrun or accelerate started, which alone speaks; known without
    torch."""
    return os.environ.get("RANK", "0") == "0"


def tells(
    file: Callable[[Any], Path | None], unit: str = "step", *, shared: bool = False
) -> Callable[[Callable[[Any], int]], Callable[[Any], int]]:
    """The same for a command's `run`: `file` finds the status file in its arguments."""

    def decorate(run: Callable[[Any], int]) -> Callable[[Any], int]:
        @wraps(run)
        def told(arguments: Any) -> int:
            with telling(None if getattr(arguments, "dry_run", False) else file(arguments), unit, shared=shared):
                return run(arguments)

        return told

    return decorate


class MetricsLog:
    """One row a step in `out/metrics.jsonl`, and the same scalars in `out/tensorboard` and in what `--tracker` names.

    Rows behind `start` are of a run that was killed after its last checkpoint: they go, so each step stands once.
    """

    def __init__(self, out: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        out.mkdir(parents=True, exist_ok=True)
        self.path = out / "metrics.jsonl"
        last = max((row["step"] for row in rows_of(self.path)), default=0)
        cut_rows(self.path, start)
        self._run = open_run(out, rows_of(self.path), last)
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=start + 1, flush_secs=FLUSH_SECONDS)

    def write(self, values: Mapping[str, float]) -> None:
        """`step` and its scalars; what is not finite becomes null.

        Raises:
            DataError: the disk is full.
        """
        step = int(values["step"])
        try:
            with self.path.open("a") as file:
                file.write(json.dumps({k: v if math.isfinite(v) else None for k, v in values.items()}) + "\n")
            for name, value in values.items():
                if name != "step":
                    self._board.add_scalar(name, value, step)
            if self._run is not None:
                self._run.log(values)
        except OSError as error:
            raise DataError(f"{self.path}: step {step} cannot be written ({why(error)}); free some space") from error

    def close(self) -> None:
        """Closes the files of TensorBoard, and the tracker's run."""
        self._board.close()
        if self._run is not None:
            self._run.close()


def cut_rows(path: Path, step: int) -> None:
    """Takes rows of later steps, and a last one that is torn, out of a .jsonl file."""
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if _step(line) <= step]
    write_text(path, "".join(line + "\n" for line in kept))


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf
