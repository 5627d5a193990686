"""What each row of the trainability table learns from: real images and others, in lists of one length.

Every row has as many images an epoch as the largest one, by showing its own more than once. So all of them make the
same updates under the same schedule, and see the same number of images.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Protocol

from detdiffusion.attributes import Strategy
from detdiffusion.core.files import file_hash, put_in_place, scratch_beside, text_hash
from detdiffusion.errors import ConfigError, DataError
from training.data.datasets import Dataset, Sample
from training.detector.images import Samples, SplitImages
from training.synthesis.pasting import NAME

REAL, AUGMENTED = "real only", "real, augmented"


class Kind(StrEnum):
    """What `--rows` takes: what a row learns from, and whether images are augmented in the ordinary way."""

    REAL = "real"
    AUGMENTED = "augmented"
    PASTED = "pasted"
    PASTED_AUGMENTED = "pasted-augmented"
    GENERATED = "generated"
    GENERATED_AUGMENTED = "generated-augmented"

    @property
    def augments(self) -> bool:
        """Whether images are augmented."""
        return self.endswith(self.AUGMENTED)

    def fits(self, part: Part | None) -> bool:
        """Whether a row of this kind learns from it."""
        if part is None:
            return self in (self.REAL, self.AUGMENTED)
        return self.startswith(self.PASTED if part.name == NAME else self.GENERATED)


USUAL = (Kind.REAL, Kind.AUGMENTED, Kind.GENERATED)


class Images(Samples, Protocol):
    """A data set, or images made of one."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def root(self) -> Path: ...  # noqa: D102
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Union:
    """Several data sets as one; classes are those of the first.

    Raises:
        DataError: another one has classes that the first does not have.
    """

    parts: tuple[Images, ...]

    def __post_init__(self) -> None:
        for part in self.parts[1:]:
            unknown = [name for name in part.things if name not in self.things]
            if unknown:
                raise DataError(
                    f"{part.root} has classes that {self.parts[0].root} does not have: {', '.join(unknown)}"
                )

    @property
    def things(self) -> tuple[str, ...]:
        """Classes, the same in every part."""
        return self.parts[0].things

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all parts."""
        return text_hash("".join(part.fingerprint for part in self.parts))

    def places(self, part: int) -> range:
        """Of the pictures of one of the data sets."""
        first = sum(map(len, self.parts[:part]))
        return range(first, first + len(self.parts[part]))

    def __getitem__(self, place: int) -> Sample:
        for part in self.parts:
            if place < len(part):
                return part[place]
            place -= len(part)
        raise IndexError(place)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. learned: places in the union, as often as they are shown in an epoch. part: what it learns
    from beside the real images ("pasted", a folder's name); share: of that, against the real ones; start: it begins
    with the weights, where the table has rows that do and rows that do not."""

    name: str
    learned: tuple[int, ...]
    real: int  # different real pictures among them
    synthetic: int
    augment: bool = False
    part: str = ""
    share: float | None = None
    start: bool = False

    @property
    def slug(self) -> str:
        """Name of its folder."""
        return self.name.replace(",", "").replace(" %", "").replace(" + ", "+").replace(" ", "-")

    def simpler(self, rows: Sequence[Row]) -> list[Row]:
        """Rows that it is to be compared with: real images, augmented alike (or not augmented, for augmented real
        ones), and in place of generated ones as many pasted ones, and as many with the tags that are in the data."""
        alike = [one for one in rows if one.start == self.start and one is not self]
        if not self.part:
            return [one for one in alike if not one.part and self.augment > one.augment]
        alike = [one for one in alike if one.augment == self.augment]
        plainer = {NAME: (), Strategy.ORIGIN: (NAME,)}.get(self.part, (NAME, Strategy.ORIGIN))
        return [one for one in alike if not one.part or (one.part in plainer and one.share == self.share)]


@dataclass(frozen=True, slots=True)
class Plan:
    """All rows, and the pictures that they are measured on."""

    union: Union
    rows: tuple[Row, ...]
    held_out: range

    def pictures(self, row: Row) -> SplitImages:
        """What a row learns from, and what it is measured on."""
        return SplitImages(self.union, row.learned, self.held_out)

    @property
    def epoch(self) -> int:
        """Pictures of an epoch, in every row."""
        return len(self.rows[0].learned)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows a table has.

    share: of generated images among those that are shown; None: by their number. shares: how many generated images
    there are for one real one, a row each; none: all that there are. starts: from nothing (False), from weights.
    """

    kinds: Sequence[Kind] = USUAL
    share: float | None = None
    shares: Sequence[float] = ()
    starts: Sequence[bool] = (False,)


@dataclass(frozen=True, slots=True)
class Part:
    """Images that a row learns from beside the real ones. share: how many there are for one real one."""

    name: str
    places: Sequence[int]
    share: float | None = None


def make_plan(
    real: Dataset,
    validation: Dataset,
    synthetic: Sequence[Dataset],
    chosen: Sequence[int],
    wanted: Wanted = Wanted(),
    *,
    pasted: Images | None = None,
    also: Sequence[Dataset] = (),
) -> Plan:
    """Rows of the table: real only, real augmented, real and each of the others.

    Args:
        chosen: places of the real images to learn from.
        pasted: where rows of them are wanted.
        also: generated images that every row learns from, beside the real ones.

    Raises:
        ConfigError: two folders have one name, or there is no row.
        DataError: classes differ, a folder has too few images for a share, or a validation image is among those to
            learn from.
    """
    beside = (*also, *(() if pasted is None else (pasted,)), *synthetic)
    names = [part.name for part in beside]
    if len(set(names)) < len(names):
        raise ConfigError(f"synthetic folders need different names, got {', '.join(names)}")
    check_apart(real, chosen, validation)
    union = Union((real, *beside, validation))
    base = (*chosen, *(place for number in range(len(also)) for place in union.places(1 + number)))
    parts = [
        _part(names[number], union.places(1 + number), share, len(chosen))
        for number in range(len(also), len(beside))
        for share in wanted.shares or (None,)
    ]
    length = len(base) + max((len(part.places) for part in parts), default=0)
    first = " + ".join(("real", *names[: len(also)]))
    rows = [
        _row(first, base, len(chosen), length, wanted, kind, part, start)
        for start in wanted.starts
        for part in (None, *parts)
        for kind in wanted.kinds
        if kind.fits(part)
    ]
    if not rows:
        raise ConfigError("no row is left: --rows asks for rows of generated images, and --synthetic names none")
    return Plan(union, tuple(rows), union.places(len(beside) + 1))


def _part(name: str, places: Sequence[int], share: float | None, real: int) -> Part:
    if share is None:
        return Part(name, places)
    needed = max(1, round(share * real))
    if needed > len(places):
        raise DataError(
            f"{name} has {len(places)} images, and {100 * share:g} % of {real} real ones are {needed}: generate more, "
            "or leave this share out of --shares"
        )
    return Part(name, places[:needed], share)


def _row(
    first: str,
    base: Sequence[int],
    real: int,
    length: int,
    wanted: Wanted,
    kind: Kind,
    part: Part | None,
    start: bool,
) -> Row:
    """first: what the name begins with; base: what every row learns from; length: of an epoch."""
    start = start and len(wanted.starts) > 1
    ends = ", augmented" * kind.augments + ", from weights" * start
    if part is None:
        name = REAL if first == "real" and not kind.augments else first
        return Row(name + ends, repeated(base, length), real, len(base) - real, kind.augments, start=start)
    drawn = len(part.places) / (len(base) + len(part.places)) if wanted.share is None else wanted.share
    shown = round(length * drawn)
    learned = (*repeated(base, length - shown), *repeated(part.places, shown))
    count = len(base) - real + min(len(part.places), shown)
    share = "" if part.share is None else f" {100 * part.share:g} %"
    return Row(f"{first} + {part.name}{share}{ends}", learned, real, count, kind.augments, part.name, part.share, start)


def repeated(places: Sequence[int], length: int) -> tuple[int, ...]:
    """The places in turn, as often as it takes: each stands there as often as the others, or once more."""
    times = -(-length // len(places))
    return tuple((list(places) * times)[:length])


def check_apart(real: Dataset, chosen: Sequence[int], validation: Dataset) -> None:
    """DataError if a picture to learn from is one to measure on, by its bytes."""
    learned = Counter(real[place].path.stat().st_size for place in chosen)
    suspects = [sample for sample in validation if sample.path.stat().st_size in learned]
    if not suspects:
        return
    hashes = {file_hash(real[place].path) for place in chosen}
    for sample in suspects:
        if file_hash(sample.path) in hashes:
            raise DataError(f"{sample.path} is to be measured on, and is among the images to learn from")


def write_repeats(folder: Path, split: str, slots: Sequence[int]) -> None:
    """A YOLO split of different pictures, numbered by place among them -> one in which picture i of an epoch is
    `slots[i]`: links, for ultralytics shows each file of a folder once an epoch."""
    for kind, suffix in (("images", ".png"), ("labels", ".txt")):
        once = folder / split / kind
        with scratch_beside(once) as shown:
            for number, slot in enumerate(slots):
                (shown / f"{number:06d}{suffix}").hardlink_to(once / f"{slot:06d}{suffix}")
            shutil.rmtree(once)
            put_in_place(shown, once, durable=False)  # of one training: links, to be made again
