"""Plots of a report as SVG text: small, sharp at every size, coloured by the page's style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

SIDE = 300  # of a plot's area, in SVG units
LEFT, TOP, BOTTOM = 44, 10, 34  # margins


@dataclass(frozen=True, slots=True)
class Bar:
    name: str
    mean: float
    low: float  # ends of the interval
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """`css` is easy, hard, or empty for the accent colour."""

    name: str
    points: tuple[tuple[float, float], ...]
    dashed: bool = False


def scatter(points: Sequence[tuple[float, float]], x_name: str, y_name: str) -> str:
    """Points in 0..1 by 0..1, and the diagonal."""
    dots = "".join(f'<circle class="dot" cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="2.6"/>' for x, y in points)
    frame = f'<path class="axis" d="M{LEFT} {TOP}V{TOP + SIDE}H{LEFT + SIDE}M{LEFT} {TOP + SIDE}L{LEFT + SIDE} {TOP}"/>'
    ticks = "".join(
        _text(_x(v), TOP + SIDE + 14, f"{v:g}", "middle") + _text(LEFT - 6, _y(v) + 4, f"{v:g}", "end")
        for v in (0, 0.5, 1)
    )
    names = _text(LEFT + SIDE / 2, TOP + SIDE + 29, x_name, "middle")
    names += (
        f'<text transform="translate(12 {TOP + SIDE / 2}) rotate(-90)" text-anchor="middle">{escape(y_name)}</text>'
    )
    return _svg(LEFT + SIDE + 12, TOP + SIDE + BOTTOM, frame + dots + ticks + names, f"{y_name} against {x_name}")


def bars(rows: Sequence[Bar], name: str) -> str:
    """Horizontal bars with intervals, from 0 (or below, where one is negative) to the largest end."""
    label, width, step = 124, SIDE, 19
    low = min(0.0, *(row.low for row in rows))
    high = max(0.01, *(row.high for row in rows))

    def x(value: float) -> float:
        return label + (value - low) / (high - low) * width

    drawn = []
    for i, row in enumerate(rows):
        y = TOP + i * step
        left, right = sorted((x(0), x(row.mean)))
        drawn.append(
            f'<text class="name" x="{label - 6}" y="{y + 11}" text-anchor="end">{escape(row.name)}</text>'
            f'<rect class="bar" x="{left:.1f}" y="{y + 2}" width="{right - left:.1f}" height="12" rx="2"/>'
            f'<path class="whisker" d="M{x(row.low):.1f} {y + 8}H{x(row.high):.1f}"/>'
            + _text(x(max(row.high, 0)) + 5, y + 12, f"{row.mean:.2f}")
        )
    bottom = TOP + len(rows) * step
    axis = f'<path class="axis" d="M{x(0):.1f} {TOP}V{bottom}"/>'
    body = axis + "".join(drawn) + _text(label, bottom + 16, name)
    return _svg(label + width + 40, bottom + 24, body, name)


def curves(lines: Sequence[Line], x_name: str) -> str:
    """Lines of values in 0..1 over x, each with its name at its end."""
    xs = [x for line in lines for x, _ in line.points]
    first, last = min(xs), max(max(xs), min(xs) + 1e-9)

    def place(point: tuple[float, float]) -> str:
        return f"{LEFT + (point[0] - first) / (last - first) * SIDE:.1f} {_y(point[1]):.1f}"

    frame = f'<path class="axis" d="M{LEFT} {TOP}V{TOP + SIDE}H{LEFT + SIDE}"/>'
    drawn = []
    for number, line in enumerate(lines):
        css = ("easy", "hard", "whisker")[number // 2 % 3]
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        drawn.append(f'<path class="line {css}"{dash} d="M{"L".join(map(place, line.points))}"/>')
        key = TOP + 8 + 15 * number
        drawn.append(f'<path class="line {css}"{dash} d="M{LEFT + SIDE + 12} {key}h22"/>')
        drawn.append(_text(LEFT + SIDE + 40, key + 4, line.name))
    ticks = "".join(_text(LEFT - 6, _y(v) + 4, f"{v:g}", "end") for v in (0, 0.5, 1))
    ticks += "".join(
        _text(LEFT + (x - first) / (last - first) * SIDE, TOP + SIDE + 14, f"{x:g}", "middle") for x in sorted(set(xs))
    )
    names = _text(LEFT + SIDE / 2, TOP + SIDE + 29, x_name, "middle")
    return _svg(LEFT + SIDE + 190, TOP + SIDE + BOTTOM, frame + "".join(drawn) + ticks + names, x_name)


def _x(value: float) -> float:
    return LEFT + value * SIDE


def _y(value: float) -> float:
    return TOP + (1 - value) * SIDE


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: float, height: float, body: str, label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" '
        f'aria-label="{escape(label, quote=True)}">{body}</svg>'
    )
