"""The pen that draws a thing: shapes in the unit square on an oversampled transparent sheet."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from training.data.papercut.palette import Colour, rgb

Points = Sequence[tuple[float, float]]

OVERSAMPLING = 3


class Pen:
    """Draws in the unit square on a transparent sheet of width x height pixels, oversampled."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width * OVERSAMPLING, height * OVERSAMPLING
        self.image = Image.new("RGBA", (self.width, self.height), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)

    def _scaled(self, points: Points) -> list[tuple[float, float]]:
        return [(x * (self.width - 1), y * (self.height - 1)) for x, y in points]

    def _box(self, x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, float, float]:
        return x1 * (self.width - 1), y1 * (self.height - 1), x2 * (self.width - 1), y2 * (self.height - 1)

    def polygon(self, points: Points, colour: Colour) -> None:
        """A filled polygon."""
        self._draw.polygon(self._scaled(points), fill=rgb(colour))

    def blob(self, points: Points, colour: Colour) -> None:
        """A closed smooth curve through the points (Catmull-Rom)."""
        self._draw.polygon(self._scaled(smooth(points)), fill=rgb(colour))

    def oval(self, x1: float, y1: float, x2: float, y2: float, colour: Colour) -> None:
        """A filled ellipse in a box."""
        self._draw.ellipse(self._box(x1, y1, x2, y2), fill=rgb(colour))

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """A true circle; the radius is a fraction of the width."""
        r, cx, cy = radius * self.width, x * (self.width - 1), y * (self.height - 1)
        self._draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=rgb(colour))

    def rect(self, x1: float, y1: float, x2: float, y2: float, colour: Colour, corner: float = 0.0) -> None:
        """A filled rectangle; the radius of its corners is a fraction of the shorter side of the sheet."""
        radius = corner * min(self.width, self.height)
        self._draw.rounded_rectangle(self._box(x1, y1, x2, y2), radius, fill=rgb(colour))

    def pie(self, x1: float, y1: float, x2: float, y2: float, start: float, end: float, colour: Colour) -> None:
        """A sector of the ellipse in a box, between two angles in degrees, clockwise from the right."""
        self._draw.pieslice(self._box(x1, y1, x2, y2), start, end, fill=rgb(colour))

    def arc(
        self, x1: float, y1: float, x2: float, y2: float, start: float, end: float, width: float, colour: Colour
    ) -> None:
        """An arc of the ellipse in a box, between two angles in degrees, as wide as a line."""
        self._draw.arc(self._box(x1, y1, x2, y2), start, end, rgb(colour), self._stroke(width))

    def line(self, points: Points, width: float, colour: Colour) -> None:
        """A line with round ends through the points; its width is a fraction of the shorter side of the sheet."""
        stroke, scaled = self._stroke(width), self._scaled(points)
        self._draw.line(scaled, rgb(colour), stroke, joint="curve")
        for x, y in (scaled[0], scaled[-1]):
            self._draw.ellipse((x - stroke / 2, y - stroke / 2, x + stroke / 2, y + stroke / 2), fill=rgb(colour))

    def _stroke(self, width: float) -> int:
        return max(round(width * min(self.width, self.height)), OVERSAMPLING)


def smooth(points: Points, steps: int = 7) -> list[tuple[float, float]]:
    """Catmull-Rom samples of the closed curve through the points."""
    p1 = np.asarray(points, dtype=np.float64)[:, None]
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = (np.arange(steps) / steps)[None, :, None]
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return [(float(x), float(y)) for x, y in curve.reshape(-1, 2)]
