"""A server of files on this machine that knows ranges, and that can break off, change a file or give another one."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Files:
    """Files by their path, and what was asked: (path, Range, Authorization).

    breaks: after how many bytes of content each of the next answers ends; empty: none does.
    moved: paths that are elsewhere, and where.
    shift: how far from the first byte that is asked for its answers begin.
    """

    content: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    shift: int = 0
    address: str = ""

    @property
    def ranges(self) -> list[str]:
        return [asked for _, asked, _ in self.asked]


@contextmanager
def file_server() -> Iterator[Files]:
    files = Files()
    handler = type("Handler", (_Handler,), {"files": files})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        files.address = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield files
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    files: Files

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        files, wanted = self.files, self.headers.get("Range", "")
        files.asked.append((self.path, wanted, self.headers.get("Authorization", "")))
        if self.path in files.moved:
            return self._answer(302, b"", {"Location": files.moved[self.path]})
        if self.path not in files.content:
            return self._answer(404, b"")
        data = files.content[self.path]
        tag = f'"{hashlib.sha1(data).hexdigest()}"'
        first = int(wanted.removeprefix("bytes=").rstrip("-") or 0) if self.headers.get("If-Range") == tag else 0
        first += files.shift if first else 0
        if first >= len(data):
            return self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        span = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
        return self._answer(206 if first else 200, data[first:], {"ETag": tag, **span})

    def _answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data[: self.files.breaks.pop(0)] if status < 300 and self.files.breaks else data)
