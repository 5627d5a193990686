"""Processes that work for another one end when it is gone, however it went."""

from __future__ import annotations

import os
import threading
import time

LOOK_SECONDS = 0.5
STARTER = "DETDIFFUSION_STARTER"  # variable: the number of the process that a command ends with


def bound_to_this() -> dict[str, str]:
    """The environment of a command that is to end with this process."""
    return {**os.environ, STARTER: str(os.getpid())}


def end_with_starter() -> None:
    """Ends this process when the one is gone that started it with `bound_to_this`; what it starts itself is free."""
    if starter := os.environ.pop(STARTER, ""):
        end_with(int(starter))


def end_with(parent: int) -> None:
    """Ends this process at once when its parent is no longer `parent`: what it has not committed is made again.

    parent: number of the process that started this one, as that one knows it; asked here, it could be late.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
