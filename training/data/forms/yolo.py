"""YOLO's label rows -> the index: boxes, with a confidence or key points behind them or not, and polygons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from training.data.checks import Drop, Dropped, Reason, Tally, finite_numbers, placed
from training.data.forms.coco_masks import pack
from training.data.forms.common import Listing, is_picture, read_lines, with_capitals
from training.data.images import Frame, ImageError, ImageFault, locate
from training.data.index import Entry, ImageEntry, IndexWriter

LABELS = "labels"
IMAGES = ("images", "jpegimages")  # folders beside which tools look for one of labels
CLASS_LISTS = ("classes.txt", "obj.names", "classes.names", "labels.txt")  # text files that name the classes
LISTS = ("train.txt", "valid.txt", "val.txt", "test.txt")  # of pictures
NOT_LABELS = {*CLASS_LISTS, *LISTS, "readme.txt", "readme.roboflow.txt", "readme.dataset.txt", "notes.txt"}
_BETWEEN = re.compile(r"[\s,;]+")  # numbers

Row = tuple[int, str]  # number of the line, text


@dataclass(frozen=True, slots=True)
class YoloSplit:
    """One split of a YOLO folder.

    about: files that name the classes, and lists of pictures. pictures: (folder within the root, name in that folder).
    key_points: numbers of the key points in a row, behind the box. remarks: what is odd in the files that name the
    classes, though it can be read.
    """

    root: Path
    about: tuple[Path, ...]
    names: Mapping[int, str]
    pictures: tuple[tuple[Path, str], ...]
    key_points: int | None = None
    remarks: tuple[str, ...] = ()

    def label_file(self, place: Path, name: str) -> Path:
        """images/train/a.jpg -> labels/train/a.txt; where there is no such folder, beside the picture."""
        path = (place.relative_to(self.root) / name).with_suffix(".txt")
        parts = [part for part in path.parts if part not in ("/", "..")]  # never outside the root
        at = next((at for at in reversed(range(len(parts) - 1)) if parts[at].lower() in IMAGES), None)
        if at is not None:
            above = self.root.joinpath(*parts[:at])
            spelled = (LABELS, LABELS.title(), LABELS.upper())
            parts[at] = next((name for name in spelled if (above / name).is_dir()), parts[at])
        return with_capitals(self.root.joinpath(*parts))

    def label_files(self) -> list[Path]:
        """Those of its pictures that are there."""
        files = dict.fromkeys(self.label_file(place, name) for place, name in self.pictures)
        return [path for path in files if path.is_file()]

    def fill(self, writer: IndexWriter) -> None:
        """Reads everything into the index."""
        writer.set_classes(name.strip() for _, name in sorted(self.names.items()) if name.strip())
        writer.tally.notes.update(self.remarks)
        stems = Counter(_stem(place / name) for place, name in dict.fromkeys(self.pictures))
        for place, name in self.pictures:
            label = self.label_file(place, name)
            rows = _rows(label)
            try:
                path, frame = locate(self.root, place, name, None)
            except ImageError as error:
                writer.drop_image(name, error, len(rows))
                continue
            shared = stems[_stem(place / name)] > 1  # a.jpg and a.png: the suffix tells them apart
            image_id = path if shared else PurePosixPath(path).with_suffix("").as_posix()
            objects = list(self._objects(label, rows, frame, writer.tally))
            if not label.is_file():
                writer.tally.notes[Reason.NO_LABELS] += 1
            writer.add(ImageEntry(image_id, path, frame), objects, len(rows) - len(objects))
        for label in self._orphans():
            shown = label.relative_to(self.root).as_posix()
            writer.tally.drop_picture(Drop.of(shown, "", ImageFault.MISSING), len(_rows(label)))

    def _objects(
        self, label: Path, rows: Sequence[Row], frame: Frame, tally: Tally
    ) -> Iterator[tuple[Entry, bytes | None]]:
        for number, row in rows:
            try:
                yield self._object(row, frame, tally)
            except Dropped as drop:
                shown = label.relative_to(self.root).as_posix()
                tally.drop_object(Drop.of(shown, f"line {number}", drop.reason, row))

    def _object(self, row: str, frame: Frame, tally: Tally) -> tuple[Entry, bytes | None]:
        """In fractions of the upright picture: "class cx cy w h", with a confidence behind it or not, with key points,
        or "class x1 y1 x2 y2 x3 y3 ..."."""
        number, *shape = _numbers(row)
        label = self.names.get(int(number)) if number.is_integer() else None
        if label is None:
            raise Dropped(Reason.UNKNOWN_CATEGORY)
        if not label.strip():
            raise Dropped(Reason.NAMELESS_CATEGORY)
        size = (frame.width, frame.height)
        if len(shape) in self._columns_of_boxes():
            (x, y), (w, h) = _scaled(shape[:2], size), _scaled(shape[2:4], size)
            corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            return Entry(label.strip(), placed(corners, size, frame, tally.notes)), None
        if self.key_points is not None or len(shape) < 6 or len(shape) % 2:
            raise Dropped(Reason.BAD_ROW)
        polygon = _scaled(shape, size)
        corners = (min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2]))
        return Entry(label.strip(), placed(corners, size, frame, tally.notes)), pack([polygon])[2]

    def _columns_of_boxes(self) -> set[int]:
        """How many numbers behind the class make a box, with or without a confidence."""
        widths = {4} if self.key_points is None else {4, 4 + self.key_points}
        return widths | {width + 1 for width in widths}

    def _orphans(self) -> Iterator[Path]:
        """Label files whose picture is nowhere in the folder of pictures; those of other splits have theirs."""
        known = {self.label_file(place, name) for place, name in self.pictures}
        places: dict[Path, set[Path]] = {}
        for place, name in self.pictures:
            if not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts:
                places.setdefault(self.label_file(place, name).parent, set()).add((place / name).parent)
        for folder, beside in sorted(places.items()):
            stems = {Path(picture).stem for place in beside for picture in Listing.of(place).pictures}
            files = (folder / name for name in Listing.of(folder).with_suffix(".txt") if name.lower() not in NOT_LABELS)
            yield from (file for file in files if file not in known and file.stem not in stems)


def is_label_file(name: str) -> bool:
    """By its name."""
    return name.lower().endswith(".txt") and name.lower() not in NOT_LABELS


def _stem(path: Path) -> Path:
    return path.with_suffix("") if is_picture(path.name) else path


def _rows(path: Path) -> list[Row]:
    """The rows of a label file; none where there is no such file: nothing is in the picture."""
    if not path.is_file():
        return []
    return [(number, row) for number, row in enumerate(read_lines(path), start=1) if row.strip()]


def _numbers(row: str) -> tuple[float, ...]:
    try:
        values = [float(word) for word in _BETWEEN.split(row.strip())]
    except ValueError:
        raise Dropped(Reason.BAD_OBJECT) from None
    return finite_numbers(values, len(values))


def _scaled(points: Sequence[float], size: tuple[int, int]) -> list[float]:
    """x, y, x, y, ... in fractions -> in pixels."""
    return [value * size[place % 2] for place, value in enumerate(points)]
