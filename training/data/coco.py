"""COCO's JSON files -> the index: things of one file, stuff of another, masks kept packed until they are asked for.

Both files are streamed into a staging database, since a picture's objects may stand anywhere in them, then merged
picture by picture and checked.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from detdiffusion.core.json_stream import elements
from detdiffusion.errors import DataError
from detdiffusion.layout import MAX_PIXELS
from training.data.checks import Dropped, Reason, Tally, finite_numbers, placed
from training.data.images import Frame, ImageError, ImageFault, Mask, locate
from training.data.index import Entry, ImageEntry, IndexWriter, Source, choose_split, connect_for_writing

THINGS, STUFF = 0, 1  # which file a row comes from; things stand first among a picture's objects
MAX_SIDE = 1_000_000  # pixels; no picture side and no coordinate is beyond
_LISTS = ("images", "annotations", "categories")

_TABLES = """
CREATE TABLE category(file INTEGER, key TEXT, name TEXT, UNIQUE(file, key));
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
SELECT category.name AS name, category.key IS NOT NULL AS known, x, y, w, h, crowd, mask_width, mask_height,
    segmentation
FROM object
LEFT JOIN category ON category.file = object.file AND category.key = object.category
WHERE picture = ? ORDER BY object.file, object.number
"""


def find_coco(folder: Path, split: str | None) -> Source | None:
    """COCO, COCO-Thing-Stuff and Papercut folders: annotations/instances*.json, with stuff*.json beside it or not, and
    the pictures of split S in S/, images/S/, images/ or the folder itself. Or annotations.json, with file names that
    start in its folder, as `python -m training generate` writes it.

    Raises:
        DataError: there are several splits, and none is named or it is not among them.
    """
    found = sorted((folder / "annotations").glob("instances*.json"))
    splits = {path.stem.removeprefix("instances").removeprefix("_"): path for path in found}
    if not splits and (folder / "annotations.json").is_file():
        splits = {"": folder / "annotations.json"}
    if not splits:
        return None
    chosen = choose_split(tuple(splits), split, folder)
    instances = splits[chosen]
    stuff = instances.with_name(instances.name.replace("instances", "stuff", 1))
    files = (instances, stuff) if stuff != instances and stuff.is_file() else (instances,)
    candidates = (folder / chosen, folder / "images" / chosen, folder / "images", folder)
    places = tuple(place for place in dict.fromkeys(candidates) if place.is_dir())
    return Source(
        form="COCO-Thing-Stuff" if stuff in files else "COCO",
        root=folder,
        files=files,
        folders=tuple(place for place in places if place != folder),
        fill=lambda writer: read_coco(writer, *files, root=folder, places=places),
    )


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
        _stage(database, THINGS, instances, writer.tally, masks=masks)
        if stuff is not None:
            _stage(database, STUFF, stuff, writer.tally, masks=masks)
        writer.set_classes(_names(database, THINGS), _names(database, STUFF))
        database.execute("CREATE INDEX object_picture ON object(picture, file)")
        _count_odd_rows(database, writer.tally)
        find = _as_stated if root is None else partial(locate, root, _place(database, root, places))
        for picture in database.execute(_IMAGES):
            _merge(database, picture, find, writer)


# --- staging --------------------------------------------------------------------------------------


def _stage(database: sqlite3.Connection, file: int, path: Path, tally: Tally, *, masks: bool) -> None:
    for kind, item in elements(path, _LISTS):
        values = item if isinstance(item, Mapping) else {}
        if kind == "categories":
            _stage_category(database, file, values, tally)
        elif kind == "images":
            _stage_image(database, file, values, tally)
        else:
            _stage_object(database, file, values, tally, masks=masks)
    if not _names(database, file):
        raise DataError(f"{path}: it names no categories; COCO files hold images, annotations and categories")


def _stage_category(database: sqlite3.Connection, file: int, item: Mapping[str, Any], tally: Tally) -> None:
    name = _text(item.get("name"))
    if name is None:
        tally.notes[Reason.NAMELESS_CATEGORY] += 1
    row = (file, _key(item.get("id")), name and name.strip())
    if not database.execute("INSERT OR IGNORE INTO category VALUES (?, ?, ?)", row).rowcount:
        tally.notes[Reason.REPEATED_CATEGORY] += 1


def _stage_image(database: sqlite3.Connection, file: int, item: Mapping[str, Any], tally: Tally) -> None:
    number = item.get("id")
    key, name = _key(number), _text(item.get("file_name"))
    width, height = _side(item.get("width")), _side(item.get("height"))
    if key is None or name is None or width is None or height is None:
        tally.pictures[Reason.BAD_IMAGE] += 1
        return
    row = (file, key, isinstance(number, int), name, width, height)
    if not database.execute("INSERT OR IGNORE INTO picture VALUES (NULL, ?, ?, ?, ?, ?, ?)", row).rowcount:
        tally.pictures[Reason.REPEATED_IMAGE] += 1


def _stage_object(
    database: sqlite3.Connection, file: int, item: Mapping[str, Any], tally: Tally, *, masks: bool
) -> None:
    try:
        box = finite_numbers(item.get("bbox"), 4)
    except Dropped as drop:
        tally.objects[drop.reason] += 1
        return
    picture = _key(item.get("image_id"))
    if picture is None:
        tally.objects[Reason.ORPHAN] += 1
        return
    mask = pack(item.get("segmentation")) if masks else (None, None, None)
    row = (file, _key(item.get("id")), picture, _key(item.get("category_id")), *box, bool(item.get("iscrowd")), *mask)
    places = ", ".join("?" * len(row))
    if not database.execute(f"INSERT OR IGNORE INTO object VALUES (NULL, {places})", row).rowcount:
        tally.objects[Reason.REPEATED_OBJECT] += 1


def _count_odd_rows(database: sqlite3.Connection, tally: Tally) -> None:
    questions = (
        (
            tally.objects,
            Reason.ORPHAN,
            "SELECT COUNT(*) FROM object WHERE NOT EXISTS (SELECT 1 FROM picture WHERE key = object.picture)",
        ),
        (
            tally.notes,
            Reason.REPEATED_ID,
            "SELECT SUM(uses - 1) FROM (SELECT COUNT(*) AS uses FROM object WHERE key IS NOT NULL GROUP BY file, key)",
        ),
        (
            tally.notes,
            Reason.UNEQUAL_NAMES,
            "SELECT COUNT(*) FROM picture AS one JOIN picture AS other USING (key) "
            "WHERE one.file = 0 AND other.file = 1 AND one.name <> other.name",
        ),
    )
    for counts, reason, question in questions:
        ((count,),) = database.execute(question)
        if count:
            counts[reason] += count


def _names(database: sqlite3.Connection, file: int) -> list[str]:
    question = "SELECT name FROM category WHERE file = ? AND name IS NOT NULL ORDER BY rowid"
    return [name for (name,) in database.execute(question, (file,))]


def _key(value: object) -> str | None:
    """Ids are whole numbers or names; 7 and "7" are the same."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(value)


def _text(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which no file name and no database can hold
        return None
    return value


def _side(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 < value <= MAX_SIDE and value % 1 == 0 else None


# --- merging --------------------------------------------------------------------------------------

Find = Callable[[str, tuple[int, int]], tuple[str, Frame]]  # (name, stated size) -> (path in the data folder, frame)


def _merge(database: sqlite3.Connection, picture: sqlite3.Row, find: Find, writer: IndexWriter) -> None:
    rows = database.execute(_OBJECTS, (picture["key"],)).fetchall()
    size = (picture["width"], picture["height"])
    try:
        path, frame = find(picture["name"], size)
    except ImageError as error:
        writer.drop_image(error.fault, len(rows))
        return
    objects = []
    for row in rows:
        try:
            objects.append(_object(row, size, frame, writer.tally))
        except Dropped as drop:
            writer.tally.objects[drop.reason] += 1
    writer.add(ImageEntry(picture["key"], path, frame, bool(picture["numeric"])), objects)


def _object(row: sqlite3.Row, size: tuple[int, int], frame: Frame, tally: Tally) -> tuple[Entry, bytes | None]:
    if not row["known"]:
        raise Dropped(Reason.UNKNOWN_CATEGORY)
    if row["name"] is None:
        raise Dropped(Reason.NAMELESS_CATEGORY)
    x, y, w, h = row["x"], row["y"], row["w"], row["h"]
    entry = Entry(row["name"], placed((x, y, x + w, y + h), size, frame, tally.notes), bool(row["crowd"]))
    fits = row["mask_width"] is None or (row["mask_width"], row["mask_height"]) == size
    return entry, row["segmentation"] if fits else None


def _as_stated(name: str, size: tuple[int, int]) -> tuple[str, Frame]:
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(ImageFault.TOO_LARGE, name)
    return name, Frame(*size)


def _place(database: sqlite3.Connection, root: Path, places: Sequence[Path]) -> Path:
    """The first folder that holds one of the pictures. DataError if there is none."""
    for place in places:
        if any(_holds(place, name) for (name,) in database.execute("SELECT name FROM picture ORDER BY number")):
            return place
    names = [name for (name,) in database.execute("SELECT name FROM picture ORDER BY number LIMIT 3")]
    if not names:
        raise DataError(f"{root}: the annotations list no pictures")
    looked = ", ".join(str(place.relative_to(root)) for place in places)
    raise DataError(f"{root}: no picture ({', '.join(names)}, ...) is in any of these folders: {looked}")


def _holds(place: Path, name: str) -> bool:
    try:
        return (place / name).is_file()
    except (OSError, ValueError):  # a name that no file system takes
        return False


# --- masks ----------------------------------------------------------------------------------------


def pack(segmentation: object) -> tuple[int | None, int | None, bytes | None]:
    """(width, height, packed) of COCO's polygons, which fit any size, or of its run lengths; three None where there is
    no usable mask. Checked here, once: pycocotools leaves pixels that no run covers to chance."""
    if isinstance(segmentation, list):
        polygons = [polygon for polygon in segmentation if _is_polygon(polygon)]
        return None, None, _squeeze(polygons) if polygons else None
    if not isinstance(segmentation, Mapping):
        return None, None, None
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or len(size) != 2:
        return None, None, None
    height, width = _side(size[0]), _side(size[1])
    if height is None or width is None or height * width > MAX_PIXELS or _pixels(counts) != height * width:
        return None, None, None
    return width, height, _squeeze({"size": [height, width], "counts": counts})


def unpack(packed: bytes, width: int, height: int) -> Mask:
    """The mask [height, width] of what `pack` returned."""
    shape = json.loads(zlib.decompress(packed))
    if isinstance(shape, list):
        # Corners far outside would cost memory by their distance and change nothing that is seen.
        low, high = (-width, -height), (2 * width, 2 * height)
        polygons = [np.clip(np.reshape(polygon, (-1, 2)), low, high).ravel().tolist() for polygon in shape]
        runs = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    elif isinstance(shape["counts"], list):
        runs = coco_mask.frPyObjects(shape, height, width)
    else:
        runs = {"size": shape["size"], "counts": shape["counts"].encode("ascii")}
    return np.asarray(coco_mask.decode(runs), dtype=np.bool_)


def _squeeze(shape: object) -> bytes:
    return zlib.compress(json.dumps(shape, separators=(",", ":")).encode(), 1)


def _is_polygon(points: object) -> bool:
    if not isinstance(points, list) or len(points) < 6 or len(points) % 2:
        return False
    return all(type(value) in (int, float) and abs(value) < MAX_SIDE for value in points)


def _pixels(counts: object) -> int | None:
    """How many pixels the run lengths cover; None if they are none."""
    if isinstance(counts, list):
        return sum(counts) if all(type(count) is int and count >= 0 for count in counts) else None
    if not isinstance(counts, str) or not counts.isascii():
        return None
    runs = _run_lengths(counts)
    return None if runs is None or (runs < 0).any() else int(runs.sum())


def _run_lengths(counts: str) -> NDArray[np.int64] | None:
    """COCO's text form: a number is groups of 5 bits, lowest first, a character each (from "0" on); bit 6 says that
    another group follows, the highest bit of the last group is the sign. From the fourth on, a number is the difference
    to the one two places before."""
    codes = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    last = np.flatnonzero((codes & 32) == 0)  # of each number
    if not len(last) or last[-1] != len(codes) - 1 or codes.min() < 0 or codes.max() > 63:
        return None
    first = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    if place.max() > 6:  # 35 bits: no picture has so many pixels
        return None
    runs: NDArray[np.int64] = np.add.reduceat((codes & 31) << (5 * place), first)
    runs -= np.where(codes[last] & 16, 1 << (5 * (place[last] + 1)), 0)
    runs[1::2], runs[2::2] = np.cumsum(runs[1::2]), np.cumsum(runs[2::2])
    return runs
