"""How data are to be read: what every verb that reads them takes beside --data."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detdiffusion.errors import ConfigError

PARTS = ("train", "val")  # what --split-by makes of data in one piece
_DATA = "data set: COCO, YOLO or VOC, its folder or the file that names its objects (docs/DATA_FOLDERS.md)"


@dataclass(frozen=True, slots=True)
class SplitBy:
    """Data in one piece as two parts: `train`, this share of the pictures, and `val`, the others. ConfigError if the
    share is out of range."""

    share: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"--split-by {self.share} needs to be above 0 and below 1: the share of train")

    @classmethod
    def parse(cls, text: str) -> SplitBy:
        """0.8, or 0.8@3 with another seed.

        Raises:
            ConfigError: it is of another form, or out of range.
        """
        found = re.fullmatch(r"(\d*\.?\d+)(?:@(\d{1,9}))?", text)
        if found is None:
            raise ConfigError(f"--split-by {text!r} needs the form SHARE or SHARE@SEED, as 0.8 or 0.8@3")
        return cls(float(found[1]), int(found[2] or 0))

    def __str__(self) -> str:
        return f"{self.share:g}@{self.seed}" if self.seed else f"{self.share:g}"


@dataclass(frozen=True, slots=True)
class Reading:
    """images: the folder of the pictures, for a single COCO file. split_by: data in one piece are split. strict: what
    would be dropped while the data are read is an error."""

    images: Path | None = None
    split_by: SplitBy | None = None
    strict: bool = False

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it; the folder means the same everywhere."""
        images = None if self.images is None else str(self.images.resolve())
        return {"images": images, "split_by": self.split_by and str(self.split_by), "strict": self.strict}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Reading:
        """What was kept.

        Raises:
            KeyError, TypeError, ConfigError: a value is missing, or is not what it should be.
        """
        images, by = values["images"], values["split_by"]
        return cls(images and Path(images), by and SplitBy.parse(by), bool(values["strict"]))


AS_IT_IS = Reading()


def add_data_arguments(parser: argparse.ArgumentParser, what: str = _DATA, *, required: bool = True) -> None:
    """--data, --split, and what `reading_of` reads: of every command that reads a data set."""
    add_data(parser, what, required=required)
    add_reading_arguments(parser)


def add_data(parser: argparse._ActionsContainer, what: str = _DATA, *, required: bool = False) -> None:
    """--data alone, for a group of arguments."""
    parser.add_argument("--data", type=Path, required=required, metavar="DIR", help=what)


def add_reading_arguments(parser: argparse._ActionsContainer) -> None:
    """--split, and what `reading_of` reads: also of commands that take data under another name than --data."""
    parser.add_argument("--split", metavar="NAME", help="split of the data set (default: the only one, or train)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the images, for a single COCO file")
    parser.add_argument(
        "--split-by",
        type=_split_by,
        metavar="SHARE[@SEED]",
        help="split data that come in one piece: this share is train, the rest is val; near-duplicates stay together",
    )
    parser.add_argument(
        "--strict", action="store_true", help="stop where an image or object cannot be read, instead of leaving it out"
    )


def add_attributes(parser: argparse.ArgumentParser) -> None:
    """--attributes, of every command that learns from labelled data."""
    parser.add_argument(
        "--attributes", type=Path, metavar="FILE.jsonl", help="of `python -m training annotate`, for this data"
    )


def add_negatives_argument(parser: argparse._ActionsContainer) -> None:
    """--negatives, for verbs that a detector learns from; `filters.all_objects` makes the filter of it."""
    parser.add_argument(
        "--negatives",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep images without objects: a detector learns from them where there is nothing (default: yes)",
    )


def reading_of(arguments: argparse.Namespace) -> Reading:
    """What `add_reading_arguments` asked for."""
    return Reading(arguments.images, arguments.split_by, arguments.strict)


def _split_by(text: str) -> SplitBy:
    try:
        return SplitBy.parse(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
