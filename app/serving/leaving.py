"""How the studio ends: soon, with exit code 0, whatever it is at. What lasts is written aside and renamed, so that an
end at any instant leaves the old or the new."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress

from detdiffusion import bounds


def end_with_signals() -> None:
    """From now on SIGTERM and Ctrl-C end this process at once: there is nothing to finish yet."""
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda *_: leave())


def leave_later() -> None:
    """Ends this process when the time for it is over, should it still be there."""
    late = threading.Timer(bounds.LEAVING_SECONDS, leave)
    late.daemon = True
    late.start()


def leave() -> None:
    """Ends this process as well as it can be: no destructor of a library may fail on the way out."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # a stream that is closed, or at work while a signal comes
            stream.flush()
    os._exit(0)
