"""The stages of a loop, in their order. A finished one is not done again, and one that was stopped goes on, because
the verbs do."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detdiffusion.errors import ConfigError
from training.core.orphans import bound_to_this
from training.core.status import STATUS, RunState, StageStatus, StatusWriter, telling
from training.loop.stages import Stage

COMMAND = (sys.executable, "-m", "training")
_STOPPED = (-signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGINT)  # exit codes of a stage that was asked to end
_RENAMED = {"--real": "--data"}  # what the loop of version 0.1 called its own words

Ends = Callable[[Stage], str | None]


def perform(plan: Sequence[Stage], out: Path, ends: Ends = lambda _: None) -> int:
    """Runs what is not done, each command in a process of its own; returns the exit code of the first that failed.

    Args:
        ends: whether it is over after a stage that is done, though there are more, and why; None: it goes on.

    Raises:
        ConfigError: a finished stage was run with other arguments.
    """
    record = _Record(out)
    record.check(plan)
    with telling(out / STATUS, "stage") as status:
        for number, stage in enumerate(plan, start=1):
            if not record.done(stage) and (code := _do(stage, plan, record, status)):
                return code
            if (reason := ends(stage)) is not None:
                print(reason, file=sys.stderr)
                plan = plan[:number]
                break
        record.tell(status, plan, plan[-1], RunState.FINISHED)
    print(plan[-1].proof)
    return 0


def _do(stage: Stage, plan: Sequence[Stage], record: _Record, status: StatusWriter) -> int:
    """Runs one command; its exit code, or 1 where it ends well without what it was to make."""
    print("$", shlex.join(["python", "-m", "training", *stage.words]), file=sys.stderr, flush=True)
    record.tell(status, plan, stage, RunState.RUNNING)
    began = time.monotonic()
    code = _run([*COMMAND, *stage.words])
    if not code and stage.proof.exists():
        record.finish(stage, time.monotonic() - began)
        return 0
    said = f"{stage.name} ended with code {code}; the same command goes on from there"
    record.tell(status, plan, stage, RunState.FAILED)
    status.say(RunState.STOPPED if code in _STOPPED else RunState.FAILED, said)
    print(f"error: {said}", file=sys.stderr)
    return code or 1


def _run(command: Sequence[str]) -> int:
    """Its exit code. It is told to stop when this process is, and is waited for: a training writes its checkpoint."""
    with subprocess.Popen(command, env=bound_to_this()) as child:
        before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        try:
            return child.wait()
        except KeyboardInterrupt:  # which a terminal sends to both
            child.wait()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)


class _Record:
    """What is done, in `out/stages/`, and where the whole stands, in `out/status.json`."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def check(self, plan: Sequence[Stage]) -> None:
        for stage in plan:
            before = self._read(stage)
            if before is not None and [_RENAMED.get(word, word) for word in before["command"]] != list(stage.words):
                raise ConfigError(
                    f"{stage.name} was done with `{shlex.join(before['command'])}`, and the config now says "
                    f"`{shlex.join(stage.words)}`: use the old config, give another out, or delete "
                    f"{self._path(stage)} and what it made"
                )

    def done(self, stage: Stage) -> bool:
        return self._read(stage) is not None and stage.proof.exists()

    def finish(self, stage: Stage, seconds: float) -> None:
        from detdiffusion.core.files import write_sealed

        self._path(stage).parent.mkdir(parents=True, exist_ok=True)
        write_sealed(self._path(stage), {"command": list(stage.words), "seconds": round(seconds)})

    def tell(self, status: StatusWriter, plan: Sequence[Stage], now: Stage, state: RunState) -> None:
        """Which stages are finished, and which one the loop is at."""
        rows = [StageStatus(stage.name, state if stage is now else self._state(stage)) for stage in plan]
        done = [row.state for row in rows].count(RunState.FINISHED)
        status.say(state, stage=now.name, done=done, total=len(rows), stages=tuple(rows))

    def _state(self, stage: Stage) -> RunState:
        return RunState.FINISHED if self.done(stage) else RunState.WAITING

    def _path(self, stage: Stage) -> Path:
        return self.out / "stages" / f"{stage.name.replace(': ', '-')}.json"

    def _read(self, stage: Stage) -> dict[str, Any] | None:
        from detdiffusion.core.files import json_object, read_json

        path, remedy = self._path(stage), "delete it, the stage is then done again"
        return read_json(path, json_object, ConfigError, remedy) if path.exists() else None
