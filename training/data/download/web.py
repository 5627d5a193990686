"""One file over HTTP: taken up where an earlier try ended, and checked before it stands in its place."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from detdiffusion.core.files import file_hash, json_object, put_in_place, read_json, write_json
from detdiffusion.errors import DownloadError, why

PART = 2**20  # bytes that are read at once
PATIENCE = 60.0  # seconds without a byte
WAITS = (1.0, 4.0, 15.0)  # seconds before each further try; a try that brought something does not count
AGENT = {"User-Agent": "DetDiffusion Studio"}
NOTHING: Mapping[str, str] = {}


def fetch(
    url: str,
    path: Path,
    report: Callable[[int, int], None],
    *,
    size: int | None = None,
    sha256: str = "",
    headers: Mapping[str, str] = NOTHING,
) -> None:
    """Fetches a file. What is there of an earlier try lies beside it (`.NAME.part`) and is gone on with, if the server
    still has the same file.

    Args:
        report: is told (bytes that are there, bytes in all).
        size: in bytes, and exact; None: as the server says.
        sha256: what it has to be; empty: nobody has said.
        headers: for the server of `url`, and for no other that it sends on to.

    Raises:
        DownloadError: the server does not give it, the connection breaks again and again (what came stays), or what
            came is damaged (and is removed).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(path, url)
    waits = list(WAITS)
    while True:
        before = part.there
        try:
            total = _go_on(url, part, {**AGENT, **headers}, report)
            if part.there == total:
                break
            reason = f"the connection ended after {part.there:,} of {total:,} bytes"
        except HTTPError as error:
            if error.code < 500:
                raise DownloadError(f"{url}: the server answered {error.code} {error.reason}") from error
            reason = f"the server answered {error.code} {error.reason}"
        except (URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = why(error)
        if part.there > before:
            waits = list(WAITS)
        if not waits:
            raise DownloadError(f"{url}: {reason}; the same command goes on from there")
        time.sleep(waits.pop(0))
    _check(url, part, size, sha256)
    put_in_place(part.file, path)
    part.remove()


class _Part:
    """What is there of a file, and by which name the server called that version of it."""

    def __init__(self, path: Path, url: str) -> None:
        self.file, self._note = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.part.json")
        self._url = url

    @property
    def there(self) -> int:
        return self.file.stat().st_size if self.file.is_file() else 0

    @property
    def version(self) -> str:
        """Empty where nothing is there that can be gone on with."""
        if not self.there or not self._note.is_file():
            return ""
        try:
            note: dict[str, Any] = read_json(self._note, json_object, DownloadError)
        except DownloadError:
            return ""
        return str(note.get("version", "")) if note.get("url") == self._url else ""

    def begin(self, version: str) -> None:
        self.remove()
        write_json(self._note, {"url": self._url, "version": version}, durable=False)

    def remove(self) -> None:
        self.file.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _go_on(url: str, part: _Part, headers: Mapping[str, str], report: Callable[[int, int], None]) -> int:
    """Adds what the server gives to what is there; returns how many bytes there are in all."""
    asked = dict(headers)
    if version := part.version:
        asked |= {"Range": f"bytes={part.there}-", "If-Range": version}
    try:
        answer = _OPENER.open(Request(url, headers=asked), timeout=PATIENCE)
    except HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers.get("Content-Range") == f"bytes */{part.there}":
            return part.there  # all of it was there
        part.remove()
        return _go_on(url, part, headers, report)
    with answer:
        if answer.status != http.client.PARTIAL_CONTENT:  # all of it, from its first byte on
            part.begin(_version(answer.headers))
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {part.there}-"):
            part.remove()
            raise http.client.HTTPException("the server gave another part of it than it was asked for")
        length = answer.headers.get("Content-Length")
        total = None if length is None else part.there + int(length)
        with part.file.open("ab") as file:
            done = part.there
            while content := answer.read(PART):
                file.write(content)
                done += len(content)
                report(done, max(done, total or 0))
    return done if total is None else total


def _version(headers: Any) -> str:
    """A strong ETag, or else when the file was changed: what `If-Range` may name."""
    tag = headers.get("ETag") or ""
    return str(headers.get("Last-Modified") or "" if tag.startswith("W/") or not tag else tag)


def _check(url: str, part: _Part, size: int | None, sha256: str) -> None:
    found = ""
    if size is not None and part.there != size:
        found = f"it has {part.there:,} bytes, and its publisher says {size:,}"
    elif sha256 and (hashed := file_hash(part.file)) != sha256:
        found = f"its SHA-256 is {hashed}, and its publisher says {sha256}"
    if found:
        part.remove()
        raise DownloadError(f"{url} came damaged: {found}. It was removed; run the same command again")


class _Redirects(HTTPRedirectHandler):
    """A token is for the server that it was given to."""

    def redirect_request(self, req: Request, *how: Any) -> Request | None:
        request = super().redirect_request(req, *how)
        if request is not None and urlsplit(request.full_url).netloc != urlsplit(req.full_url).netloc:
            request.remove_header("Authorization")
        return request


_OPENER = build_opener(_Redirects)
