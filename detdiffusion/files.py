"""Files that last: written aside and renamed, hashed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path


def write_json(path: Path, value: object) -> None:
    """Writes aside and renames, so that a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(path.suffix + ".partial")
    aside.write_text(json.dumps(value, indent=2) + "\n")
    aside.replace(path)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


PARTIAL = ".partial"


def write_whole(path: Path, text: str) -> None:
    """Writes aside, then renames: a reader sees the old file or the new one, also after a power cut."""
    aside = path.with_name(path.name + PARTIAL)
    aside.write_text(text, encoding="utf-8")
    settle(aside, path)


def settle(aside: Path, path: Path) -> None:
    """Renames a written file to its place once its bytes are on the disk."""
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.replace(path)
