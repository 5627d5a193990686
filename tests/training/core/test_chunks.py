"""Chunks on the disk: there as a whole or not at all, once whoever writes them, and every damage is seen."""

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from detdiffusion.errors import DataError
from training.core.chunks import COMMIT, Chunks

ROOT = Path(__file__).parents[3]


def rows(chunks: Chunks, chunk: int, mark: str = "") -> list[dict[str, Any]]:
    return [{"seed": number, "mark": mark} for number in chunks.numbers(chunk)]


def put(chunks: Chunks, chunk: int, mark: str = "") -> bool:
    def save(path: Path) -> None:
        path.write_text(f"{path.name}{mark}")

    return chunks.commit(chunk, [save] * len(chunks.numbers(chunk)), rows(chunks, chunk, mark))


@pytest.fixture
def chunks(tmp_path: Path) -> Chunks:
    chunks = Chunks(tmp_path, "images", 10, 4)
    assert all(put(chunks, chunk) for chunk in range(3))
    return chunks


def test_what_is_committed_is_there(chunks: Chunks, tmp_path: Path) -> None:
    assert [list(chunks.numbers(chunk)) for chunk in range(len(chunks))] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert (chunks.done(), chunks.missing()) == ({0, 1, 2}, [])
    assert [row["id"] for row in chunks.all_rows()] == list(range(10))
    assert all((tmp_path / row["file"]).read_text() == Path(row["file"]).name for row in chunks.all_rows())
    assert all(chunks.faults(chunk) == [] for chunk in range(3))
    assert not list((tmp_path / "images").glob(".*"))


def test_rows_without_images(tmp_path: Path) -> None:
    """What was seen is kept, and not what it was seen in."""
    chunks = Chunks(tmp_path, "view/easy", 3, 2)
    assert chunks.commit(0, None, rows(chunks, 0)) and chunks.commit(1, None, rows(chunks, 1))
    assert list(chunks.all_rows()) == [{"id": number, "seed": number, "mark": ""} for number in range(3)]
    assert chunks.faults(0) == [] == chunks.faults(1)
    assert [path.name for path in chunks.folder(0).iterdir()] == [COMMIT]


def test_the_first_one_wins(chunks: Chunks, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert put(chunks, 1, "other") is False
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("fault", ["flipped", "gone", "no commit", "cut commit", "other commit"])
def test_damage_is_named(chunks: Chunks, tmp_path: Path, fault: str) -> None:
    picture, commit = tmp_path / chunks.file(5), chunks.folder(1) / COMMIT
    match fault:
        case "flipped":
            picture.write_text("other")
        case "gone":
            picture.unlink()
        case "no commit":
            commit.unlink()
        case "cut commit":
            commit.write_text(commit.read_text()[:-9])
        case _:
            content = json.loads(commit.read_text())
            content["pictures"][0]["seed"] = 99
            commit.write_text(json.dumps(content))
    (found,) = chunks.faults(1)
    assert ("000005.png" if fault in ("flipped", "gone") else COMMIT) in found
    assert chunks.faults(0) == [] == chunks.faults(2)
    chunks.take_away(1)
    assert chunks.missing() == [1] and put(chunks, 1) and chunks.faults(1) == []


def test_a_full_disk_leaves_what_was_there(chunks: Chunks, tmp_path: Path) -> None:
    chunks.take_away(1)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DataError, match=r"the disk is full.*free some space"):
        chunks.commit(1, [full] * 4, rows(chunks, 1))
    assert chunks.missing() == [1] and not list((tmp_path / "images").glob(".*"))
    assert chunks.faults(0) == [] == chunks.faults(2)


COMMITS = """
import sys
import threading
from pathlib import Path
from training.core.chunks import Chunks

chunks = Chunks(Path(sys.argv[1]), "images", 40, 2)
print(sum(chunks.commit(chunk, [lambda path: path.write_text(sys.argv[2])] * 2, [{}, {}]) for chunk in range(20)))
"""


def test_two_processes_commit_each_chunk_once(tmp_path: Path) -> None:
    crew = [
        subprocess.Popen([sys.executable, "-c", COMMITS, tmp_path, name], stdout=subprocess.PIPE, cwd=ROOT)
        for name in ("one", "two")
    ]
    assert sum(int(process.communicate()[0]) for process in crew) == 20
    chunks = Chunks(tmp_path, "images", 40, 2)
    assert chunks.missing() == [] and not [fault for chunk in range(20) for fault in chunks.faults(chunk)]
    assert not list((tmp_path / "images").glob(".*"))


def test_a_dead_process_with_the_number_of_this_one(tmp_path: Path) -> None:
    """In a container every run may have the same: what it left half written does not stand in the way."""
    chunks = Chunks(tmp_path, "images", 2, 2)
    left = tmp_path / "images" / f".00000~{socket.gethostname()}~{os.getpid()}.{threading.get_native_id()}"
    left.mkdir(parents=True)
    (left / "000000.png").write_text("half")
    assert put(chunks, 0) and chunks.faults(0) == [] and not left.exists()


def test_a_damaged_chunk_is_taken_away_and_named(chunks: Chunks, tmp_path: Path) -> None:
    assert chunks.repair(1) is None and chunks.missing() == []
    (tmp_path / chunks.file(5)).unlink()
    assert chunks.repair(1) == f"{tmp_path / chunks.file(5)} is missing"
    assert chunks.missing() == [1] and chunks.repair(1) is None, "what is not there is not damaged"


def test_what_version_0_1_generated_is_read(tmp_path: Path) -> None:
    """Its commit, to the byte."""
    folder = tmp_path / "images" / "00000"
    folder.mkdir(parents=True)
    (folder / "000000.png").write_text("picture")
    sha256 = "2cea274d0bedc39ec4ab6ba9e59ec889e3ed6fb56a1cf088a64d9b383378dc97"
    of_rows = "87812d9ea69909e49e5628328de6c2b7397c070b634aa88a598be334b325d68a"
    row = {"id": 0, "file": "images/00000/000000.png", "sha256": sha256, "seed": 7}
    (folder / COMMIT).write_text(json.dumps({"sha256": of_rows, "pictures": [row]}) + "\n")
    chunks, written = Chunks(tmp_path, "images", 1, 64), (folder / COMMIT).read_bytes()
    assert chunks.rows(0) == [row] and chunks.faults(0) == []
    chunks.take_away(0)

    def save(path: Path) -> None:
        path.write_text("picture")

    assert chunks.commit(0, [save], [{"seed": 7}]) and (folder / COMMIT).read_bytes() == written


def test_half_written_folders_of_the_dead_are_swept(chunks: Chunks, tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    images, host = tmp_path / "images", socket.gethostname()
    for name in (f".00001~{host}~{int(gone.stdout)}", f".00001~{host}~{os.getpid()}", ".00001~elsewhere~1"):
        (images / name).mkdir()
    chunks.sweep()
    assert sorted(path.name for path in images.glob(".*")) == sorted(
        (f".00001~{host}~{os.getpid()}", ".00001~elsewhere~1")
    )
