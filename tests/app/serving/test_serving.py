"""A studio as a process: it ends soon whatever it is at, and a client that leaves gives its place away."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import warm

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[3]
PATIENT = httpx.Timeout(120)
GROWTH = 2.0  # MB that a hundred more calls may take, once all sessions are taken


@contextmanager
def studio(model: Path, workspace: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app", "--port", str(port), "--workspace", str(workspace), "--model", str(model)]
    known = {**os.environ, **environment}
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=known)
    try:
        assert process.stdout is not None and f":{port}" in process.stdout.readline()
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def join(address: str, layout: dict[str, Any], session: str, steps: int) -> int:
    functions = httpx.get(f"{address}/config", timeout=PATIENT).json()["dependencies"]
    number = next(one["id"] for one in functions if one["api_name"] == "generate")
    data = [layout, 7, "origin", steps, 2.0, 0.0, "", False, None, None]
    body = {"data": data, "fn_index": number, "session_hash": session}
    return httpx.post(f"{address}/gradio_api/queue/join", json=body, timeout=PATIENT).status_code


def test_the_life_of_a_studio(model_folder: Path, street: dict[str, Any], tmp_path: Path) -> None:
    large = {**street, "width": 512, "height": 512}
    with warm.studio(model_folder, tmp_path / "guarded", DETDIFFUSION_AUTH="ada:hush") as (forked, address):
        assert httpx.get(f"{address}/config", timeout=PATIENT).status_code == 401
        forked.terminate()  # idle
        forked.join(5)
        assert forked.exitcode == 0
    with studio(model_folder, tmp_path) as (process, address):
        _check_who_leaves(address, large, street, tmp_path)
        assert join(address, large, "last", 100) == 200
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)  # drawing
        began = time.monotonic()
        code = process.wait(30)
        assert (code, time.monotonic() - began < 6) == (0, True)
        assert process.stderr is not None and "Traceback" not in (said := process.stderr.read()), said
    assert not list((tmp_path / "pictures").glob(".*")), "nothing half written"


def _check_who_leaves(address: str, large: dict[str, Any], small: dict[str, Any], workspace: Path) -> None:
    """The image of a client that has left is neither drawn to its end nor kept, and the next one has its turn."""
    assert join(address, large, "leaver", 100) == 200
    place = httpx.URL(address)
    with socket.create_connection((place.host, place.port), timeout=120) as stream:
        stream.sendall(
            f"GET /gradio_api/queue/data?session_hash=leaver HTTP/1.1\r\nHost: {place.host}\r\n\r\n".encode()
        )
        told = b""
        while b"process_starts" not in told:
            told += (news := stream.recv(65536))
            assert news, told
    assert join(address, small, "stayer", 1) == 200
    with httpx.stream("GET", f"{address}/gradio_api/queue/data?session_hash=stayer", timeout=PATIENT) as lines:
        last = next(line for line in lines.iter_lines() if "process_completed" in line)
    assert json.loads(last.removeprefix("data:"))["success"]
    sizes = [path.stat().st_size for path in (workspace / "pictures").glob("*.png")]
    assert len(sizes) == 1, "the studio keeps what somebody waited for"


@pytest.mark.long
def test_memory_is_flat_once_as_many_sessions_are_remembered_as_ever_are(model_folder: Path, tmp_path: Path) -> None:
    with studio(model_folder, tmp_path) as (process, address):
        _check_memory(process, address)


def _check_memory(process: subprocess.Popen[str], address: str) -> None:
    from detdiffusion import bounds

    def ask(first: int, count: int) -> None:
        for number in range(first, first + count):
            body = {"data": [], "session_hash": f"session-{number}"}
            assert client.post("/gradio_api/run/classes", json=body).status_code == 200

    memory = psutil.Process(process.pid).memory_info
    with httpx.Client(base_url=address, timeout=PATIENT) as client:
        ask(0, bounds.PAGE_SESSIONS + 20)
        before = memory().rss
        ask(10_000, 100)
        assert memory().rss - before < GROWTH * 2**20
