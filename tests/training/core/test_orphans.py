"""Who works for another process ends with it, however early and however that one goes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
WORKS = "import time; from training.core.orphans import end_with_starter; end_with_starter(); time.sleep(60)"
STARTS = f"""
import subprocess, sys, time
from training.core.orphans import bound_to_this
print(subprocess.Popen([sys.executable, "-c", {WORKS!r}], env=bound_to_this()).pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def starter() -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    command = [sys.executable, "-c", STARTS]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = psutil.Process(int(process.stdout.readline()))
        yield process, worker
        for one in (process.pid, worker.pid):
            if psutil.pid_exists(one):
                os.kill(one, signal.SIGKILL)


@pytest.mark.parametrize("seconds", [0.0, 0.6])  # before it has looked, and after
def test_an_orphan_ends(starter: tuple[subprocess.Popen[str], psutil.Process], seconds: float) -> None:
    process, worker = starter
    time.sleep(seconds)
    assert worker.is_running()
    process.kill()
    assert psutil.wait_procs([worker], timeout=10)[1] == []
