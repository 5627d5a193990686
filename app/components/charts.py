"""Curves as SVG in HTML: no script, no library. Text lies beside the drawing, so that it is not stretched with it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]  # step, value


@dataclass(frozen=True, slots=True)
class Curve:
    """One line, points by step; `css` gives it its colour.

    A noisy one is smoothed (an exponential mean, `memory` points long), and drawn faintly as it is behind that.
    One of few points, each of which counts, gets dots.
    """

    name: str
    css: str
    points: tuple[Point, ...]
    memory: float = 1.0
    dots: bool = False

    def smooth(self) -> list[Point]:
        if self.memory <= 1:
            return list(self.points)
        keep, mean, weight = 1 - 1 / self.memory, 0.0, 0.0
        smoothed = []
        for step, value in self.points:
            mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
            smoothed.append((step, mean / weight))  # without the pull of the zero that it starts from
        return smoothed


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over steps from `start` to the last one, on a scale from 0 to `ceiling`, or to what the curves need."""

    title: str
    curves: tuple[Curve, ...]
    empty: str  # what stands there before there is a point
    ceiling: float | None = None
    axis: str = "step"  # what the curves run over
    start: float = 0.0
    end: float | None = None  # None: where the curves end

    def html(self) -> str:
        drawn = [(curve, curve.smooth()) for curve in self.curves if curve.points]
        if not drawn:
            return f'<figure class="chart-box">{self._caption("")}<p class="hint">{escape(self.empty)}</p></figure>'
        last = max(points[-1][0] for _, points in drawn)
        end = self.end or last or 1.0
        top = self.ceiling or nice_ceiling(max(value for _, points in drawn for _, value in points))
        legend = "".join(
            f'<span class="{curve.css}"><i></i>{escape(curve.name)} <b>{points[-1][1]:.3g}</b></span>'
            for curve, points in drawn
        )
        frame = _Frame(self.start, end, top)
        lines = "".join(_lines(curve, points, frame) for curve, points in drawn)
        spoken = ", ".join(f"{curve.name} {points[-1][1]:.3g}" for curve, points in drawn)
        label = escape(f"{self.title} at {self.axis} {last:g}: {spoken}", quote=True)
        return (
            f'<figure class="chart-box">{self._caption(legend)}<div class="plot">'
            f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{label}">'
            f'<path class="grid" d="M0 0H100M0 50H100M0 100H100"/>{lines}</svg>'
            f'<span class="y">{top:g}</span><span class="y middle">{top / 2:g}</span><span class="y low">0</span>'
            f'<span class="x">{self.axis} {_number(self.start)}</span><span class="x end">{_number(end)}</span></div>'
            "</figure>"
        )

    def _caption(self, legend: str) -> str:
        return f'<figcaption><h3>{escape(self.title)}</h3><p class="legend">{legend}</p></figcaption>'


def nice_ceiling(value: float) -> float:
    """The next 1, 1.5, 2, 3 or 5 with zeros: a number that reads well, and so does its half."""
    if not value > 0 or not math.isfinite(value):
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(size * step for step in (1, 1.5, 2, 3, 5, 10) if value <= size * step * (1 + 1e-9))


@dataclass(frozen=True, slots=True)
class _Frame:
    """The corners of the drawing, in what the curves are of."""

    start: float
    end: float
    top: float

    def place(self, point: Point) -> str:
        step, value = point
        x = (step - self.start) / (self.end - self.start)
        return f"M{100 * x:.2f} {100 - 100 * min(1.0, max(0.0, value / self.top)):.2f}"

    def path(self, points: Sequence[Point]) -> str:
        first, *others = map(self.place, points)
        return first + "h0" + "".join("L" + place[1:] for place in others)


def _lines(curve: Curve, points: Sequence[Point], frame: _Frame) -> str:
    raw = f'<path class="raw {curve.css}" d="{frame.path(curve.points)}"/>' if curve.memory > 1 else ""
    dots = "".join(frame.place(point) + "h0" for point in points)  # of no length, with round ends: dots
    marks = f'<path class="dots {curve.css}" d="{dots}"/>' if curve.dots else ""
    return f'{raw}<path class="line {curve.css}" d="{frame.path(points)}"/>{marks}'


def _number(value: float) -> str:
    """12,000, 0, -1 or 0.5."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"
