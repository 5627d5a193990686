"""Plots of a report as SVG: small, sharp at every size, coloured by the page's style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from training.core.charts import Point, Scale, line, path, svg, text
from training.core.markup import element, joined

SIDE = 300  # of a plot's area, in SVG units
LEFT, TOP, BOTTOM = 44, 10, 34  # margins
LABEL, STEP = 124, 19  # of bars: width of a name, height of a row
SHARES = Scale(0, 1, TOP + SIDE, TOP)  # upwards


@dataclass(frozen=True, slots=True)
class Bar:
    """A number with the ends of its interval."""

    name: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """Values in 0..1 over x."""

    name: str
    points: tuple[Point, ...]
    dashed: bool = False


def scatter(points: Sequence[Point], x_name: str, y_name: str) -> Markup:
    """Points in 0..1 by 0..1, and the diagonal."""
    across = Scale(0, 1, LEFT, LEFT + SIDE)
    diagonal = path("axis", line([(LEFT, TOP + SIDE), (LEFT + SIDE, TOP)]))
    marks = joined(element("circle", class_="dot", cx=across(x), cy=SHARES(y), r=2.6) for x, y in points)
    place = f"translate(12 {TOP + SIDE / 2}) rotate(-90)"
    name = element("text", y_name, transform=place, text_anchor="middle")
    axes = _axes(across, (0, 0.5, 1), x_name)
    width, height = LEFT + SIDE + 12, TOP + SIDE + BOTTOM
    return svg(width, height, f"{y_name} against {x_name}", axes, diagonal, marks, name)


def bars(rows: Sequence[Bar], name: str, label: float = LABEL) -> Markup:
    """Horizontal bars with intervals, from 0 (or below, where one is negative) to the largest end. label: width of the
    names."""
    low, high = min(0.0, *(row.low for row in rows)), max(0.01, *(row.high for row in rows))
    across = Scale(low, high, label, label + SIDE)
    bottom = TOP + len(rows) * STEP
    axis = path("axis", line([(across(0), TOP), (across(0), bottom)]))
    drawn = joined(_bar(row, TOP + i * STEP, across, label) for i, row in enumerate(rows))
    width = label + SIDE + 40
    return svg(width, bottom + 24, name, axis, drawn, text(label, bottom + 16, name))


def _bar(row: Bar, y: float, across: Scale, label: float) -> Markup:
    left, right = sorted((across(0), across(row.mean)))
    return joined(
        (
            text(label - 6, y + 11, row.name, "end", css="name"),
            element("rect", class_="bar", x=left, y=y + 2, width=right - left, height=12, rx=2),
            path("whisker", line([(across(row.low), y + 8), (across(row.high), y + 8)])),
            text(across(max(row.high, 0)) + 5, y + 12, f"{row.mean:.2f}"),
        )
    )


def curves(lines: Sequence[Line], x_name: str, ticks: Sequence[float] | None = None) -> Markup:
    """Lines of values in 0..1 over x, each with its name beside them. ticks: numbers along x; None: those of all
    points."""
    xs = sorted({x for one in lines for x, _ in one.points})
    across = Scale(xs[0], max(xs[-1], xs[0] + 1e-9), LEFT, LEFT + SIDE)
    drawn = []
    for number, one in enumerate(lines):
        css = f"line {('easy', 'hard', 'whisker')[number // 2 % 3]}"
        key = TOP + 8 + 15 * number
        drawn += [
            path(css, line([(across(x), SHARES(y)) for x, y in one.points]), dashed=one.dashed),
            path(css, line([(LEFT + SIDE + 12, key), (LEFT + SIDE + 34, key)]), dashed=one.dashed),
            text(LEFT + SIDE + 40, key + 4, one.name),
        ]
    width, height = LEFT + SIDE + 190, TOP + SIDE + BOTTOM
    return svg(width, height, x_name, _axes(across, xs if ticks is None else ticks, x_name), *drawn)


def _axes(across: Scale, xs: Iterable[float], x_name: str) -> Markup:
    """Of shares (0, 0.5, 1) over `xs`, with the numbers at both."""
    frame = path("axis", line([(LEFT, TOP), (LEFT, TOP + SIDE), (LEFT + SIDE, TOP + SIDE)]))
    up = (text(LEFT - 6, SHARES(value) + 4, f"{value:g}", "end") for value in (0, 0.5, 1))
    along = (text(across(x), TOP + SIDE + 14, f"{x:g}", "middle") for x in xs)
    return joined((frame, *up, *along, text(LEFT + SIDE / 2, TOP + SIDE + 29, x_name, "middle")))
