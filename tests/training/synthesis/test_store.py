"""Chunks on the disk: there as a whole or not at all, once whoever writes them, and every damage is seen."""

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from detdiffusion.errors import DataError
from training.synthesis import store as generation_job
from training.synthesis.store import COMMIT, Chunks, read_manifest


def rows(chunks: Chunks, chunk: int, mark: str = "") -> list[dict[str, Any]]:
    return [{"seed": number, "mark": mark} for number in chunks.numbers(chunk)]


def put(chunks: Chunks, chunk: int, mark: str = "") -> bool:
    def save(path: Path) -> None:
        path.write_text(f"{path.name}{mark}")

    return chunks.commit(chunk, [save] * len(chunks.numbers(chunk)), rows(chunks, chunk, mark))


@pytest.fixture
def chunks(tmp_path: Path) -> Chunks:
    chunks = Chunks(tmp_path, 10, 4)
    assert all(put(chunks, chunk) for chunk in range(3))
    return chunks


def test_what_is_committed_is_there(chunks: Chunks, tmp_path: Path) -> None:
    assert [list(chunks.numbers(chunk)) for chunk in range(len(chunks))] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert (chunks.done(), chunks.missing()) == ({0, 1, 2}, [])
    assert [row["id"] for row in chunks.all_rows()] == list(range(10))
    assert all((tmp_path / row["file"]).read_text() == Path(row["file"]).name for row in chunks.all_rows())
    assert all(chunks.faults(chunk) == [] for chunk in range(3))
    assert not list((tmp_path / "images").glob(".*"))


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

    with pytest.raises(DataError, match=r"No space left on device.*free some space"):
        chunks.commit(1, [full] * 4, rows(chunks, 1))
    assert chunks.missing() == [1] and not list((tmp_path / "images").glob(".*"))
    assert chunks.faults(0) == [] == chunks.faults(2)


def test_half_written_folders_of_the_dead_are_swept(chunks: Chunks, tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    images, host = tmp_path / "images", socket.gethostname()
    for name in (f".00001~{host}~{int(gone.stdout)}", f".00001~{host}~{os.getpid()}", ".00001~elsewhere~1"):
        (images / name).mkdir()
    chunks.sweep()
    assert sorted(path.name for path in images.glob(".*")) == sorted(
        (f".00001~{host}~{os.getpid()}", ".00001~elsewhere~1")
    )


def test_a_folder_without_a_job(tmp_path: Path) -> None:
    for text in (None, "[", "{}", '{"format": "other"}'):
        if text is not None:
            (tmp_path / generation_job.MANIFEST).write_text(text)
        with pytest.raises(DataError, match="holds no job"):
            read_manifest(tmp_path)
