"""Memory that was freed goes back to the system: glibc keeps it in its arenas, between blocks that are still in use."""

from __future__ import annotations

import ctypes
import sys


def return_freed_memory() -> bool:
    """Whether there was any. Milliseconds; False where the C library has no such call (glibc alone has it)."""
    if sys.platform != "linux":
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
