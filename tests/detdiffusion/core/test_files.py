"""Files that last: old or new and never half, whoever dies and whatever is full; read back with words; locked once."""

import errno
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from detdiffusion.core import files
from detdiffusion.core.files import (
    claim,
    file_hash,
    folder_written_aside,
    hash_number,
    hash_of_hashes,
    json_hash,
    json_object,
    put_in_place,
    read_json,
    scratch_beside,
    sweep,
    text_hash,
    write_json,
    write_text,
    written_aside,
)
from detdiffusion.errors import ConfigError, DataError

ROOT = Path(__file__).parents[3]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def content(folder: Path) -> dict[str, str]:
    """Everything below a folder, hidden files too."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def python(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size", "number"),
    [
        ("7/0", 6, 21680119615839),
        ("7/12/1", 6, 238218884540445),
        ("one-hard/3", 8, 1823243902811933149),
        ("0/-1/2", 8, 7523445551636307489),
    ],
)
def test_a_seed_stays_what_it_was(text: str, size: int, number: int) -> None:
    """Images and trainings of before are drawn and resumed by these numbers."""
    assert hash_number(text, size) == number


@pytest.mark.parametrize("written", ["[]", "null", '[["a", 1]]', '"text"', "3"])
def test_what_is_no_object_is_damage(tmp_path: Path, written: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(written)
    with pytest.raises(DataError, match=r"a\.json is damaged \(a JSON object is needed, not .*\); delete it"):
        read_json(path, json_object, DataError, "delete it")
    path.write_text('{"a": 1}')
    assert read_json(path, json_object, DataError) == {"a": 1}


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_written_or_replaced(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": [1, "é"]}, durable=durable)
    assert path.read_text() == '{\n  "a": [\n    1,\n    "\\u00e9"\n  ]\n}\n'
    write_text(path, "é\n", durable=durable)
    assert path.read_bytes() == "é\n".encode() and list(path.parent.iterdir()) == [path]


def test_what_is_durable_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut cannot be tested; the order of what is asked of the system can."""
    did, fsync, replace = list[str](), os.fsync, Path.replace

    def synced(handle: int) -> None:
        did.append("sync")
        fsync(handle)

    def renamed(self: Path, target: Path) -> Path:
        did.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_text(tmp_path / "a", "1")
    with folder_written_aside(tmp_path / "b") as aside:
        (aside / "one").write_text("1")
    write_text(tmp_path / "c", "1", durable=False)
    assert did == [*("sync", "rename", "sync"), *("sync", "sync", "rename", "sync"), "rename"]


@pytest.mark.parametrize("when", ["write", "sync", "rename"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, when: str
) -> None:
    (tmp_path / "old").write_text("old")
    before = content(tmp_path)

    def full(*_: object) -> Any:
        raise FULL

    if when == "sync":
        monkeypatch.setattr(os, "fsync", full)
    if when == "rename":
        monkeypatch.setattr(Path, "replace", full)
    opened: AbstractContextManager[Path] = (
        written_aside(tmp_path / "old") if kind == "file" else folder_written_aside(tmp_path / "new")
    )

    def write() -> None:
        with opened as aside:
            (aside if kind == "file" else aside / "part").write_text("half")
            if when == "write":
                full()

    with pytest.raises(OSError, match="No space left"):
        write()
    assert content(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_folder_is_never_replaced(tmp_path: Path) -> None:
    place = tmp_path / "place"
    for text in ("first", "second"):
        try:
            with folder_written_aside(place) as aside:
                (aside / "text").write_text(text)
        except OSError:
            assert text == "second"
    assert content(tmp_path) == {"place/text": "first"} and list(tmp_path.iterdir()) == [place]


def test_what_is_made_in_a_scratch_folder_is_put_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.write_text("old")
    with scratch_beside(path) as work:
        (work / "steps").write_text("on the way")
        (work / "made").write_text("new")
        put_in_place(work / "made", path)
    assert content(tmp_path) == {"made": "new"} and list(tmp_path.iterdir()) == [path]


def test_a_name_as_long_as_a_file_may_have(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 125 + ".json")
    write_json(path, 1)
    assert list(tmp_path.iterdir()) == [path]


DIES = """
import os, pathlib, signal, sys
from detdiffusion.core.files import folder_written_aside, write_text

pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "file":
    write_text(pathlib.Path(sys.argv[1]), "new")
with folder_written_aside(pathlib.Path(sys.argv[1])) as aside:
    (aside / "part").write_text("new")
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_kill_9_between_writing_and_renaming(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    if kind == "file":
        path.write_text("old")
    died = python(DIES, path, kind)
    assert died.returncode == -signal.SIGKILL, died.stderr
    half = [found for found in tmp_path.iterdir() if found != path]
    assert len(half) == 1 and path.exists() == (kind == "file")
    assert kind == "folder" or path.read_text() == "old"
    write_text(tmp_path / "other", "1")
    assert not half[0].exists(), "the next writer tidies up"


RACES = """
import sys
from pathlib import Path
from detdiffusion.core.files import write_json

for number in range(100):
    write_json(Path(sys.argv[1]), [sys.argv[2]] * 500, durable=False)
"""


def test_two_processes_on_one_file(tmp_path: Path) -> None:
    path = tmp_path / "it.json"
    command = [sys.executable, "-c", RACES, str(path)]
    crew = [subprocess.Popen([*command, name], cwd=ROOT) for name in ("a", "b")]
    while any(process.poll() is None for process in crew):
        if path.exists():
            assert len(set(json.loads(path.read_text()))) == 1, "of one writer, and whole"
    assert [process.returncode for process in crew] == [0, 0] and list(tmp_path.iterdir()) == [path]


def test_only_what_has_no_writer_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, here = int(python("import os; print(os.getpid())").stdout), socket.gethostname()
    names = {
        "dead": f".a~{here}~{gone}.{gone}",
        "dead, of version 0.1": f".00001~{here}~{gone}",
        "alive": f".b~{here}~{os.getpid()}.1",
        "elsewhere": f".c~elsewhere~{gone}.1",
        "hidden": ".cache",
        "other": "a~b~1",
    }
    for name in names.values():
        (tmp_path / name).write_text("")
    (tmp_path / names["dead, of version 0.1"]).unlink()
    (tmp_path / names["dead, of version 0.1"]).mkdir()
    sweep(tmp_path)
    alive = {names[key] for key in ("alive", "elsewhere", "hidden", "other")}
    assert {path.name for path in tmp_path.iterdir()} == alive
    now = time.time()
    monkeypatch.setattr(files.time, "time", lambda: now + files.STALE_SECONDS + 1)
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".cache", "a~b~1"}, "after a day nobody writes any more"
    sweep(tmp_path / "absent")


def test_a_folder_is_swept_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan of 5,000 files takes 3.5 ms, and writing one of them less than 1 ms."""
    swept = list[Path]()
    monkeypatch.setattr(files, "sweep", swept.append)
    for folder in (tmp_path / "a", tmp_path / "b", tmp_path / "a"):
        for number in range(3):
            write_text(folder / f"{number}.txt", "1")
        with scratch_beside(folder / "work"):
            pass
    monkeypatch.chdir(tmp_path)
    write_text(Path("a") / "other.txt", "1")
    assert swept == [tmp_path / "a", tmp_path / "b"]


# --- hashes ---------------------------------------------------------------------------------------


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert file_hash(tmp_path / "a") == text_hash("abc") == known
    assert json_hash({"b": 1, "a": [1, None]}) == json_hash({"a": [1, None], "b": 1}) != json_hash({"b": 1, "a": [1]})
    assert json_hash([1]) == hashlib.sha256(b"[1]").hexdigest()
    assert hash_of_hashes({"b": "2", "a": "1"}) == hashlib.sha256(b"1  a\n2  b\n").hexdigest()


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parse", "said"),
    [
        (None, dict, r"it\.json cannot be read \(no such file or folder\); start again"),
        ("", dict, r"it\.json is damaged \(Expecting value.*\); start again"),
        ('{"a": 1', dict, r"it\.json is damaged \(Expecting .*\)"),
        ("\ufffd", dict, r"it\.json is damaged"),
        ("[" * 100_000, dict, r"it\.json is damaged \(.*recursion"),
        ("3", dict, r"it\.json is damaged \('int' object is not iterable\)"),
        ("{}", lambda values: int(values["step"]), r"it\.json is damaged \('step' is missing\)"),
        ('{"step": "x"}', lambda values: int(values["step"]), r"it\.json is damaged \(invalid literal"),
        ("[]", lambda values: values[0], r"it\.json is damaged \(list index out of range\)"),
        ("[]", lambda values: values.items(), r"it\.json is damaged \('list' object has no attribute"),
    ],
)
@pytest.mark.parametrize("error", [DataError, ConfigError])
def test_damage_is_said(
    tmp_path: Path, text: str | None, parse: Callable[[Any], Any], said: str, error: type[DataError]
) -> None:
    path = tmp_path / "it.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=said):
        read_json(path, parse, error, "start again")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(DataError, match="it is damaged"):
        read_json(tmp_path / "it", dict, DataError)


def test_what_is_whole_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "it", {"step": 3})
    assert read_json(tmp_path / "it", dict, DataError) == {"step": 3}


# --- locks ----------------------------------------------------------------------------------------


def test_what_is_claimed_is_claimed_once(tmp_path: Path) -> None:
    path = tmp_path / "claims" / "7"
    with claim(path) as mine, claim(path) as again, claim(path.with_name("8")) as other:
        assert (mine, again, other) == (True, False, True)
    with claim(path) as mine:
        assert mine, "whoever is done lets go of it"
    assert not path.exists(), "and leaves nothing behind"


HOLDS = """
import sys, time
from pathlib import Path
from detdiffusion.core.files import claim

with claim(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(path: Path, seconds: float) -> subprocess.Popen[str]:
    """Another process that holds the lock by now."""
    command = [sys.executable, "-c", HOLDS, str(path), str(seconds)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    return process


def test_a_process_that_dies_lets_go(tmp_path: Path) -> None:
    process = holder(tmp_path / "lock", 600)
    with claim(tmp_path / "lock") as mine:
        assert not mine
    process.kill()
    process.communicate()
    with claim(tmp_path / "lock") as mine:
        assert mine


def test_waiting_for_another_process(tmp_path: Path) -> None:
    process = holder(tmp_path / "lock", 1)
    with claim(tmp_path / "lock", wait=True) as mine:
        assert mine
    process.communicate()
