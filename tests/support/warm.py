"""A command in a process of its own that need not load torch again: a fork of the test's process, killed for real."""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import torch

FORK = multiprocessing.get_context("fork")


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
