"""How a data set's objects came out, easy, hard or background, by class: as a table, as JSON and as a chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from detdiffusion.drawing import ATTRIBUTE_COLOURS, Colour
from detdiffusion.layout import Attribute, Layout

MAX_BARS = 80  # classes on the chart, the most frequent ones: all things of COCO


@dataclass(frozen=True, slots=True)
class ClassRow:
    """The objects of one class."""

    label: str
    easy: int
    hard: int
    background: int

    @property
    def objects(self) -> int:
        """Of the class, in all."""
        return self.easy + self.hard + self.background

    @property
    def things(self) -> int:
        """Those that the detector can know."""
        return self.easy + self.hard

    @property
    def easy_share(self) -> float | None:
        """Of the things; None where there are none."""
        return self.easy / self.things if self.things else None

    def counts(self) -> dict[str, int]:
        """By attribute; what there is none of is left out."""
        numbers = {Attribute.EASY: self.easy, Attribute.HARD: self.hard, Attribute.BACKGROUND: self.background}
        return {attribute.value: number for attribute, number in numbers.items() if number}


@dataclass(frozen=True, slots=True)
class AttributeReport:
    """Objects by class and attribute."""

    pictures: int
    rows: tuple[ClassRow, ...]  # one a class, most things first, then most objects, then by name

    @classmethod
    def of(cls, layouts: Iterable[Layout]) -> AttributeReport:
        """Counts layouts with attributes, one a picture; one at a time is in memory."""
        pictures, counts = 0, Counter[tuple[str, Attribute | None]]()
        for layout in layouts:
            pictures += 1
            counts.update((box.label, box.attribute) for box in layout.boxes)
        rows = [  # `Attribute` names them in the order of the row's fields
            ClassRow(label, *(counts[label, attribute] for attribute in Attribute))
            for label in {label for label, _ in counts}
        ]
        return cls(pictures, tuple(sorted(rows, key=lambda row: (-row.things, -row.objects, row.label))))

    @property
    def total(self) -> ClassRow:
        """All classes together."""
        return ClassRow(
            "all",
            sum(row.easy for row in self.rows),
            sum(row.hard for row in self.rows),
            sum(row.background for row in self.rows),
        )

    @property
    def hard_share(self) -> float:
        """Of the things; 0 where there are none."""
        return self.total.hard / max(1, self.total.things)

    def by_class(self) -> dict[str, dict[str, int]]:
        """Class -> attribute -> objects, by name."""
        return {row.label: row.counts() for row in sorted(self.rows, key=lambda row: row.label)}

    def to_json(self) -> dict[str, Any]:
        """Counts and shares, for the header of the attribute file."""
        return {
            "pictures": self.pictures,
            "objects": self.by_class(),
            "easy_share": self.total.easy_share,
            "easy_share_by_class": {row.label: row.easy_share for row in self.rows if row.things},
        }

    def lines(self) -> list[str]:
        """For people: one line a class."""
        width = max(len(row.label) for row in (*self.rows, ClassRow("class", 0, 0, 0)))
        head = f"{'class':<{width}}  {'objects':>9}  {'easy':>9}  {'hard':>9}  {'background':>10}  {'easy share':>10}"
        return [head, *(_line(row, width) for row in (*self.rows, self.total))]

    def chart(self, detector: str) -> Image.Image:
        """Classes of things as bars: how many objects, and which share of them `detector` finds."""
        rows = [row for row in self.rows if row.things]
        sheet = _Sheet(_TOP + _ROW * max(1, min(len(rows), MAX_BARS)) + _MARGIN)
        total = self.total
        share = "no things" if total.easy_share is None else f"{total.easy_share:.0%} of {total.things:,} things"
        sheet.text(_MARGIN, 38, f"What {_short(detector, 40)} finds: {share}", 22, _INK)
        note = f"{self.pictures:,} images, {len(rows):,} classes of things; {total.background:,} objects are background"
        if len(rows) > MAX_BARS:
            note += f". The {MAX_BARS} most frequent classes:"
        sheet.text(_MARGIN, 66, note, 14, _SOFT)
        sheet.text(_COUNTS, _TOP - 20, "objects", 13, _SOFT)
        for attribute, x, word in ((Attribute.EASY, _SHARES, "easy: found"), (Attribute.HARD, 690, "hard: missed")):
            sheet.bar(x, _TOP - 25, 10, 10, ATTRIBUTE_COLOURS[attribute])
            sheet.text(x + 16, _TOP - 20, word, 13, _SOFT)
        for number, row in enumerate(rows[:MAX_BARS]):
            _draw_row(sheet, row, rows[0].things, _TOP + _ROW * number)
        return sheet.image


def _line(row: ClassRow, width: int) -> str:
    share = "-" if row.easy_share is None else f"{row.easy_share:.1%}"
    numbers = f"{row.objects:>9,}  {row.easy:>9,}  {row.hard:>9,}  {row.background:>10,}"
    return f"{row.label:<{width}}  {numbers}  {share:>10}"


# --- drawing, in units of which the sheet is 960 wide ------------------------------------------------

_SCALE = 2  # pixels a unit: sharp on today's screens
_WIDTH, _MARGIN, _TOP, _ROW = 960, 32, 128, 26
_COUNTS, _COUNT_WIDTH, _SHARES, _SHARE_WIDTH = 220, 240, 560, 310
_PAPER, _TRACK = (250, 248, 244), (214, 209, 200)
_INK, _SOFT = (38, 34, 48), (112, 108, 122)


class _Sheet:
    """Paper to draw on."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (_WIDTH * _SCALE, height * _SCALE), _PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def text(self, x: float, y: float, text: str, size: int, colour: Colour) -> None:
        """Begins at x; y is its middle."""
        font = ImageFont.load_default(size * _SCALE)
        top, bottom = self._draw.textbbox((0, 0), "Hg", font=font)[1::2]
        self._draw.text((x * _SCALE, y * _SCALE - (top + bottom) / 2), text, fill=colour, font=font)

    def bar(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """A filled rectangle, none where it is thinner than half a pixel."""
        left, top, right, bottom = (round(value * _SCALE) for value in (x, y, x + width, y + height))
        if right > left:
            self._draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)


def _draw_row(sheet: _Sheet, row: ClassRow, most: int, y: float) -> None:
    middle, share = y + _ROW / 2, row.easy / row.things
    sheet.text(_MARGIN, middle, _short(row.label, 24), 14, _INK)
    length = max(1.0, _COUNT_WIDTH * row.things / most)
    sheet.bar(_COUNTS, y + 6, length, 14, _TRACK)
    sheet.text(_COUNTS + length + 7, middle, f"{row.things:,}", 13, _SOFT)
    easy = _SHARE_WIDTH * share
    sheet.bar(_SHARES, y + 6, easy, 14, ATTRIBUTE_COLOURS[Attribute.EASY])
    sheet.bar(_SHARES + easy, y + 6, _SHARE_WIDTH - easy, 14, ATTRIBUTE_COLOURS[Attribute.HARD])
    sheet.text(_SHARES + _SHARE_WIDTH + 10, middle, f"{share:.0%}", 13, _INK)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
