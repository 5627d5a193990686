"""A hub on this machine: what huggingface_hub asks of a repository of models, from memory."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants


@dataclass
class Hub:
    """Files by repository and branch, and what was asked: (method, path, token)."""

    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    needs_token: str = ""
    spoiled: dict[str, bytes] = field(default_factory=dict)  # files that come as other bytes than they are listed
    address: str = ""

    def put(self, name: str, folder: Path, branch: str = "main") -> None:
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.repositories.setdefault(name, {})[branch] = files

    def branch(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Its commit and its files."""
        for branch, files in self.repositories.get(name, {}).items():
            commit = hashlib.sha1(f"{name}@{branch}".encode()).hexdigest()
            if revision in (branch, commit):
                return commit, files
        return None

    @property
    def fetched(self) -> list[str]:
        """Names of files that were given out."""
        return [path.partition("/resolve/")[2].partition("/")[2] for way, path, _ in self.asked if way == "GET"]


@contextmanager
def hub_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serves a hub at an address of 127.0.0.1, which huggingface_hub asks until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield hub
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def _get(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if not self._may(path):
            return None
        if path.startswith("/api/models/"):
            name, _, rest = path.removeprefix("/api/models/").partition("/tree/")
            name, _, revision = name.partition("/revision/")
            found = self.hub.branch(name, rest or revision or "main")
            if found is None:
                return self._answer(404, {}, {"X-Error-Code": "RevisionNotFound"})
            commit, files = found
            if rest:
                listed = [{"type": "file", "path": n, "size": len(b), "oid": _etag(b)} for n, b in files.items()]
                return self._answer(200, listed)
            siblings = [_described(n, b) for n, b in files.items()]
            return self._answer(200, {"id": name, "sha": commit, "siblings": siblings, "private": False})
        name, _, rest = path.removeprefix("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        found = self.hub.branch(name, revision)
        if found is None or file not in found[1]:
            return self._answer(404, {}, {"X-Error-Code": "EntryNotFound"})
        commit, files = found
        data = self.hub.spoiled.get(file, files[file])
        return self._answer(200, data, {"ETag": f'"{_etag(files[file])}"', "X-Repo-Commit": commit})

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._may(path):
            return None
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.hub.repositories.setdefault(name, {"main": {}})
            return self._answer(200, {"url": f"{self.hub.address}/{name}"})
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        name, _, branch = path.removeprefix("/api/models/").replace("/preupload/", "/commit/").partition("/commit/")
        if "/preupload/" in path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._answer(200, {"files": files})
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                content = base64.b64decode(entry["value"]["content"])
                self.hub.repositories[name][branch][entry["value"]["path"]] = content
        return self._answer(200, {"commitUrl": f"{self.hub.address}/{name}/commit/1", "commitOid": "1" * 40})

    def _may(self, path: str) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.asked.append((self.command, path, token))
        if self.hub.needs_token in ("", token):
            return True
        self._answer(401, {}, {"X-Error-Message": "this model needs a token"})
        return False

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _described(name: str, data: bytes) -> dict[str, Any]:
    """A file as the hub lists it; of large kinds it knows the SHA-256."""
    about: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": _etag(data)}
    if name.endswith((".safetensors", ".bin")):
        about["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return about


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
