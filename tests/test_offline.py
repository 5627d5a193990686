"""Nothing contacts a network: with it cut, every file loads, and the studio starts, serves its page and closes.

Two fences at once. An audit hook refuses and writes down whatever Python code asks of the network beyond this machine;
where the system allows it the process also runs in a network namespace of its own that has nothing but a loopback, so
that compiled code cannot get out either.
"""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = "asked the network for"

GUARD = f"""
import socket, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in (None, "", "localhost", "0.0.0.0", "::", "::1") and not host.startswith("127."):
        print("{OUTSIDE}", host, event, file=sys.stderr, flush=True)
        raise OSError("the network is cut")

sys.addaudithook(watch)
"""

# A fresh network namespace starts with its loopback down.
LOOPBACK_UP = """
import fcntl, struct
GET_FLAGS, SET_FLAGS, UP = 0x8913, 0x8914, 1
with socket.socket() as any_socket:
    answer = fcntl.ioctl(any_socket, GET_FLAGS, struct.pack("16sH14x", b"lo", 0))
    flags = struct.unpack("16sH14x", answer)[1]
    fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sH14x", b"lo", flags | UP))
"""

SERVE_ONCE = """
import http.client, importlib, os, pkgutil, signal, threading, time, traceback
from app.__main__ import main

port, workspace = int(sys.argv[1]), sys.argv[2]

def visit():
    while True:
        time.sleep(0.2)
        try:
            visitor = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            visitor.request("GET", "/")
            answer = visitor.getresponse()
        except OSError:
            continue
        print("page", answer.status, b"DetDiffusion" in answer.read(), flush=True)
        return

def load_every_file():
    for package in ("detdiffusion", "training", "app"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
            importlib.import_module(module.name)
            print(module.name, flush=True)

def look():
    try:
        visit()
        load_every_file()
    except BaseException:
        traceback.print_exc()
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=look, daemon=True).start()
sys.exit(main(["--port", str(port), "--workspace", workspace]))
"""


@cache
def network_cut() -> tuple[str, ...]:
    """The command that starts another one without a network; empty where the system does not permit it."""
    for command in (("unshare", "-n"), ("unshare", "-r", "-n")):
        if (
            shutil.which("unshare")
            and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
        ):
            return command
    return ()


def run_offline(script: str, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Runs `script` behind the guard, with none of the switches that conftest.py sets: the project must set its own."""
    switches = ("HF_HUB_OFFLINE", "GRADIO_ANALYTICS_ENABLED", "TRANSFORMERS_OFFLINE", "YOLO_OFFLINE")
    prelude = GUARD + (LOOPBACK_UP if network_cut() else "")
    environment = {name: value for name, value in os.environ.items() if name not in switches}
    return subprocess.run(
        [*network_cut(), sys.executable, "-c", prelude + script, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.model
@pytest.mark.process
def test_the_studio_serves_its_page_and_every_file_loads_without_a_network(tmp_path: Path, free_port: int) -> None:
    done = run_offline(SERVE_ONCE, str(free_port), str(tmp_path), timeout=180)
    assert done.returncode == 0, done.stderr
    assert OUTSIDE not in done.stderr and "Traceback" not in done.stderr
    assert "page 200 True" in done.stdout
    assert {"detdiffusion.diffusion.pipeline", "training.data.papercut", "app.studio.tab"} <= set(done.stdout.split())


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "socket.getaddrinfo('example.org', 443)",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    ],
)
def test_guard_catches_a_call_outside(attempt: str) -> None:
    done = run_offline(attempt, timeout=30)
    assert done.returncode != 0
    assert OUTSIDE in done.stderr
