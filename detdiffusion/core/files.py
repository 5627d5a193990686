"""Files that last: written beside their place and renamed, hashed, read back, locked.

A writer that dies, and a disk that is full, leave the old file or the new one, never half of one. What a dead writer
leaves beside it is removed by the next process that writes to that folder, when it does so for the first time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import psutil
from filelock import FileLock, Timeout

from detdiffusion.bounds import PATH_LENGTH
from detdiffusion.errors import DetDiffusionError, why

STALE_SECONDS = 86_400.0  # after which a half-written file of another machine has no writer any more
_FOLDERS = 1024  # that a process remembers to have swept
_PART = 2**20  # bytes that are hashed at once
_LONGEST = 100  # bytes of a name that are kept in the name of its half-written file
_ASIDE = re.compile(r"\..+~(?P<host>[^~]+)~(?P<process>\d+)(\.\d+)?")

Content = TypeVar("Content")


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def written_aside(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Where to write a file: beside `path`, where it is put when the block ends. If the block raises, nothing of it is
    left and `path` is as it was.

    durable: False for a file that is only shown while something goes on; it does not wait for the disk, and a power cut
    may cost it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent.absolute())
    aside = _aside_of(path)
    try:
        yield aside
        put_in_place(aside, path, durable=durable)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


@contextmanager
def folder_written_aside(path: Path) -> Iterator[Path]:
    """An empty folder to fill, beside `path`, where it is put when the block ends. If the block raises, nothing of it
    is left. A folder that is there is never replaced: OSError."""
    with scratch_beside(path) as aside:
        yield aside
        put_in_place(aside, path)


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """An empty folder on the same disk as `path`; it is gone when the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent.absolute())
    aside = _aside_of(path)
    shutil.rmtree(aside, ignore_errors=True)  # of a dead process that had this process's number
    aside.mkdir()
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def put_in_place(made: Path, path: Path, *, durable: bool = True) -> None:
    """Renames a file, or a folder with all that is in it, once its bytes are on the disk. An older file is replaced, a
    folder with something in it is not: OSError."""
    if durable:
        for part in (*(made.rglob("*") if made.is_dir() else ()), made):
            _sync(part)
    made.replace(path)
    if durable:
        _sync(path.parent)


def link_or_copy(source: Path, path: Path) -> None:
    """One more name for a file, or a copy of it on another disk; what stood there before is gone."""
    path.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), path)
    except OSError:
        shutil.copyfile(source, path)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """UTF-8, as `written_aside` does it."""
    with written_aside(path, durable=durable) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object, *, durable: bool = True) -> None:
    """Indented, as `written_aside` does it."""
    write_text(path, json.dumps(value, indent=2) + "\n", durable=durable)


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """The same of an object, with the hash of all that it says; `read_json` refuses it with one byte changed."""
    write_json(path, sealed(values))


def cache_folder() -> Path:
    """Where what can be made again is kept for this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "detdiffusion"


def sweep(folder: Path) -> None:
    """Removes what writers that are gone have left half written in a folder: those of this machine at once, those of
    other machines (and of processes whose number lives again) after a day."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if (found := _ASIDE.fullmatch(entry.name)) and _abandoned(Path(entry.path), found):
                _remove(Path(entry.path))


@lru_cache(_FOLDERS)
def _sweep_once(folder: Path) -> None:
    """`sweep`, once a process: to scan a folder of many thousand files takes longer than to write one."""
    sweep(folder)


def _aside_of(path: Path) -> Path:
    """A name that tells its writer: nobody else writes there, and others see whether it is still at work."""
    name = path.name if len(path.name.encode()) <= _LONGEST else text_hash(path.name)
    return path.with_name(f".{name}~{socket.gethostname()}~{os.getpid()}.{threading.get_native_id()}")


def _abandoned(path: Path, name: re.Match[str]) -> bool:
    if name["host"] == socket.gethostname() and not psutil.pid_exists(int(name["process"])):
        return True
    try:
        return time.time() - path.stat().st_mtime > STALE_SECONDS
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Its bytes are on the disk, or, of a folder, its names."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no such call for folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- hashes: SHA-256, hexadecimal -----------------------------------------------------------------


def file_hash(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_hash(content: bytes) -> str:
    """Of bytes that are read already."""
    return hashlib.sha256(content).hexdigest()


def text_hash(text: str) -> str:
    """Of a text in UTF-8."""
    return bytes_hash(text.encode())


def json_hash(value: object) -> str:
    """Of a value's JSON, whatever the order of its keys."""
    return text_hash(json.dumps(value, sort_keys=True))


def hash_of_hashes(files: Mapping[str, str]) -> str:
    """Of a set of files: over their names and hashes, by name."""
    return text_hash("".join(f"{sha256}  {name}\n" for name, sha256 in sorted(files.items())))


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the hash of all that it says, as `unsealed` checks it."""
    content = json.loads(json.dumps(values))  # as it is read back: tuples are lists, numbers as keys are text
    return {**content, "seal": json_hash(content)}


def unsealed(values: Any) -> dict[str, Any]:
    """What was sealed. ValueError, TypeError or KeyError for anything else."""
    content = dict(json_object(values))
    if content.pop("seal") != json_hash(content):
        raise ValueError("it says something else than what was written")
    return content


def checked(value: Any) -> Any:
    """A value as it was read: an object that has a seal is checked, and comes without it. Raises as `unsealed`."""
    return unsealed(value) if isinstance(value, dict) and "seal" in value else value


def seal_file(path: Path) -> None:
    """Puts the hash of a file at its end, for forms whose readers do not look there."""
    seal = file_hash(path).encode()
    with path.open("ab") as file:
        file.write(seal)


def sealed_file(path: Path) -> bool:
    """Whether a file is as `seal_file` left it."""
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size - 2 * found.digest_size
            while left > 0 and (part := file.read(min(left, _PART))):
                found.update(part)
                left -= len(part)
            return file.read() == found.hexdigest().encode()
    except OSError:
        return False


def hash_number(text: str, size: int = 8) -> int:
    """A number of `size` bytes that belongs to a text (BLAKE2b): a seed, or a place, that nothing else depends on."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "big")


# --- reading --------------------------------------------------------------------------------------


def read_json(path: Path, parse: Callable[[Any], Content], error: type[DetDiffusionError], remedy: str = "") -> Content:
    """What `parse` makes of the content of a JSON file; it may raise as `json_object`, int and the like do. An object
    that was sealed has to be as it was then, and comes without its seal.

    Raises:
        error: it cannot be read, or it is damaged; the message ends with `remedy`.
    """
    hint = f"; {remedy}" if remedy else ""
    try:
        return parse(checked(json.loads(path.read_bytes())))
    except OSError as reason:
        raise error(f"{path} cannot be read ({why(reason)}){hint}") from reason
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, OverflowError) as reason:
        raise error(f"{path} is damaged ({_why(reason)}){hint}") from reason


def typed_path(text: str, error: type[DetDiffusionError]) -> Path:
    """A path as a person types it, absolute and with links followed; "~" is the user's folder.

    Raises:
        error: no system has such a path.
    """
    try:
        if len(text) > PATH_LENGTH:
            raise ValueError(f"it has more than {PATH_LENGTH} characters")
        path = Path(text.strip()).expanduser().resolve()
        path.exists()  # a name may be longer than the disk has them
    except (OSError, ValueError, RuntimeError) as reason:
        raise error(f"{text[:100]!r} is no path ({why(reason)}): type that of a file or a folder") from reason
    return path


def json_object(value: Any) -> dict[str, Any]:
    """The value of a JSON file that holds an object. TypeError for anything else: `dict` would take [] for an empty
    one."""
    if not isinstance(value, dict):
        raise TypeError(f"a JSON object is needed, not {json.dumps(value)[:50]}")
    return value


def one_line(error: BaseException) -> str:
    """The start of an error's text, for a message of ours."""
    return why(error)[:200]


def _why(error: BaseException) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else one_line(error)


# --- locks ----------------------------------------------------------------------------------------


@contextmanager
def claim(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether what this file stands for is ours now; it is until the end, or until the process dies. The file is gone
    when nobody has it; who dies leaves it to the next.

    wait: until it is, instead of False at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)  # takes no file that was removed while it waited for it
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def hold(path: Path, error: type[DetDiffusionError], what: str) -> Iterator[None]:
    """Claims a file for what one process alone may do, and writes down who holds it.

    Raises:
        error: another process has it; the message says which.
    """
    holder = path.with_suffix(".holder")
    with claim(path) as ours:
        if not ours:
            raise error(f"{what} is in use{_holder(holder)}: wait until it has ended, or stop it")
        with suppress(OSError):  # a full disk says so where it matters
            write_json(holder, {"process": os.getpid(), "host": socket.gethostname()}, durable=False)
        try:
            yield
        finally:
            with suppress(OSError):
                holder.unlink(missing_ok=True)


def _holder(path: Path) -> str:
    with suppress(DetDiffusionError):
        return read_json(path, lambda by: f" by process {int(by['process'])} on {by['host']!s:.80}", DetDiffusionError)
    return ""
