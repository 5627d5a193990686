"""The parts of a chart as SVG: scale, path, text and the drawing around them. Colours are the page's, by class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from training.core.markup import element, joined, short

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` (another number) -> coordinates from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value on the axis, in SVG units."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def within(self, value: float) -> float:
        """The same, and what lies beyond the scale at its end."""
        return self(min(self.high, max(self.low, value)))


def nice_ceiling(value: float) -> float:
    """The next 1, 1.5, 2, 3 or 5 with zeros: a number that reads well, and so does its half."""
    if not value > 0 or not math.isfinite(value):
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(size * step for step in (1, 1.5, 2, 3, 5, 10) if value <= size * step * (1 + 1e-9))


def line(points: Sequence[Point]) -> str:
    """A path's `d` through points; one point alone is a dot, where the line's ends are round."""
    first, *others = (f"{short(x)} {short(y)}" for x, y in points)
    return f"M{first}h0" + "".join(f"L{place}" for place in others)


def dots(points: Iterable[Point]) -> str:
    """A path's `d` with a dot at every point."""
    return "".join(f"M{short(x)} {short(y)}h0" for x, y in points)


def path(css: str, d: str, *, dashed: bool = False) -> Markup:
    """An SVG path with a class for its style."""
    return element("path", class_=css, d=d, stroke_dasharray="5 4" if dashed else None)


def text(x: float, y: float, said: str, anchor: str = "start", css: str | None = None) -> Markup:
    """anchor: start, middle or end: which part of the text stands at x."""
    return element("text", said, class_=css, x=x, y=y, text_anchor=anchor)


def svg(width: float, height: float, label: str, *parts: Markup, stretched: bool = False) -> Markup:
    """A drawing of `width` by `height` units; `label` is read aloud in its place. It is `width` pixels wide, or
    `stretched` over whatever room it has."""
    fit = {"preserveAspectRatio": "none"} if stretched else {"width": short(width)}
    box = f"0 0 {short(width)} {short(height)}"
    about = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": box, "role": "img", "aria_label": label}
    return element("svg", joined(parts), **about, **fit)
