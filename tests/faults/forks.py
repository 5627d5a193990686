"""Work in a process of its own that is killed, or that finds no space: a fork, which has everything loaded already."""

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from detdiffusion.errors import DetDiffusionError, sentence

FINE, OURS, SYSTEM, OTHER = 0, 10, 11, 12  # exit codes: how the work ended


def child(work: Callable[[], object], said: Path, largest: int | None = None) -> int:
    """Begins the work in a fork and returns its number. largest: bytes that it may write into one file."""
    number = os.fork()
    if number:
        return number
    code = OTHER
    try:
        sys.stdout = sys.stderr = said.open("w")
        if largest is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        try:
            work()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        code = FINE
    except DetDiffusionError as error:
        print("refused:", error)
        code = OURS
    except OSError as error:  # a command's own edge says these, too
        print("refused:", sentence(error))
        code = SYSTEM
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
        finally:
            os._exit(code)


def ended(number: int) -> int:
    """The exit code of a child; negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def kill_after(number: int, seconds: float) -> int:
    """kill -9 after a time; its exit code."""
    time.sleep(seconds)
    os.kill(number, signal.SIGKILL)
    return ended(number)
