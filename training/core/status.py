"""What a run says of itself while it goes on: metrics.jsonl, TensorBoard, status.json."""

import contextlib
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

from detdiffusion.errors import DataError
from detdiffusion.files import write_json, write_text

STATUS_SECONDS = 2.0  # between two looks at the clock of status.json
FLUSH_SECONDS = 10  # of TensorBoard, what a killed run loses at most


class MetricsLog:
    """One row a step in `out/metrics.jsonl`, and the same scalars in `out/tensorboard`.

    Rows behind `start` are of a run that was killed after its last checkpoint: they go, so each step stands once.
    """

    def __init__(self, out: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        out.mkdir(parents=True, exist_ok=True)
        self.path = out / "metrics.jsonl"
        cut_rows(self.path, start)
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
        except OSError as error:
            raise DataError(f"{self.path}: step {step} cannot be written ({error}); free some space") from error

    def close(self) -> None:
        self._board.close()


def cut_rows(path: Path, step: int) -> None:
    """Takes rows of later steps, and a last one that is torn, out of a .jsonl file."""
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines() if _step(line) <= step]
    write_text(path, "".join(line + "\n" for line in kept))


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


class RunStatus:
    """`out/status.json`: what the run does, how far it is and how long it will take."""

    def __init__(self, out: Path, steps: int) -> None:
        self.path, self.steps = out / "status.json", steps
        self.step = 0  # the last that was said
        self._written, self._first = 0.0, (0, 0.0)

    def say(self, state: str, step: int, message: str = "", seconds_left: float | None = None) -> None:
        """`state`: preparing, running, stopped, finished or failed."""
        about = {"state": state, "pid": os.getpid(), "step": step, "steps": self.steps}
        write_json(self.path, {**about, "seconds_left": seconds_left, "message": message})
        self.step, self._written = step, time.monotonic()

    def end(self, state: str, message: str) -> None:
        """Where the last word left it; a disk that is full must not hide why the run ends."""
        with contextlib.suppress(OSError):
            self.say(state, self.step, message)

    def running(self, step: int) -> None:
        """After every step; time left is counted from this run's own first step."""
        now = time.monotonic()
        if self._first == (0, 0.0):
            self._first = (step, now)
        if now - self._written >= STATUS_SECONDS or step == self._first[0]:
            steps, seconds = step - self._first[0], now - self._first[1]
            self.say("running", step, seconds_left=(self.steps - step) * seconds / steps if steps else None)
