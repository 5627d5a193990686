"""What each row of the trainability table learns from: real and generated pictures, in lists of one length.

Every row has as many pictures an epoch as the largest one, by showing its own more than once. So all of them make the
same updates under the same schedule, and see the same number of pictures.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from detdiffusion.core.files import file_hash, put_in_place, scratch_beside, text_hash
from detdiffusion.errors import ConfigError, DataError
from training.data.datasets import Dataset, Sample
from training.detector.images import SplitImages

REAL, AUGMENTED = "real only", "real, augmented"


@dataclass(frozen=True)
class Union:
    """Several data sets as one; classes are those of the first.

    Raises:
        DataError: another one has classes that the first does not have.
    """

    parts: tuple[Dataset, ...]

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
    """One row of the table. learned: places in the union, as often as they are shown in an epoch."""

    name: str
    learned: tuple[int, ...]
    real: int  # different real pictures among them
    synthetic: int
    augment: bool = False

    @property
    def slug(self) -> str:
        """Name of its folder."""
        return self.name.replace(",", "").replace(" + ", "+").replace(" ", "-")


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


def make_plan(
    real: Dataset,
    validation: Dataset,
    synthetic: Sequence[Dataset],
    chosen: Sequence[int],
    share: float | None = None,
) -> Plan:
    """Rows of the table: real only, real augmented, real and each of the synthetic ones.

    Args:
        chosen: places of the real pictures to learn from.
        share: of generated pictures among those that are shown; None: by their number.

    Raises:
        ConfigError: two synthetic folders have one name.
        DataError: classes differ, or a validation picture is among those to learn from.
    """
    names = [part.name for part in synthetic]
    if len(set(names)) < len(names):
        raise ConfigError(f"synthetic folders need different names, got {', '.join(names)}")
    check_apart(real, chosen, validation)
    union = Union((real, *synthetic, validation))
    length = max(len(chosen) + len(part) for part in (*synthetic, ()))
    alone = repeated(chosen, length)
    rows = [Row(REAL, alone, len(chosen), 0), Row(AUGMENTED, alone, len(chosen), 0, augment=True)]
    for number, part in enumerate(synthetic, start=1):
        drawn = len(part) / (len(chosen) + len(part)) if share is None else share
        generated = round(length * drawn)
        both = (*repeated(chosen, length - generated), *repeated(union.places(number), generated))
        rows.append(Row(f"real + {part.name}", both, len(chosen), min(len(part), generated)))
    return Plan(union, tuple(rows), union.places(len(synthetic) + 1))


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
