"""What is checked of every picture and object while data are read, whatever their form, and the report on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from detdiffusion.errors import DataError
from training.data.images import Corners, Frame

ROUNDING = 0.5  # pixels by which a box may reach outside without being counted as cut
_LARGEST = 1e9  # pixels; what is beyond, and what is not finite, is no coordinate
MIN_SIDE = 1e-6  # of the picture's side: a thinner box is empty
SHOWN = 3  # of each kind of what was dropped are named in a report; all are in its list
_LONGEST = 200  # characters of a value in the list


class Reason(StrEnum):
    """Why pictures and objects are left out of an index, or what was put right; the text stands in the report."""

    BAD_IMAGE = "image entry without id, file name or size"
    REPEATED_IMAGE = "image id used before"
    NO_ANNOTATIONS = "image without an annotation file"
    BAD_FILE = "annotation file cannot be read"
    ENTITIES = "annotation file defines entities, which can grow without bounds"
    BAD_OBJECT = "annotation without a box of four finite numbers"
    BAD_ROW = "row whose number of columns fits no box, polygon or set of key points"
    REPEATED_OBJECT = "annotation given before"
    ORPHAN = "annotation of an image that is not listed"
    IN_DROPPED = "in an image that was dropped"
    UNKNOWN_CATEGORY = "unknown category"
    NAMELESS_CATEGORY = "category without a name"
    EMPTY_BOX = "empty box"
    OUTSIDE_BOX = "box outside the image"
    ALL_LOST = "none of its objects is left, and it is no image of nothing"
    # Notes: the object or category stays.
    CUT_BOX = "box reached outside the image and was cut"
    REPEATED_ID = "annotation id used for different objects, all kept"
    REPEATED_CATEGORY = "category id used before, the first name holds"
    UNEQUAL_NAMES = "image with two file names, the first holds"
    NO_LABELS = "image without a label file, read as one of nothing"
    NO_MASK = "object without a usable mask, its box is the mask"
    DEEP_IMAGE = "image of 16 bits a channel, read with the upper 8 (65535 is white)"
    BAD_MASK = "mask that cannot be decoded, the box stands in for it"


@dataclass(frozen=True, slots=True)
class Drop:
    """A picture or an object that was left out: the file that names it, where in that file, why, and what stands
    there."""

    file: str
    place: str
    reason: str
    value: str = ""

    def __str__(self) -> str:
        return f"{', '.join(filter(None, (self.file, self.place)))}{self.value and ': '}{self.value}"

    @classmethod
    def of(cls, file: str, place: str, reason: str, value: object = "") -> Drop:
        """A value on one line, and not too long."""
        return cls(_plain(file), _plain(place), str(reason), _plain(str(value)))


@dataclass(frozen=True, slots=True)
class DataReport:
    """What a data set holds, what was left out and why, what was put right: every picture and object counts once,
    as kept or under one reason; `notes` are about things that were kept. first: some of what was dropped, by reason."""

    pictures: int
    objects: int
    dropped_images: Mapping[str, int]
    dropped_objects: Mapping[str, int]
    notes: Mapping[str, int]
    first: Mapping[str, Sequence[Drop]] = field(default_factory=dict)

    @property
    def dropped(self) -> int:
        """How many pictures and objects were left out."""
        return sum(self.dropped_images.values()) + sum(self.dropped_objects.values())

    def lines(self) -> list[str]:
        """For people: one line a count, and the first ones of what was dropped."""
        text = _part("images", self.pictures, self.dropped_images, self.first)
        text += _part("objects", self.objects, self.dropped_objects, self.first)
        return text + [f"note: {count:,} x {reason}" for reason, count in _largest_first(self.notes)]

    def to_json(self) -> dict[str, Any]:
        """Counts by reason, for a manifest."""
        return {
            "pictures": self.pictures,
            "objects": self.objects,
            "dropped_pictures": dict(self.dropped_images),
            "dropped_objects": dict(self.dropped_objects),
            "notes": dict(self.notes),
        }


class NothingLeft(DataError):
    """Every image of a data set was left out; the report says why."""

    def __init__(self, text: str, report: DataReport) -> None:
        super().__init__(text)
        self.report = report

    @property
    def cause(self) -> str:
        """The most frequent reason; of objects, if there were any, with the first place where it holds."""
        reason, _ = _largest_first(self.report.dropped_objects or self.report.dropped_images)[0]
        first = self.report.first.get(reason, ()) if self.report.dropped_objects else ()
        return f"{reason} ({first[0]})" if first else reason


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts that grow while data are read, by reason. listed: gets everything that is dropped, one by one."""

    pictures: Counter[str] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[Drop]] = field(default_factory=dict)
    listed: Callable[[Drop], None] | None = None

    def drop_picture(self, drop: Drop, objects: int = 0) -> None:
        """Counts a picture that is left out, and what was in it."""
        self.pictures[drop.reason] += 1
        self._name(drop)
        if objects:
            self.objects[Reason.IN_DROPPED] += objects
            counted = f"{objects} object{'s' if objects > 1 else ''}"
            self._name(Drop(drop.file, drop.place, Reason.IN_DROPPED, counted))

    def drop_object(self, drop: Drop) -> None:
        """Counts an object that is left out."""
        self.objects[drop.reason] += 1
        self._name(drop)

    def report(self, pictures: int, objects: int) -> DataReport:
        """The counts so far, frozen."""
        first = {reason: tuple(drops) for reason, drops in self.first.items()}
        return DataReport(pictures, objects, dict(self.pictures), dict(self.objects), dict(self.notes), first)

    def copy(self) -> Tally:
        """A tally that counts on by itself."""
        first = {reason: list(drops) for reason, drops in self.first.items()}
        return Tally(self.pictures.copy(), self.objects.copy(), self.notes.copy(), first)

    def _name(self, drop: Drop) -> None:
        known = self.first.setdefault(drop.reason, [])
        if len(known) < SHOWN:
            known.append(drop)
        if self.listed is not None:
            self.listed(drop)


class Dropped(Exception):
    """An object that cannot stay; caught where it is counted."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def placed(corners: Corners, size: tuple[int, int], frame: Frame, notes: Counter[str]) -> Corners:
    """A box in pixels of its annotations' frame, (width, height) `size` -> fractions of the upright picture, cut at
    its edges.

    Raises:
        Dropped: nothing of it is inside, or it is empty.
    """
    x1, y1, x2, y2 = corners
    width, height = size
    if not (x1 < x2 and y1 < y2):
        raise Dropped(Reason.EMPTY_BOX)
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        raise Dropped(Reason.OUTSIDE_BOX)
    left, top = max(x1, 0.0) / width, max(y1, 0.0) / height
    right, bottom = min(x2 / width, 1.0), min(y2 / height, 1.0)
    if right - left < MIN_SIDE or bottom - top < MIN_SIDE:
        raise Dropped(Reason.EMPTY_BOX)
    if min(x1, y1) < -ROUNDING or x2 > width + ROUNDING or y2 > height + ROUNDING:
        notes[Reason.CUT_BOX] += 1
    return frame.turn.box((left, top, right, bottom))


def finite_numbers(values: object, count: int) -> tuple[float, ...]:
    """`Dropped` unless it is a list of that many finite numbers."""
    if not isinstance(values, Sequence) or len(values) != count:
        raise Dropped(Reason.BAD_OBJECT)
    if not all(type(value) in (int, float) and -_LARGEST < value < _LARGEST for value in values):
        raise Dropped(Reason.BAD_OBJECT)
    return tuple(float(value) for value in values)


def _part(name: str, kept: int, dropped: Mapping[str, int], first: Mapping[str, Iterable[Drop]]) -> list[str]:
    total = sum(dropped.values())
    text = [f"{name}: {kept + total:,} found, {kept:,} kept, {total:,} dropped"]
    for reason, count in _largest_first(dropped):
        named = [] if reason == Reason.IN_DROPPED else first.get(reason, ())
        text += [f"  {count:,} dropped: {reason}", *(f"    {drop}" for drop in named)]
    return text


def _plain(text: str) -> str:
    """On one line, and of characters that every file can hold."""
    line = " ".join(text.encode(errors="replace").decode().split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _largest_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
