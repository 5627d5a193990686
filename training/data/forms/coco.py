"""COCO's JSON files -> the index: things of one file, stuff of another, masks kept packed until they are asked for.

Both files are streamed into a staging database, since a picture's objects may stand anywhere in them, then merged
picture by picture and checked.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from detdiffusion.core.json_stream import elements
from detdiffusion.errors import DataError
from detdiffusion.layout import MAX_PIXELS
from training.data.checks import Drop, Dropped, Reason, Tally, finite_numbers, placed
from training.data.forms.coco_masks import extent, pack, side
from training.data.images import Frame, ImageError, ImageFault, is_file, locate, name_within
from training.data.index import Entry, ImageEntry, IndexWriter, connect_for_writing

THINGS, STUFF = 0, 1  # which file a row comes from; things stand first among a picture's objects
_TRUE = (True, 1, "1", "true", "True")  # JSON's own, and what tools write for it
_WHOLE = re.compile(r"-?\d+\.0+")
_LISTS = ("images", "annotations", "categories")

_TABLES = """
CREATE TABLE category(file INTEGER, key TEXT, name TEXT, UNIQUE(file, key));
CREATE TABLE file(file INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE picture(
    number INTEGER PRIMARY KEY, file INTEGER, key TEXT, numeric INTEGER, name TEXT, width INTEGER, height INTEGER,
    UNIQUE(key, file));
CREATE TABLE object(
    number INTEGER PRIMARY KEY, file INTEGER, key TEXT, picture TEXT, category TEXT, x REAL, y REAL, w REAL, h REAL,
    crowd INTEGER, mask_width INTEGER, mask_height INTEGER, segmentation BLOB,
    UNIQUE(file, key, picture, category, x, y, w, h));
"""
# A picture that both files list is that of the things file.
_IMAGES = """
SELECT key, numeric, name, width, height FROM picture AS one
WHERE file = 0 OR NOT EXISTS (SELECT 1 FROM picture WHERE key = one.key AND file = 0) ORDER BY number
"""
_OBJECTS = """
SELECT (SELECT name FROM file WHERE file.file = object.file) AS source, object.key AS key, category AS category_id,
    category.name AS name, category.key IS NOT NULL AS known, x, y, w, h, crowd, mask_width, mask_height,
    segmentation
FROM object
LEFT JOIN category ON category.file = object.file AND category.key = object.category
WHERE picture = ? ORDER BY object.file, object.number
"""
_ORPHANS = """
SELECT file.name AS name, key, picture FROM object JOIN file USING (file)
WHERE NOT EXISTS (SELECT 1 FROM picture WHERE key = object.picture) ORDER BY object.number
"""


def read_coco(
    writer: IndexWriter,
    instances: Path,
    stuff: Path | None = None,
    *,
    root: Path | None = None,
    places: Sequence[Path] = (),
    masks: bool = True,
) -> None:
    """Reads the files into an index. `places` are folders in `root`; the pictures are in the first that holds some of
    them. Without a `root` no picture is looked at: sizes are what the files say.

    Raises:
        DataError: a file is missing, is not COCO's JSON, or names no categories.
    """
    with closing(connect_for_writing(writer.scratch)) as database:
        database.row_factory = sqlite3.Row
        database.executescript(_TABLES)
        for file, path in ((THINGS, instances), (STUFF, stuff)):
            if path is not None:
                _stage(database, file, path, writer.tally, masks=masks, sized=root is None)
        writer.set_classes(_names(database, THINGS), _names(database, STUFF))
        database.execute("CREATE INDEX object_picture ON object(picture, file)")
        _count_odd_rows(database, writer.tally)
        find = (
            _as_stated if root is None else partial(_found, root, _place(database, root, places, writer.tally), places)
        )
        for picture in database.execute(_IMAGES):
            _merge(database, picture, find, writer)


@dataclass(frozen=True, slots=True)
class Where:
    """An annotation file whose entries are counted."""

    file: str
    tally: Tally

    def drop_picture(self, place: str, reason: Reason, value: object) -> None:
        """Counts an entry of a picture that is left out."""
        self.tally.drop_picture(Drop.of(self.file, place, reason, value))

    def drop_object(self, place: str, reason: Reason, value: object) -> None:
        """Counts an annotation that is left out."""
        self.tally.drop_object(Drop.of(self.file, place, reason, value))


# --- staging --------------------------------------------------------------------------------------


def _stage(database: sqlite3.Connection, file: int, path: Path, tally: Tally, *, masks: bool, sized: bool) -> None:
    database.execute("INSERT INTO file VALUES (?, ?)", (file, path.name))
    for kind, item in elements(path, _LISTS):
        values = item if isinstance(item, Mapping) else {}
        if kind == "categories":
            _stage_category(database, file, values, tally)
        elif kind == "images":
            _stage_image(database, file, values, Where(path.name, tally), sized=sized)
        else:
            _stage_object(database, file, values, Where(path.name, tally), masks=masks)
    if not _names(database, file):
        raise DataError(f"{path}: it names no categories; COCO files hold images, annotations and categories")


def _stage_category(database: sqlite3.Connection, file: int, item: Mapping[str, Any], tally: Tally) -> None:
    name = _text(item.get("name"))
    if name is None:
        tally.notes[Reason.NAMELESS_CATEGORY] += 1
    row = (file, _key(item.get("id")), name and name.strip())
    if not database.execute("INSERT OR IGNORE INTO category VALUES (?, ?, ?)", row).rowcount:
        tally.notes[Reason.REPEATED_CATEGORY] += 1


def _stage_image(
    database: sqlite3.Connection, file: int, item: Mapping[str, Any], where: Where, *, sized: bool
) -> None:
    """sized: whether sizes are needed; the pictures themselves say them, too."""
    number = item.get("id")
    key, name = _key(number), _text(item.get("file_name")) or _name_of_url(item.get("coco_url"))
    width, height = side(item.get("width")), side(item.get("height"))
    unsized = width is None or height is None
    if key is None or name is None or (sized and unsized):
        where.drop_picture(f"image {number}", Reason.BAD_IMAGE, item)
        return
    numeric = isinstance(number, int | float)
    row = (file, key, numeric, name, *((None, None) if unsized else (width, height)))
    if not database.execute("INSERT OR IGNORE INTO picture VALUES (NULL, ?, ?, ?, ?, ?, ?)", row).rowcount:
        where.drop_picture(f"image {key}", Reason.REPEATED_IMAGE, name)


def _name_of_url(url: object) -> str | None:
    """LVIS names its images by COCO's address alone: .../val2017/000000000139.jpg is /val2017/000000000139.jpg, of
    which the longest end that is there counts."""
    text = _text(url)
    return urlsplit(text).path or None if text is not None else None


def _stage_object(
    database: sqlite3.Connection, file: int, item: Mapping[str, Any], where: Where, *, masks: bool
) -> None:
    place, segmentation = f"annotation {item.get('id')}", item.get("segmentation")
    try:
        box = _box(item.get("bbox"), segmentation)
    except Dropped as drop:
        where.drop_object(place, drop.reason, item.get("bbox"))
        return
    picture = _key(item.get("image_id"))
    if picture is None:
        where.drop_object(place, Reason.ORPHAN, item.get("image_id"))
        return
    mask = pack(segmentation) if masks else (None, None, None)
    if masks and segmentation and mask[2] is None:
        where.tally.notes[Reason.BAD_MASK] += 1
    crowd = item.get("iscrowd") in _TRUE
    row = (file, _key(item.get("id")), picture, _key(item.get("category_id")), *box, crowd, *mask)
    places = ", ".join("?" * len(row))
    if not database.execute(f"INSERT OR IGNORE INTO object VALUES (NULL, {places})", row).rowcount:
        where.drop_object(place, Reason.REPEATED_OBJECT, item.get("bbox"))


def _box(bbox: object, segmentation: object) -> tuple[float, ...]:
    """x, y, width, height; where they are not given, those of the mask. Numbers may be written as text."""
    if not bbox and (found := extent(segmentation)) is not None:
        return found
    if isinstance(bbox, list) and any(isinstance(value, str) for value in bbox):
        try:
            bbox = [float(value) for value in bbox]
        except (TypeError, ValueError, OverflowError):
            raise Dropped(Reason.BAD_OBJECT) from None
    return finite_numbers(bbox, 4)


def _count_odd_rows(database: sqlite3.Connection, tally: Tally) -> None:
    for row in database.execute(_ORPHANS):
        Where(row["name"], tally).drop_object(f"annotation {row['key']}", Reason.ORPHAN, f"image {row['picture']}")
    questions = {
        Reason.REPEATED_ID: "SELECT SUM(uses - 1) FROM "
        "(SELECT COUNT(*) AS uses FROM object WHERE key IS NOT NULL GROUP BY file, key)",
        Reason.UNEQUAL_NAMES: "SELECT COUNT(*) FROM picture AS one JOIN picture AS other USING (key) "
        "WHERE one.file = 0 AND other.file = 1 AND one.name <> other.name",
    }
    for reason, question in questions.items():
        ((count,),) = database.execute(question)
        if count:
            tally.notes[reason] += count


def _names(database: sqlite3.Connection, file: int) -> list[str]:
    question = "SELECT name FROM category WHERE file = ? AND name IS NOT NULL ORDER BY rowid"
    return [name for (name,) in database.execute(question, (file,))]


def _key(value: object) -> str | None:
    """Ids are whole numbers or names; 7, 7.0, "7" and "7.0" are the same."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = _text(value)
    return re.sub(r"(?<=\d)\.0+", "", text) if text is not None and _WHOLE.fullmatch(text) else text


def _text(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which no file name and no database can hold
        return None
    return value


# --- merging --------------------------------------------------------------------------------------

# (name, stated size) -> (path in the data folder, frame)
Find = Callable[[str, tuple[int, int] | None], tuple[str, Frame]]


def _merge(database: sqlite3.Connection, picture: sqlite3.Row, find: Find, writer: IndexWriter) -> None:
    rows = database.execute(_OBJECTS, (picture["key"],)).fetchall()
    stated = None if picture["width"] is None else (picture["width"], picture["height"])
    try:
        path, frame = find(picture["name"], stated)
    except ImageError as error:
        writer.drop_image(picture["name"], error, len(rows))
        return
    size = stated or frame.drawn_size
    objects = []
    for row in rows:
        try:
            objects.append(_object(row, size, frame, writer.tally))
        except Dropped as drop:
            value = row["category_id"] if not row["known"] else [row[side] for side in "xywh"]
            Where(row["source"], writer.tally).drop_object(
                f"annotation {row['key']}", drop.reason, f"{value} in {picture['name']}"
            )
    entry = ImageEntry(picture["key"], path, frame, bool(picture["numeric"]))
    writer.add(entry, objects, len(rows) - len(objects))


def _object(row: sqlite3.Row, size: tuple[int, int], frame: Frame, tally: Tally) -> tuple[Entry, bytes | None]:
    if not row["known"]:
        raise Dropped(Reason.UNKNOWN_CATEGORY)
    if row["name"] is None:
        raise Dropped(Reason.NAMELESS_CATEGORY)
    x, y, w, h = row["x"], row["y"], row["w"], row["h"]
    entry = Entry(row["name"], placed((x, y, x + w, y + h), size, frame, tally.notes), bool(row["crowd"]))
    fits = row["mask_width"] is None or (row["mask_width"], row["mask_height"]) == size
    return entry, row["segmentation"] if fits else None


def _as_stated(name: str, size: tuple[int, int] | None) -> tuple[str, Frame]:
    if size is None:
        raise ImageError(ImageFault.NO_SIZE, name)
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(ImageFault.TOO_LARGE, name)
    return name, Frame(*size)


def _found(
    root: Path, place: Path, places: Sequence[Path], name: str, size: tuple[int, int] | None
) -> tuple[str, Frame]:
    """In the folder that holds the first picture, or where another one has it."""
    other = (one for one in (place, *places) if is_file(one / name_within(one, name)))
    return locate(root, next(other, place), name, size)


def _why_none(tally: Tally) -> str:
    """How many entries were of no use, and why, with the first."""
    return "".join(f"; {count:,} x {reason}: {tally.first[reason][0]}" for reason, count in tally.pictures.items())


def _place(database: sqlite3.Connection, root: Path, places: Sequence[Path], tally: Tally) -> Path:
    """The first folder that holds one of the pictures. DataError if there is none."""
    for place in places:
        if any(
            is_file(place / name_within(place, name))
            for (name,) in database.execute("SELECT name FROM picture ORDER BY number")
        ):
            return place
    names = [name for (name,) in database.execute("SELECT name FROM picture ORDER BY number LIMIT 3")]
    if not names:
        raise DataError(f"{root}: the annotations list no images{_why_none(tally)}")
    looked = ", ".join(str(place.relative_to(root)) for place in places)
    raise DataError(f"{root}: no image ({', '.join(names)}, ...) is in any of these folders: {looked}")
