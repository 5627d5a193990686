"""Every picture that the studio made, with what it was asked for and what the detector found: an SQLite file in the
workspace beside the pictures themselves."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from detdiffusion.attributes import Strategy
from detdiffusion.errors import ConfigError, DataError, LayoutError
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig

FILE = "history.sqlite3"
VERSION = 2
A_PAGE = 24  # pictures
BUSY_SECONDS = 3.0  # that another program may hold the file

# Numbers of deleted pictures are not given again: an old page still means the pictures that it shows. Columns keep the
# names of version 0.1: `guidance` is the guidance scale, `difficulty` the attribute guidance.
_TABLE = """
CREATE TABLE IF NOT EXISTS pictures (
  id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, place INTEGER NOT NULL, file TEXT NOT NULL UNIQUE,
  made_at REAL NOT NULL, model TEXT NOT NULL, model_sha256 TEXT NOT NULL, seed INTEGER NOT NULL,
  steps INTEGER NOT NULL, guidance REAL NOT NULL, difficulty REAL NOT NULL, sampler TEXT NOT NULL DEFAULT '',
  strategy TEXT NOT NULL, detector TEXT NOT NULL, min_score REAL NOT NULL, layout TEXT NOT NULL,
  confidences TEXT NOT NULL, found TEXT, confidence_drop REAL, starred INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS pictures_by_time ON pictures (made_at DESC, run, place);
"""
_COLUMNS = (
    "run, place, file, made_at, model, model_sha256, seed, steps, guidance, difficulty, sampler, strategy, detector, "
    "min_score, layout, confidences, found, confidence_drop, starred"
)
_INSERT = f"INSERT INTO pictures ({_COLUMNS}) VALUES (:{_COLUMNS.replace(', ', ', :')})"
_NEWEST_FIRST = "ORDER BY made_at DESC, run, place"
_HAS_LABEL = """EXISTS (
  SELECT 1 FROM json_each(layout, '$.objects') AS object WHERE json_extract(object.value, '$.label') = :label)"""
_HAS_MISSED = """EXISTS (
  SELECT 1 FROM json_each(layout, '$.objects') AS object
  JOIN json_each(confidences) AS confidence ON confidence.key = object.key
  WHERE confidence.value < min_score AND (:label = '' OR json_extract(object.value, '$.label') = :label))"""


class Found(NamedTuple):
    """What the detector was sure of: box in fractions (x1, y1, x2, y2)."""

    label: str
    xyxy: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture that was made.

    Attributes:
        run, place: pictures made together share a run, and stand in it in this order.
        file: name in the workspace's folder of pictures.
        made_at: seconds since 1970.
        confidences: of each object of the layout; 0 is not found, None what the detector cannot know.
        found: None for a picture of an older studio, which did not keep it.
        id, drop: the history gives them. drop: mean confidence of the easy picture less that of the hard one, where
            the run holds both from one seed and model.

    Raises:
        DataError: values that do not fit each other.
    """

    run: str
    place: int
    file: str
    made_at: float
    model: str
    model_sha256: str
    sampling: SamplingConfig
    strategy: Strategy
    detector: str
    min_score: float
    layout: Layout
    confidences: tuple[float | None, ...]
    found: tuple[Found, ...] | None = None
    starred: bool = False
    drop: float | None = None
    id: int = 0

    def __post_init__(self) -> None:
        if not self.file or self.file in (".", "..") or Path(self.file).name != self.file:
            raise DataError(f"file {self.file!r} needs to be a name in the folder of images")  # it may be deleted
        if len(self.confidences) != len(self.layout.boxes):
            raise DataError(f"{len(self.confidences)} confidences for {len(self.layout.boxes)} objects: one an object")
        wrong = [value for value in self.confidences if value is not None and not 0 <= value <= 1]
        if wrong:
            raise DataError(f"confidence {wrong[0]} needs to be from 0 to 1, or None")

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes in the layout."""
        return self.layout.labels

    @property
    def known(self) -> tuple[float, ...]:
        """Confidences of the objects that the detector can know."""
        return tuple(value for value in self.confidences if value is not None)

    @property
    def mean_confidence(self) -> float | None:
        """Over the objects that the detector can know; None without any."""
        return sum(self.known) / len(self.known) if self.known else None

    @property
    def missed(self) -> int:
        """Objects that the detector should have found, and did not."""
        return sum(value < self.min_score for value in self.known)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which pictures are wanted; what is empty does not matter. With a label, `missed` is about objects of it."""

    label: str = ""
    missed: bool = False
    min_drop: float | None = None
    starred: bool = False
    model: str = ""

    def where(self) -> str:
        """As a condition, whose values are `values`."""
        asked = (
            (self.label and not self.missed, _HAS_LABEL),
            (self.missed, _HAS_MISSED),
            (self.min_drop is not None, "confidence_drop >= :min_drop"),
            (self.starred, "starred"),
            (self.model, "model = :model"),
        )
        return " AND ".join(["1", *(condition for wanted, condition in asked if wanted)])

    def values(self) -> dict[str, Any]:
        """The values that `where` leaves open."""
        return {"label": self.label, "min_drop": self.min_drop, "model": self.model}


EVERYTHING = Filter()


class History:
    """The history of a workspace. All calls may come from any thread, and raise DataError where the file is damaged, of
    a newer version or cannot be used; nothing else depends on it then."""

    def __init__(self, workspace: Path) -> None:
        self.path, self.pictures = workspace / FILE, workspace / "pictures"
        self._turn = threading.Lock()

    def record(self, entries: Sequence[Entry]) -> None:
        """Keeps the pictures of one run or more."""
        with self._open() as file:
            file.executemany(_INSERT, [_row(entry) for entry in _with_drops(entries)])

    def find(self, wanted: Filter = EVERYTHING, page: int | None = None) -> tuple[Entry, ...]:
        """The newest first; those of one run in their order. page: None is all of them."""
        some = "" if page is None else f"LIMIT {A_PAGE} OFFSET {A_PAGE * page}"
        return self._read(f"WHERE {wanted.where()} {_NEWEST_FIRST} {some}", wanted.values())

    def get(self, ids: Sequence[int]) -> tuple[Entry, ...]:
        """In the order of `find`; what is not there any more is left out."""
        return self._read(f"WHERE id IN (SELECT value FROM json_each(:ids)) {_NEWEST_FIRST}", {"ids": _listed(ids)})

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
            return int(file.execute("SELECT coalesce(max(id), 0) FROM pictures").fetchone()[0])

    def labels(self) -> tuple[str, ...]:
        """Classes of all objects, by name."""
        names = "SELECT DISTINCT json_extract(object.value, '$.label') FROM pictures, json_each(layout, '$.objects')"
        return self._names(f"{names} AS object ORDER BY 1")

    def models(self) -> tuple[str, ...]:
        """Names of the models that made images, in order."""
        return self._names("SELECT DISTINCT model FROM pictures ORDER BY 1")

    def star(self, number: int, starred: bool) -> None:
        """Stars an image, or takes its star away."""
        with self._open() as file:
            file.execute("UPDATE pictures SET starred = ? WHERE id = ?", (starred, number))

    def delete(self, ids: Sequence[int]) -> int:
        """Pictures and their files; returns how many there were. A file that is gone already is as good."""
        return self._delete("id IN (SELECT value FROM json_each(:ids))", {"ids": _listed(ids)})

    def clean(self, *, keep_starred: bool = True) -> int:
        """Deletes everything; returns how many pictures that were."""
        return self._delete("NOT starred" if keep_starred else "1", {})

    def size(self) -> tuple[int, int]:
        """Pictures, and the bytes of their files."""
        with self._open() as file:
            names = [row["file"] for row in file.execute("SELECT file FROM pictures")]
        weights = []
        for name in names:
            with suppress(FileNotFoundError):  # it has vanished, and does not count
                weights.append((self.pictures / name).stat().st_size)
        return len(weights), sum(weights)

    # --- the file ---

    def _read(self, condition: str, values: dict[str, Any]) -> tuple[Entry, ...]:
        with self._open() as file:
            self._forget_lost(file)
            rows = file.execute(f"SELECT * FROM pictures {condition}", values).fetchall()
        try:
            return tuple(map(_entry, rows))
        except (LayoutError, ConfigError, ValueError, TypeError) as error:
            raise self._damaged(error) from error

    def _names(self, query: str) -> tuple[str, ...]:
        with self._open() as file:
            return tuple(str(row[0]) for row in file.execute(query))

    def _delete(self, condition: str, values: dict[str, Any]) -> int:
        with self._open() as file:  # should a file resist, the history stays as it was
            rows = file.execute(f"DELETE FROM pictures WHERE {condition} RETURNING file", values).fetchall()
            for row in rows:
                try:
                    (self.pictures / row["file"]).unlink(missing_ok=True)
                except OSError as error:
                    raise DataError(f"{row['file']} cannot be deleted ({error.strerror})") from error
            return len(rows)

    def _forget_lost(self, file: sqlite3.Connection) -> None:
        """Pictures whose file has vanished. Where the whole folder is away, nothing is forgotten: it may come back."""
        try:
            there = set(os.listdir(self.pictures))  # noqa: PTH208  # names alone: a folder may hold very many
        except OSError as error:
            raise DataError(f"the folder of images, {self.pictures}, cannot be read ({error.strerror})") from error
        unseen = [row for row in file.execute("SELECT id, file FROM pictures") if row["file"] not in there]
        lost = [row["id"] for row in unseen if not (self.pictures / row["file"]).exists()]  # it may be from just now
        if lost:
            file.execute("DELETE FROM pictures WHERE id IN (SELECT value FROM json_each(?))", (_listed(lost),))

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
                raise DataError(f"{self.path} cannot be used ({error}): {remedy}") from error
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
            file.execute(f"PRAGMA user_version = {VERSION}")

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f"{self.path} is damaged ({error}): move it away, and the studio starts a new history; the images stay "
            f"in {self.pictures}"
        )


def _listed(ids: Sequence[int]) -> str:
    """As one value of a query: there may be more of them than a query may have values."""
    return json.dumps(list(ids))


def _with_drops(entries: Sequence[Entry]) -> list[Entry]:
    means: dict[tuple[str, int, str, Strategy], float | None] = {
        (entry.run, entry.sampling.seed, entry.model_sha256, entry.strategy): entry.mean_confidence for entry in entries
    }
    dropped = []
    for entry in entries:
        easy, hard = (
            means.get((entry.run, entry.sampling.seed, entry.model_sha256, tag))
            for tag in (Strategy.EASY, Strategy.HARD)
        )
        dropped.append(replace(entry, drop=None if easy is None or hard is None else easy - hard))
    return dropped


_PLAIN = (
    "run",
    "place",
    "file",
    "made_at",
    "model",
    "model_sha256",
    "detector",
    "min_score",
)


def _row(entry: Entry) -> dict[str, Any]:
    return {
        **{name: getattr(entry, name) for name in _PLAIN},
        "seed": entry.sampling.seed,
        "steps": entry.sampling.steps,
        "guidance": entry.sampling.guidance_scale,
        "difficulty": entry.sampling.attribute_guidance,
        "sampler": entry.sampling.sampler,
        "strategy": entry.strategy.value,
        "layout": json.dumps(entry.layout.to_json()),
        "confidences": json.dumps(entry.confidences),
        "found": None if entry.found is None else json.dumps(entry.found),
        "confidence_drop": entry.drop,
        "starred": entry.starred,
    }


def _entry(row: sqlite3.Row) -> Entry:
    """ValueError, TypeError, LayoutError or ConfigError for a row that nobody wrote like this."""
    return Entry(
        **{name: row[name] for name in _PLAIN},
        sampling=SamplingConfig(*(row[name] for name in ("seed", "steps", "guidance", "difficulty", "sampler"))),
        strategy=Strategy(row["strategy"]),
        layout=Layout.from_json(row["layout"]),
        confidences=tuple(json.loads(row["confidences"])),
        found=None if row["found"] is None else tuple(map(_found, json.loads(row["found"]))),
        starred=bool(row["starred"]),
        drop=row["confidence_drop"],
        id=row["id"],
    )


def _found(values: Any) -> Found:
    label, box, score = values
    x1, y1, x2, y2 = map(float, box)
    return Found(str(label), (x1, y1, x2, y2), float(score))
