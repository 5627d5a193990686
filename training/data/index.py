"""The on-disk index of a data set: one SQLite file that says which pictures there are and what is in them.

Annotation files of any form are read once, with bounded memory, and written here; samples are then read picture by
picture. The index is made anew when a source file changes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from tqdm import tqdm

from detdiffusion.core.files import claim, file_hash, put_in_place, scratch_beside, seal_file, sealed_file, text_hash
from detdiffusion.errors import DataError
from training.core.reading import read_ahead
from training.data.checks import Drop, Reason, Tally
from training.data.images import Corners, Frame, ImageError, Seen, look_at

VERSION = 3  # of the tables below: an index of another version is made anew
_MANY, _AHEAD = 1000, 64  # pictures: with fewer nobody misses a progress bar; decoded before they are asked for

_TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE picture(
    number INTEGER PRIMARY KEY, image_id TEXT UNIQUE, numeric INTEGER, path TEXT, width INTEGER, height INTEGER,
    orientation INTEGER, lost INTEGER, signature BLOB);
CREATE TABLE object(
    number INTEGER PRIMARY KEY, picture INTEGER, label TEXT, x1 REAL, y1 REAL, x2 REAL, y2 REAL, crowd INTEGER);
CREATE TABLE mask(object INTEGER PRIMARY KEY, segmentation BLOB);
CREATE TABLE dropped(file TEXT, place TEXT, reason TEXT, value TEXT);
CREATE TABLE looked(path TEXT PRIMARY KEY, size INTEGER, changed INTEGER);
"""


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """A picture of the index."""

    image_id: str
    path: str  # within the data folder, with forward slashes
    frame: Frame
    numeric: bool = False  # whether the data give the id as a number


@dataclass(frozen=True, slots=True)
class Entry:
    """An object of the index."""

    label: str
    xyxy: Corners  # fractions of the upright picture
    crowd: bool = False
    number: int = 0  # of its row, where its mask is found

    @property
    def area(self) -> float:
        """Share of the picture that the box covers."""
        x1, y1, x2, y2 = self.xyxy
        return (x2 - x1) * (y2 - y1)


@dataclass(frozen=True, slots=True)
class Source:
    """A data set that was found but not read: its form, its annotation files, and what reads them into an index.
    about: what was recognised, on one line."""

    form: str
    root: Path
    files: tuple[Path, ...]  # annotations: a change of their contents makes another data set
    folders: tuple[Path, ...]  # of pictures: when one is added or removed, the index is made anew
    fill: Callable[[IndexWriter], None]
    about: str = ""
    has_images: bool = True  # whether the image files are there to be looked at

    def stamp(self) -> str:
        """Another one whenever a file was replaced or edited, or pictures came or went."""
        lines = [f"{VERSION} {self.form} {self.about}"]
        for path in self.files:
            status = path.stat()
            lines.append(f"{self._name(path)}\t{status.st_size}\t{status.st_mtime_ns}")
        lines += [f"{self._name(path)}/\t{path.stat().st_mtime_ns}" for path in self.folders]
        return text_hash("\n".join(lines))

    def contents(self) -> str:
        """SHA-256 over the names and the contents of the annotation files."""
        return text_hash("".join(f"{self._name(path)}\t{file_hash(path)}\n" for path in self.files))

    def _name(self, path: Path) -> str:
        return (path.relative_to(self.root) if path.is_relative_to(self.root) else Path(path.name)).as_posix()


class IndexWriter:
    """Fills a new index: pictures with their objects, in the order of the data set; then, once, the classes."""

    def __init__(self, path: Path) -> None:
        self.scratch = path.with_name("staging.sqlite")  # for readers that have to sort; gone when the index is done
        self._images = self._objects = 0
        self._suspects: list[str] = []
        self._things: tuple[str, ...] = ()
        self._stuff: tuple[str, ...] = ()
        self._database = connect_for_writing(path)
        self._database.executescript(_TABLES)
        self.tally = Tally(listed=self._list)

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def add(self, picture: ImageEntry, objects: Sequence[tuple[Entry, bytes | None]], lost: int = 0) -> None:
        """A picture and its objects with their packed masks (None: there is none). A repeated id is only counted.

        lost: how many of its objects were dropped.
        """
        frame = picture.frame
        row = (self._images, picture.image_id, picture.numeric, picture.path)
        done = self._database.execute(
            "INSERT OR IGNORE INTO picture VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (*row, frame.width, frame.height, frame.orientation, lost),
        )
        if not done.rowcount:
            drop = Drop.of(picture.path, "", Reason.REPEATED_IMAGE, picture.image_id)
            self.tally.drop_picture(drop, len(objects))
            return
        for entry, segmentation in objects:
            values = (self._objects, self._images, entry.label, *entry.xyxy, entry.crowd)
            self._database.execute("INSERT INTO object VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            if segmentation is not None:
                self._database.execute("INSERT INTO mask VALUES (?, ?)", (self._objects, segmentation))
            self._objects += 1
        self._images += 1

    def drop_image(self, name: str, error: ImageError, objects: int = 0) -> None:
        """Counts a picture whose file is of no use, and what was in it."""
        self._suspects.append(str(error.args[1]))
        self.tally.drop_picture(Drop.of(name, "", error.fault, error.args[2]), objects)

    def look(self, root: Path) -> None:
        """Decodes every picture, once: one that cannot be read is dropped here and not in the middle of a training.
        What is left of each is a signature by which near-duplicates are found."""
        database = self._database
        for path in filter(Path.is_absolute, map(Path, self._suspects)):
            if path.is_relative_to(root):  # it may be put right
                state = path.relative_to(root).as_posix(), *_state(path)
                database.execute("INSERT OR IGNORE INTO looked VALUES (?, ?, ?)", state)
        rows = database.execute("SELECT number, path FROM picture ORDER BY number").fetchall()
        looked = read_ahead(rows, lambda row: _looked(root / row[1]), _AHEAD)
        for (number, path), (found, size, changed) in tqdm(looked, "pictures", len(rows), disable=len(rows) < _MANY):
            database.execute("INSERT OR IGNORE INTO looked VALUES (?, ?, ?)", (path, size, changed))
            if isinstance(found, Seen):
                database.execute("UPDATE picture SET signature = ? WHERE number = ?", (found.signature, number))
                self.tally.notes.update([Reason.DEEP_IMAGE] * found.deep)
            else:
                self._remove(number, Drop.of(path, "", found.fault, found.args[2]))

    def _remove(self, number: int, drop: Drop) -> None:
        condition = "WHERE object IN (SELECT number FROM object WHERE picture = ?)"
        self._database.execute(f"DELETE FROM mask {condition}", (number,))
        gone = self._database.execute("DELETE FROM object WHERE picture = ?", (number,)).rowcount
        self._database.execute("DELETE FROM picture WHERE number = ?", (number,))
        self.tally.drop_picture(drop, gone)

    def _list(self, drop: Drop) -> None:
        self._database.execute(
            "INSERT INTO dropped VALUES (?, ?, ?, ?)", (drop.file, drop.place, drop.reason, drop.value)
        )

    def set_classes(self, things: Iterable[str], stuff: Iterable[str] = ()) -> None:
        """Class names, each once; one that is in both lists is a thing."""
        self._things = tuple(dict.fromkeys(things))
        self._stuff = tuple(name for name in dict.fromkeys(stuff) if name not in self._things)

    def finish(self, stamp: str, contents: str, about: str = "") -> None:
        """Writes the header, last: an index without one is not whole. `stamp`, `contents`: of which files it is."""
        ((objects,),), ((masks,),) = (
            self._database.execute(f"SELECT COUNT(*) FROM {table}").fetchall() for table in ("object", "mask")
        )
        if 0 < masks < objects:
            self.tally.notes[Reason.NO_MASK] = objects - masks
        meta = {
            "version": VERSION,
            "made": uuid4().hex,
            "stamp": stamp,
            "contents": contents,
            "about": about,
            "things": self._things,
            "stuff": self._stuff,
            "masks": masks,
            "tally": {
                "pictures": self.tally.pictures,
                "objects": self.tally.objects,
                "notes": self.tally.notes,
            },
            "first": {reason: [astuple(drop) for drop in drops] for reason, drops in self.tally.first.items()},
        }
        self._database.executemany("INSERT INTO meta VALUES (?, ?)", [(k, json.dumps(v)) for k, v in meta.items()])
        self._database.execute("CREATE INDEX object_picture ON object(picture)")
        self._database.commit()


class Index:
    """Reads an index. It may be sent to other processes: each opens the file for itself.

    Raises:
        DataError: it is not a whole index of this version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made = ""
        self._held: tuple[int, sqlite3.Connection] | None = None
        try:
            meta = {key: json.loads(value) for key, value in self._rows("SELECT key, value FROM meta")}
        except (sqlite3.Error, ValueError) as error:
            raise DataError(f"{path}: not an index of a data set ({error})") from error
        if meta.get("version") != VERSION:
            raise DataError(f"{path}: an index of version {meta.get('version')}; this is version {VERSION}")
        self.made = meta.get("made", "")
        self.stamp: str = meta["stamp"]
        self.contents: str = meta["contents"]
        self.about: str = meta["about"]
        self.things: tuple[str, ...] = tuple(meta["things"])
        self.stuff: tuple[str, ...] = tuple(meta["stuff"])
        self.has_masks = meta["masks"] > 0
        first = {reason: [Drop(*values) for values in drops] for reason, drops in meta["first"].items()}
        pictures, objects, notes = (Counter(meta["tally"][name]) for name in ("pictures", "objects", "notes"))
        self.tally = Tally(pictures, objects, notes, first)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}

    def picture(self, number: int) -> ImageEntry:
        """An image by its number in the index."""
        columns = "image_id, path, width, height, orientation, numeric"
        ((image_id, path, width, height, orientation, numeric),) = self._rows(
            f"SELECT {columns} FROM picture WHERE number = ?", number
        )
        return ImageEntry(image_id, path, Frame(width, height, orientation), bool(numeric))

    def entries(self, number: int) -> tuple[Entry, ...]:
        """The objects of a picture, in the order of the data."""
        columns = "label, x1, y1, x2, y2, crowd, number"
        rows = self._rows(f"SELECT {columns} FROM object WHERE picture = ? ORDER BY number", number)
        return tuple(_entry(row) for row in rows)

    def walk(self) -> Iterator[tuple[int, tuple[Entry, ...]]]:
        """Every picture's number and objects, in order; one picture at a time is in memory."""
        rows = self._rows(
            "SELECT picture.number, label, x1, y1, x2, y2, crowd, object.number FROM picture "
            "LEFT JOIN object ON object.picture = picture.number ORDER BY picture.number, object.number"
        )
        for number, group in groupby(rows, key=itemgetter(0)):
            yield number, tuple(_entry(row[1:]) for row in group if row[1] is not None)

    def lost(self, number: int) -> int:
        """How many objects of a picture were dropped when the data were read."""
        ((count,),) = self._rows("SELECT lost FROM picture WHERE number = ?", number)
        return int(count)

    def dropped(self) -> Iterator[Drop]:
        """All that was dropped when the data were read, in that order."""
        return (Drop(*row) for row in self._rows("SELECT file, place, reason, value FROM dropped ORDER BY rowid"))

    def signatures(self) -> Iterator[tuple[int, str, bytes]]:
        """Every picture's number, path and signature, in order."""
        yield from self._rows("SELECT number, path, signature FROM picture ORDER BY number")

    def is_of_today(self, root: Path) -> bool:
        """Whether every picture file that was looked at is as it was then."""
        rows = self._rows("SELECT path, size, changed FROM looked")
        return all((size, changed) == _state(root / path) for path, size, changed in rows)

    def segmentations(self, entries: Sequence[Entry]) -> tuple[bytes | None, ...]:
        """Their packed masks; None where the data have none."""
        question = "SELECT segmentation FROM mask WHERE object = ?"
        return tuple(next((row[0] for row in self._rows(question, entry.number)), None) for entry in entries)

    def _rows(self, question: str, *values: object) -> Iterator[Any]:
        if self._held is None or self._held[0] != os.getpid():
            # A connection does not cross a fork. The file never changes (a new index takes its name), so no locks.
            address = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1"
            database = sqlite3.connect(address, uri=True, check_same_thread=False)
            made = "SELECT value FROM meta WHERE key = 'made'"
            if self.made and database.execute(made).fetchone() != (json.dumps(self.made),):
                raise DataError(f"{self.path}: changed data were read into it meanwhile; run the command again")
            self._held = os.getpid(), database
        return self._held[1].execute(question, values)


def open_index(path: Path, source: Source) -> Index:
    """The index at `path` if it was made of these very files, else a new one in its place. Where another process makes
    it, this one waits: no two make one, and each gets what it asked for, whatever others put there afterwards.

    Raises:
        DataError: the data cannot be read, or the index cannot be written (disk full).
    """
    if (found := _found(path, source)) is not None:
        return found
    with claim(path.with_suffix(".lock"), wait=True):
        return _found(path, source) or _made(path, source)


def _found(path: Path, source: Source) -> Index | None:
    """The index that is there, if it is whole and the data are as they were."""
    try:
        found = Index(path) if sealed_file(path) else None
    except DataError:
        return None
    same = found is not None and found.stamp == source.stamp() and found.is_of_today(source.root)
    return found if same else None


def _made(path: Path, source: Source) -> Index:
    print(f"{source.root}: reading its {source.form} annotations into {path}", file=sys.stderr)

    def fill(writer: IndexWriter) -> None:
        source.fill(writer)
        if source.has_images:
            writer.look(source.root)

    build_index(path, fill, source.stamp(), source.contents(), source.about)
    return Index(path)


def build_index(
    path: Path, fill: Callable[[IndexWriter], None], stamp: str = "", contents: str = "", about: str = ""
) -> None:
    """Writes an index aside and renames it, so that others see the old one or the new one. Its seal stands in its last
    bytes, which SQLite does not read: an index and its seal cannot be of two writers.

    Raises:
        DataError: the data cannot be read, or the index cannot be written (disk full).
    """
    try:
        with scratch_beside(path) as work:
            with IndexWriter(work / "index.sqlite") as writer:
                fill(writer)
                writer.finish(stamp, contents, about)
            seal_file(work / "index.sqlite")
            put_in_place(work / "index.sqlite", path)
    except UnicodeEncodeError as error:
        raise DataError(f"{path.stem}: a name holds a character that is none ({error.reason}); rename it") from error
    except sqlite3.Error as error:
        raise DataError(f"{path}: the index cannot be written ({error}); is the disk full?") from error


def connect_for_writing(path: Path) -> sqlite3.Connection:
    """A new database that nobody else sees: if its process dies it is thrown away, so it needs no journal. Its cache
    is 16 MiB: what is beyond goes to the disk."""
    database = sqlite3.connect(path)
    database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;")
    return database


def _entry(row: Sequence[Any]) -> Entry:
    label, x1, y1, x2, y2, crowd, number = row
    return Entry(label, (x1, y1, x2, y2), bool(crowd), number)


def _looked(path: Path) -> tuple[Seen | ImageError, int, int]:
    """What a picture shows or why it cannot be read, and the state of its file before that."""
    state = _state(path)
    try:
        return look_at(path), *state
    except ImageError as error:
        return error, *state


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change of a file; zeros where there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
