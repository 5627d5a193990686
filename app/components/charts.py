"""Curves as SVG in HTML: no script, no library. Text lies beside the drawing, so that it is not stretched with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from training.core.charts import Point, Scale, dots, line, nice_ceiling, path, svg
from training.core.markup import element, joined


@dataclass(frozen=True, slots=True)
class Curve:
    """One line, points by step; `css` gives it its colour.

    A noisy one is smoothed (an exponential mean, `memory` points long), and drawn faintly as it is behind that.
    One of few points, each of which counts, gets dots. Points are (step, value).
    """

    name: str
    css: str
    points: tuple[Point, ...]
    memory: float = 1.0
    dots: bool = False

    def smooth(self) -> list[Point]:
        """The points as an exponential mean, `memory` points long."""
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

    def html(self) -> Markup:
        """The figure; without points, `empty` says so."""
        drawn = [(curve, curve.smooth()) for curve in self.curves if curve.points]
        if not drawn:
            return element("figure", self._caption(), element("p", self.empty, class_="hint"), class_="chart-box")
        last = max(points[-1][0] for _, points in drawn)
        end = self.end or last or 1.0
        top = self.ceiling or nice_ceiling(max(value for _, points in drawn for _, value in points))
        across, up = Scale(self.start, end, 0, 100), Scale(0, top, 100, 0)
        spoken = ", ".join(f"{curve.name} {points[-1][1]:.3g}" for curve, points in drawn)
        label = f"{self.title} at {self.axis} {last:g}: {spoken}"
        grid = path("grid", "M0 0H100M0 50H100M0 100H100")
        lines = joined(_lines(curve, points, across, up) for curve, points in drawn)
        plot = element(
            "div",
            svg(100, 100, label, grid, lines, stretched=True),
            element("span", f"{top:g}", class_="y"),
            element("span", f"{top / 2:g}", class_="y middle"),
            element("span", "0", class_="y low"),
            element("span", f"{self.axis} {_number(self.start)}", class_="x"),
            element("span", _number(end), class_="x end"),
            class_="plot",
        )
        return element("figure", self._caption(*(_key(*one) for one in drawn)), plot, class_="chart-box")

    def _caption(self, *legend: Markup) -> Markup:
        return element("figcaption", element("h3", self.title), element("p", joined(legend), class_="legend"))


def _key(curve: Curve, points: Sequence[Point]) -> Markup:
    """A curve's name and last value."""
    last = element("b", f"{points[-1][1]:.3g}")
    return element("span", element("i", ""), f"{curve.name} ", last, class_=curve.css)


def _lines(curve: Curve, points: Sequence[Point], across: Scale, up: Scale) -> Markup:
    def placed(some: Sequence[Point]) -> list[Point]:
        return [(across(step), up.within(value)) for step, value in some]

    raw = [path(f"raw {curve.css}", line(placed(curve.points)))] if curve.memory > 1 else []
    marks = [path(f"dots {curve.css}", dots(placed(points)))] if curve.dots else []
    return joined((*raw, path(f"line {curve.css}", line(placed(points))), *marks))


def _number(value: float) -> str:
    """12,000, 0, -1 or 0.5."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"
