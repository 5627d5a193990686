"""A command in a process of its own that need not load torch again: a fork, killed for real. Trainings and ranks are
forks of the test's process, studios those of a process that has loaded everything and has done nothing (preloaded.py).
"""

import multiprocessing
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkProcess, ForkServerProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

FORK = multiprocessing.get_context("fork")
FORK_SERVER = multiprocessing.get_context("forkserver")
HERE, ROOT = Path(__file__).resolve().parent, Path(__file__).resolve().parents[2]
START_SECONDS = 300  # a test machine may be busy; the promise of 20 s is for an idle one
END_SECONDS = 60


def fork(
    work: Callable[..., Any], *given: Any, said: Path, environment: Mapping[str, str] | None = None
) -> ForkProcess:
    """Begins `work(*given)`, whose answer is the exit code. said: file that takes all that it prints."""
    process = FORK.Process(target=_begin, args=(work, given, said, environment))
    process.start()
    return process


def training(words: Sequence[object], said: Path, environment: Mapping[str, str] | None = None) -> ForkProcess:
    """`python -m training`."""
    from training.__main__ import main

    return fork(main, [str(word) for word in words], said=said, environment=environment)


def ranks(
    work: Callable[..., Any], *given: Any, port: int, said: Path, environment: Mapping[str, str], count: int = 2
) -> list[ForkProcess]:
    """As many forks as a launcher starts. said: folder of what they print, `rank-0` and so on."""
    together = {**environment, "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    said.mkdir(exist_ok=True)
    return [
        fork(work, *given, said=said / f"rank-{rank}", environment={**together, "RANK": rank, "LOCAL_RANK": rank})
        for rank in map(str, range(count))
    ]


def fork_untouched(
    work: Callable[..., Any], *given: Any, said: Path, environment: Mapping[str, str] | None = None
) -> ForkServerProcess:
    """As `fork`, of a process in which no test has run. work and given: what pickle can send."""
    _load_all()
    known = dict(os.environ) if environment is None else environment
    process = FORK_SERVER.Process(target=_begin, args=(work, given, said, known))
    process.start()
    return process


@cache
def _load_all() -> None:
    """Once: the process that gives untouched forks. multiprocessing does not tell it what `sys.path` is here."""
    FORK_SERVER.set_forkserver_preload(["preloaded"])
    with patch.dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, (ROOT, HERE)))):
        forkserver.ensure_running()


@contextmanager
def studio(model: Path, workspace: Path, *words: str, **environment: str) -> Iterator[tuple[ForkServerProcess, str]]:
    """`python -m app`, and where it serves. It ends with 0 and writes of no failure, if it was not ended before."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said, address = workspace.with_name(f"{workspace.name}.said"), f"http://127.0.0.1:{port}"
    asked = ["--port", str(port), "--workspace", str(workspace), "--model", str(model), *words]
    process = fork_untouched(_serve, asked, said=said, environment={**os.environ, **environment})
    try:
        late = time.monotonic() + START_SECONDS
        while address not in (told := said.read_text() if said.is_file() else ""):
            assert process.is_alive() and time.monotonic() < late, told
            time.sleep(0.05)
        yield process, address
        if process.is_alive():
            process.terminate()
            process.join(END_SECONDS)
            assert process.exitcode == 0
        assert "Traceback" not in (told := said.read_text()), told
    finally:
        process.kill()
        process.join()


def _serve(words: Sequence[str]) -> int:
    from app.__main__ import main

    return main(words)


def _begin(work: Callable[..., Any], given: Sequence[Any], said: Path, environment: Mapping[str, str] | None) -> None:
    os.setsid()
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    with said.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        sys.stdout = sys.stderr = file
        # A fork makes torch's pool of threads anew when it is first asked for: two threads that ask at once find none.
        torch.set_num_threads(torch.get_num_threads())
        try:
            code = work(*given)
        except Exception:
            traceback.print_exc()
            code = 1
    os._exit(code or 0)
