"""Connections that say nothing are closed; those that say what they want are not."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from app.serving.patience import Impatient
from detdiffusion import bounds

ASKED = b"GET / HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def port(free_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(bounds, "HEAD_SECONDS", 0.5)
    server = uvicorn.Server(
        uvicorn.Config(PlainTextResponse("here"), port=free_port, http=Impatient, log_level="error", lifespan="off")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield free_port
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("said", [b"", b"GET / HT", ASKED])
def test_who_never_says_what_it_wants_is_sent_away(port: int, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(said)
        assert client.recv(1000) == b""


def test_who_asks_is_answered_again_and_again(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        for pause in (0.0, 0.7):  # the second one asks after the time for a head, within that for keeping alive
            time.sleep(pause)
            client.sendall(ASKED + b"\r\n")
            answer = b""
            while not answer.endswith(b"here"):
                answer += (more := client.recv(1000))
                assert more
        client.sendall(ASKED)
        assert client.recv(1000) == b""
