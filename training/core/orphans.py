"""Processes that work for another one end when it is gone, however it went."""

from __future__ import annotations

import os
import threading
import time

LOOK_SECONDS = 0.5


def end_with(parent: int) -> None:
    """Ends this process at once when its parent is no longer `parent`: what it has not committed is made again.

    parent: number of the process that started this one, as that one knows it; asked here, it could be late.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
