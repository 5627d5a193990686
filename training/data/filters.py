"""Which pictures and objects make a layout: the filter of the evaluation protocol, and its arguments."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from detdiffusion.errors import ConfigError
from detdiffusion.layout import MAX_OBJECTS, Box, EmptyLayout, Layout
from training.data.checks import Drop, Reason, Tally
from training.data.index import Entry, ImageEntry, Index

_ROUNDING = 1e-9  # of an area: a box of exactly the least area goes, however its corners were rounded


@dataclass(frozen=True, slots=True)
class Selection:
    """What a filter leaves of one picture. `dropped` is why the whole picture goes; then nothing is kept."""

    kept: tuple[Entry, ...]
    dropped: str | None = None
    objections: tuple[str | None, ...] = ()  # why each object goes; None: it would stay

    @property
    def dropped_objects(self) -> Counter[str]:
        """How many objects go, by reason; those that went with their picture too."""
        gone = Counter(reason for reason in self.objections if reason)
        if self.dropped is not None:
            gone[Reason.IN_DROPPED] += self.objections.count(None)
        return +gone


@dataclass(frozen=True, slots=True)
class LayoutFilter:
    """Bounds on objects and pictures; as it stands, the filter of the evaluation protocol for COCO (DetDiffusion,
    section 4.1 and supplement A.2; checked against LAMA's list of 3,097 pictures). Other data need other bounds.

    Raises:
        ConfigError: a bound is out of range, or the bounds contradict each other.
    """

    min_area: float = 0.02  # of the picture, for the box of an object; strictly greater is kept
    min_objects: int = 3  # counted after objects were dropped; with 0, pictures that never had one stay, too
    max_objects: int = 8
    crowds: bool = False  # whether a box around many objects (`iscrowd`) counts as one
    ignored: tuple[str, ...] = ("other",)  # classes

    def __post_init__(self) -> None:
        if not 0 <= self.min_area < 1:
            raise ConfigError(f"min_area {self.min_area} needs to be a share of the image: 0 <= min_area < 1")
        if not 0 <= self.min_objects <= self.max_objects <= MAX_OBJECTS or not self.max_objects:
            raise ConfigError(
                f"min_objects {self.min_objects} and max_objects {self.max_objects} need "
                f"0 <= min_objects <= max_objects <= {MAX_OBJECTS}, and max_objects 1 or more"
            )

    def select(self, objects: Sequence[Entry], lost: int = 0) -> Selection:
        """The objects of one picture that stay, in their order.

        lost: how many more it had that could not be read: a picture whose objects are all gone is none of nothing.
        """
        reasons = tuple(self._objection(entry) for entry in objects)
        kept = tuple(entry for entry, reason in zip(objects, reasons, strict=True) if not reason)
        if len(kept) < self.min_objects:
            few = "object" if self.min_objects == 1 else "objects"
            why = f"fewer than {self.min_objects} {few} left"
        elif len(kept) > self.max_objects:
            why = f"more than {self.max_objects} objects left"
        elif not kept and (objects or lost):
            why = str(Reason.ALL_LOST)
        else:
            return Selection(kept, None, reasons)
        return Selection((), why, reasons)

    def _objection(self, entry: Entry) -> str | None:
        """Why an object goes; None if it stays."""
        if entry.label in self.ignored:
            return f"class {entry.label} is ignored"
        if entry.crowd and not self.crowds:
            return "crowd"
        if entry.area <= self.min_area * (1 + _ROUNDING):
            return f"box of {self.min_area:.4g} of the image or less"
        return None


NO_FILTER = LayoutFilter(min_area=0.0, min_objects=1, max_objects=MAX_OBJECTS, crowds=True, ignored=())
EVERYTHING = replace(NO_FILTER, min_objects=0)  # pictures of nothing, too: what a detector learns from


def all_objects(*, negatives: bool) -> LayoutFilter:
    """Everything that a layout can hold, with images of nothing or without."""
    return EVERYTHING if negatives else NO_FILTER


def selections(
    index: Index, layout_filter: LayoutFilter, tally: Tally, within: Collection[int] | None = None
) -> Iterator[tuple[int, tuple[Entry, ...]]]:
    """Number and kept objects of every picture that stays, in order; what goes is counted in `tally`. Pictures that are
    not `within` a part are not looked at."""
    for number, entries in index.walk():
        if within is not None and number not in within:
            continue
        selection = layout_filter.select(entries, 0 if entries else index.lost(number))
        if selection.dropped is None:
            yield number, selection.kept
        if selection.dropped is not None or len(selection.kept) < len(entries):
            _count(index.picture(number), entries, selection, tally)


def _count(picture: ImageEntry, entries: Sequence[Entry], selection: Selection, tally: Tally) -> None:
    if selection.dropped is not None:
        drop = Drop.of(picture.path, "", selection.dropped)
        tally.drop_picture(drop, selection.objections.count(None))
    for place, (entry, reason) in enumerate(zip(entries, selection.objections, strict=True), start=1):
        if reason is not None:
            tally.drop_object(Drop.of(picture.path, f"object {place}", reason, entry.label))


def layout_of(picture: ImageEntry, entries: Sequence[Entry]) -> Layout:
    """The layout of a picture, without attributes."""
    if not entries:
        return EmptyLayout(picture.frame.width, picture.frame.height, ())
    boxes = tuple(Box(entry.label, entry.xyxy) for entry in entries)
    return Layout(picture.frame.width, picture.frame.height, boxes)


# --- arguments ------------------------------------------------------------------------------------


def add_filter_arguments(parser: argparse.ArgumentParser, bounds: LayoutFilter = NO_FILTER) -> None:
    """A named filter, and its bounds as arguments over it; `bounds` are the defaults."""
    parser.add_argument(
        "--filter",
        type=partial(_named_filter, usual=bounds),
        default=bounds,
        metavar="none|protocol",
        help="none: every object (default); protocol: that of the paper's evaluation on COCO. The bounds below come "
        "over it",
    )
    parser.add_argument(
        "--min-area", type=float, metavar="SHARE", help="a box needs more than this share of the image (none: 0)"
    )
    for side, usual in (("min", bounds.min_objects), ("max", bounds.max_objects)):
        parser.add_argument(f"--{side}-objects", type=int, metavar="N", help=f"objects of an image (none: {usual})")
    parser.add_argument(
        "--crowds",
        action=argparse.BooleanOptionalAction,
        help=f"keep boxes around crowds, iscrowd (none: {'yes' if bounds.crowds else 'no, they would become objects'})",
    )
    parser.add_argument("--ignore", nargs="*", metavar="CLASS", help="classes to leave out (none: no class)")


def _named_filter(text: str, usual: LayoutFilter) -> LayoutFilter:
    named = {"none": usual, "protocol": LayoutFilter()}
    if text not in named:
        raise argparse.ArgumentTypeError(f"{text!r} is no filter: use none or protocol")
    return named[text]


def filter_of(arguments: argparse.Namespace, *, negatives: bool = False) -> LayoutFilter:
    """The filter that `add_filter_arguments` asked for. negatives: whether images without objects are of use.

    Raises:
        ConfigError: a bound is out of range.
    """
    if arguments.min_objects == 0 and not negatives:
        raise ConfigError("--min-objects 0 asks for images without objects, of which no layout can be made; give 1")
    asked = {
        "min_area": arguments.min_area,
        "min_objects": arguments.min_objects,
        "max_objects": arguments.max_objects,
        "crowds": arguments.crowds,
        "ignored": None if arguments.ignore is None else tuple(arguments.ignore),
    }
    named: LayoutFilter = arguments.filter
    return replace(named, **{name: value for name, value in asked.items() if value is not None})


def filter_words(bounds: LayoutFilter) -> list[str]:
    """The arguments that ask for this filter, as one types them."""
    areas = ["--min-area", str(bounds.min_area)]
    counts = ["--min-objects", str(bounds.min_objects), "--max-objects", str(bounds.max_objects)]
    ignored = ["--ignore", *map(shlex.quote, bounds.ignored)]
    return [*areas, *counts, "--crowds" if bounds.crowds else "--no-crowds", *ignored]
