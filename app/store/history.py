"""Every picture that the studio made, with what it was asked for and what the detector found: an SQLite file in the
workspace beside the pictures themselves."""

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from app.store.entries import EVERYTHING, Entry, Filter, entry_of, is_name, row_of, seal_of, with_drops
from detdiffusion.errors import DataError, DetDiffusionError, why

log = logging.getLogger(__name__)
FILE = "history.sqlite3"
VERSION = 5
A_PAGE = 24  # pictures
BUSY_SECONDS = 3.0  # that another program may hold the file
TRASH_DAYS = 30  # what was deleted longer ago goes for good with the next deletion

# Numbers of deleted pictures are not given again: an old page still means the pictures that it shows. Columns keep the
# names of version 0.1: `guidance` is the guidance scale, `difficulty` the attribute guidance. Rows with `deleted_at`
# (seconds since 1970) are in the trash, and so are their files. `seal`: SHA-256 of all that stays as it was written.
_TABLE = """
CREATE TABLE IF NOT EXISTS pictures (
  id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, place INTEGER NOT NULL, file TEXT NOT NULL UNIQUE,
  made_at REAL NOT NULL, model TEXT NOT NULL, model_sha256 TEXT NOT NULL, seed INTEGER NOT NULL,
  steps INTEGER NOT NULL, guidance REAL NOT NULL, difficulty REAL NOT NULL, sampler TEXT NOT NULL DEFAULT '',
  strategy TEXT NOT NULL, detector TEXT NOT NULL, min_score REAL NOT NULL, layout TEXT NOT NULL,
  confidences TEXT NOT NULL, found TEXT, confidence_drop REAL, starred INTEGER NOT NULL, deleted_at REAL, seal TEXT
);
CREATE INDEX IF NOT EXISTS pictures_by_time ON pictures (made_at DESC, run, place);
"""
_COLUMNS = (
    "run, place, file, made_at, model, model_sha256, seed, steps, guidance, difficulty, sampler, strategy, detector, "
    "min_score, layout, confidences, found, confidence_drop, starred, seal"
)
_INSERT = f"INSERT INTO pictures ({_COLUMNS}) VALUES (:{_COLUMNS.replace(', ', ', :')})"
_NEWEST_FIRST = "ORDER BY made_at DESC, run, place"


_NO_SPACE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


class HistoryFullError(DataError):
    """The disk does not take a row more."""


class History:
    """The history of a workspace. All calls may come from any thread, and raise DataError where the file is damaged, of
    a newer version or cannot be used; nothing else depends on it then."""

    def __init__(self, workspace: Path) -> None:
        self.path, self.pictures, self.trash = workspace / FILE, workspace / "pictures", workspace / "trash"
        self._turn = threading.Lock()

    def record(self, entries: Sequence[Entry]) -> None:
        """Keeps the pictures of one run or more."""
        with self._open() as file:
            file.executemany(_INSERT, [row_of(entry) for entry in with_drops(entries)])

    def find(self, wanted: Filter = EVERYTHING, page: int | None = None) -> tuple[Entry, ...]:
        """The newest first; those of one run in their order. page: None is all of them."""
        some = "" if page is None else f"LIMIT {A_PAGE} OFFSET {A_PAGE * page}"
        return self._read(f"WHERE {wanted.where()} {_NEWEST_FIRST} {some}", wanted.values())

    def files(self) -> dict[str, bool]:
        """Names of all images that it knows -> whether they are in the trash."""
        with self._open() as file:
            return {row[0]: bool(row[1]) for row in file.execute("SELECT file, deleted_at IS NOT NULL FROM pictures")}

    def get(self, ids: Sequence[int], wanted: Filter = EVERYTHING) -> tuple[Entry, ...]:
        """In the order of `find`; what is not there any more, or not wanted, is left out."""
        condition = f"WHERE id IN (SELECT value FROM json_each(:ids)) AND {wanted.where()} {_NEWEST_FIRST}"
        return self._read(condition, {"ids": _listed(ids), **wanted.values()})

    def count(self, wanted: Filter = EVERYTHING) -> int:
        """How many images pass the filter."""
        with self._open() as file:
            self._forget_lost(file)
            return int(
                file.execute(f"SELECT count(*) FROM pictures WHERE {wanted.where()}", wanted.values()).fetchone()[0]
            )

    def newest(self) -> int:
        """The number that was given last, of those that are still there; 0 without any."""
        with self._open() as file:
            return int(file.execute("SELECT coalesce(max(id), 0) FROM pictures WHERE deleted_at IS NULL").fetchone()[0])

    def labels(self) -> tuple[str, ...]:
        """Classes of all objects, by name."""
        whole = "CASE WHEN json_valid(layout) THEN layout ELSE '{}' END"
        names = f"SELECT DISTINCT json_extract(object.value, '$.label') FROM pictures, json_each({whole}, '$.objects')"
        return self._names(f"{names} AS object WHERE deleted_at IS NULL ORDER BY 1")

    def models(self) -> tuple[str, ...]:
        """Names of the models that made images, in order."""
        return self._names("SELECT DISTINCT model FROM pictures WHERE deleted_at IS NULL ORDER BY 1")

    def star(self, number: int, starred: bool) -> None:
        """Stars an image, or takes its star away."""
        with self._open() as file:
            for row in file.execute("SELECT * FROM pictures WHERE id = ?", (number,)).fetchall():
                changed = {**row, "starred": int(starred)}
                seal = seal_of(changed) if row["seal"] == seal_of(row) else row["seal"]
                question = "UPDATE pictures SET starred = ?, seal = ? WHERE id = ?"
                file.execute(question, (int(starred), seal, number))

    def delete(self, ids: Sequence[int]) -> int:
        """Moves images to the trash; returns how many there were. A file that is gone already is as good."""
        return self._delete("id IN (SELECT value FROM json_each(:ids))", {"ids": _listed(ids)})

    def clean(self, *, keep_starred: bool = True) -> int:
        """Moves everything to the trash; returns how many images that were."""
        return self._delete("NOT starred" if keep_starred else "1", {})

    def undo(self) -> int:
        """Brings back what was deleted last, at once; returns how many images that were. What has left the trash folder
        otherwise stays away."""
        with self._open() as file:
            last = "deleted_at = (SELECT max(deleted_at) FROM pictures)"
            rows = file.execute(f"UPDATE pictures SET deleted_at = NULL WHERE {last} RETURNING file").fetchall()
            return sum(_moved(self.trash, self.pictures, row["file"], "brought back") for row in rows)

    def empty_trash(self, before: float | None = None) -> int:
        """Deletes for good what is in the trash; returns how many images that were. before: seconds since 1970: only
        what was deleted earlier."""
        with self._open() as file:
            return self._forget(file, time.time() + 1 if before is None else before)

    def size(self) -> tuple[int, int]:
        """Images, and the bytes of their files."""
        return self._size("deleted_at IS NULL", self.pictures)

    def trash_size(self) -> tuple[int, int]:
        """The same of the trash."""
        return self._size("deleted_at IS NOT NULL", self.trash)

    def _size(self, condition: str, folder: Path) -> tuple[int, int]:
        with self._open() as file:
            names = [row["file"] for row in file.execute(f"SELECT file FROM pictures WHERE {condition}")]
        weights = []
        for name in filter(is_name, names):
            with suppress(FileNotFoundError):  # it has vanished, and does not count
                weights.append((folder / name).stat().st_size)
        return len(weights), sum(weights)

    # --- the file ---

    def _read(self, condition: str, values: dict[str, Any]) -> tuple[Entry, ...]:
        with self._open() as file:
            self._forget_lost(file)
            rows = file.execute(f"SELECT * FROM pictures {condition}", values).fetchall()
        entries, fault = [], None
        for row in rows:
            try:
                entries.append(entry_of(row))
            except (DetDiffusionError, ValueError, TypeError) as error:
                log.error("row %s of %s is damaged, and left out: %s", row["id"], self.path, error)
                fault = error
        if fault is not None and not entries:
            raise self._damaged(fault) from fault
        return tuple(entries)

    def _names(self, query: str) -> tuple[str, ...]:
        with self._open() as file:
            return tuple(str(row[0]) for row in file.execute(query))

    def _delete(self, condition: str, values: dict[str, Any]) -> int:
        now = time.time()
        with self._open() as file:  # should a file resist, the history stays as it was
            self._forget(file, now - TRASH_DAYS * 86_400)
            gone = f"UPDATE pictures SET deleted_at = :now WHERE deleted_at IS NULL AND {condition} RETURNING file"
            rows = file.execute(gone, {**values, "now": now}).fetchall()
            for row in rows:
                _moved(self.pictures, self.trash, row["file"], "deleted")
            return len(rows)

    def _forget(self, file: sqlite3.Connection, before: float) -> int:
        rows = file.execute("DELETE FROM pictures WHERE deleted_at < ? RETURNING file", (before,)).fetchall()
        for row in rows:
            try:
                if is_name(row["file"]):  # a row of somebody else's names no other file
                    (self.trash / row["file"]).unlink(missing_ok=True)
            except OSError as error:
                raise DataError(f"{row['file']} cannot be deleted ({why(error)})") from error
        return len(rows)

    def _forget_lost(self, file: sqlite3.Connection) -> None:
        """Pictures whose file has vanished. Where the whole folder is away, nothing is forgotten: it may come back."""
        try:
            there = set(os.listdir(self.pictures))  # noqa: PTH208  # names alone: a folder may hold very many
        except OSError as error:
            raise DataError(f"the folder of images, {self.pictures}, cannot be read ({why(error)})") from error
        rows = file.execute("SELECT id, file FROM pictures WHERE deleted_at IS NULL")
        unseen = [row for row in rows if row["file"] not in there]
        lost = [row["id"] for row in unseen if not (self.pictures / row["file"]).exists()]  # it may be from just now
        if lost:
            still = "deleted_at IS NULL AND id IN (SELECT value FROM json_each(?))"  # another studio may delete them
            file.execute(f"DELETE FROM pictures WHERE {still}", (_listed(lost),))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection, one at a time; what happens on it happens as a whole or not at all."""
        with self._turn:
            try:
                file = sqlite3.connect(self.path, timeout=BUSY_SECONDS)
                try:
                    file.row_factory = sqlite3.Row
                    self._prepare(file)
                    with file:
                        yield file
                finally:
                    file.close()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # a table or a value is not what was written
                    raise self._damaged(error) from error
                remedy = "free some space, and check that the workspace can be written to"
                kind = HistoryFullError if error.sqlite_errorcode & 0xFF in _NO_SPACE else DataError
                raise kind(f"{self.path} cannot be used ({error}): {remedy}") from error
            except sqlite3.Error as error:
                raise self._damaged(error) from error

    def _prepare(self, file: sqlite3.Connection) -> None:
        version = file.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise DataError(
                f"{self.path} is of version {version}, and this studio reads up to {VERSION}: update the studio, or "
                f"move the file away to start a new history"
            )
        if version < VERSION:
            file.execute("PRAGMA journal_mode = WAL")
            file.executescript(_TABLE)
            if version == 1:
                file.execute("ALTER TABLE pictures ADD COLUMN sampler TEXT NOT NULL DEFAULT ''")
                file.execute("ALTER TABLE pictures ADD COLUMN found TEXT")
            if version in (1, 2):
                file.execute("ALTER TABLE pictures ADD COLUMN deleted_at REAL")
            if version in (1, 2, 3):
                file.execute("ALTER TABLE pictures ADD COLUMN seal TEXT")
            file.execute("UPDATE pictures SET seal = NULL")  # that of version 4 was of less
            file.execute(f"PRAGMA user_version = {VERSION}")

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f"{self.path} is damaged ({error}): move it away, and the studio starts a new history; the images stay "
            f"in {self.pictures}"
        )


def _moved(source: Path, target: Path, name: str, what: str) -> bool:
    """Whether there was such a file. DataError where it cannot be moved."""
    if not is_name(name):
        return False  # a row of somebody else's: it names no file of ours
    try:
        target.mkdir(exist_ok=True)
        (source / name).replace(target / name)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DataError(f"{name} cannot be {what} ({why(error)})") from error
    return True


def _listed(ids: Sequence[int]) -> str:
    """As one value of a query: there may be more of them than a query may have values."""
    return json.dumps(list(ids))
