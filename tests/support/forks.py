"""Work in a process of its own that is killed, finds no space, or may not write: a fork, with everything loaded."""

import ctypes
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from detdiffusion.errors import DetDiffusionError, sentence

FINE, OURS, SYSTEM, OTHER = 0, 10, 11, 12  # exit codes: how the work ended


def child(work: Callable[[], object], said: Path, largest: int | None = None, *, mighty: bool = True) -> int:
    """Begins the work in a fork and returns its number. largest: bytes that it may write into one file. mighty: whether
    root writes wherever it likes, as ever; False: permissions count for it, too."""
    number = os.fork()
    if number:
        return number
    code = OTHER
    try:
        sys.stdout = sys.stderr = said.open("w")
        if largest is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        tqdm.set_lock(threading.RLock())  # its own is shared with the parent, which would wait for a killed child
        if not mighty:
            _bow_to_permissions()
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


def _bow_to_permissions() -> None:
    """Gives up what lets root of Linux pass them: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (1 and 2)."""
    if os.name != "posix" or os.geteuid() != 0:
        return
    system, header, held = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert system.capget(header, held) == 0
    held[0] &= ~0b110
    assert system.capset(header, held) == 0


def ended(number: int) -> int:
    """The exit code of a child; negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def kill_after(number: int, seconds: float) -> int:
    """kill -9 after a time; its exit code."""
    time.sleep(seconds)
    os.kill(number, signal.SIGKILL)
    return ended(number)
