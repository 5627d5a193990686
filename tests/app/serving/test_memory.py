"""The studio's memory does not grow by what was freed."""

import asyncio
import ctypes
import sys

import psutil
import pytest
import uvicorn

from app.serving import server
from app.serving.memory import return_freed_memory
from app.serving.server import Server

MB = 2**20
BLOCK, BLOCKS = 8192, 16_000  # 125 MB, in blocks that glibc keeps in an arena

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc alone gives memory back on request")


def resident() -> float:
    return float(psutil.Process().memory_info().rss / MB)


def freed_between_used() -> int:
    """Memory that is freed, below a block that is not: the address of that one."""
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.free.argtypes = [ctypes.c_void_p]
    blocks = [library.malloc(BLOCK) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    for block in blocks[:-1]:
        library.free(block)
    return int(blocks[-1])


def test_freed_memory_goes_back() -> None:
    kept = freed_between_used()
    try:
        before = resident()
        assert return_freed_memory()
        assert before - resident() > 0.9 * BLOCK * BLOCKS / MB
    finally:
        ctypes.CDLL(None).free(ctypes.c_void_p(kept))


def test_a_server_gives_it_back_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_TICKS", 2)
    one = Server(uvicorn.Config(app=None), lambda: None, lambda: None)
    kept = freed_between_used()
    try:
        before = resident()
        assert not asyncio.run(one.on_tick(1))
        assert before - resident() < 10, "not at every tick"
        assert not asyncio.run(one.on_tick(2))
        assert before - resident() > 0.9 * BLOCK * BLOCKS / MB
    finally:
        ctypes.CDLL(None).free(ctypes.c_void_p(kept))
