"""Papercut: a small procedural world of flat paper scenes, written as COCO-Thing-Stuff data.

A scene is a pure function of its seed. A share of the objects is made naturally difficult (odd colours, blur,
occlusion, deformation, glare, blending into the background, small size); the data never says which: attributes come
from a detector.
"""

import colorsys
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from functools import partial
from itertools import islice, pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from pycocotools import mask as coco_mask

from detdiffusion.layout import Box, Layout

THING_IDS = {
    "person": 1, "car": 3, "airplane": 5, "bus": 6, "boat": 9, "traffic light": 10, "bird": 16, "cat": 17,
    "elephant": 22, "umbrella": 28, "sports ball": 37, "kite": 38, "cup": 47, "potted plant": 64, "tv": 72, "clock": 85,
}  # fmt: skip
STUFF_IDS = {
    "floor-wood": 118, "grass": 124, "hill": 127, "mountain": 135, "road": 149, "rug": 152, "sand": 154, "sea": 155,
    "sky-other": 157, "snow": 159, "wall-other": 173,
}  # fmt: skip
THINGS = tuple(THING_IDS)
STUFF = tuple(STUFF_IDS)

MIN_AREA = 0.02  # of the picture, for the box of a thing
MIN_VISIBLE = 0.35  # of an object's own pixels

Colour = tuple[float, float, float]
Points = Sequence[tuple[float, float]]
Corner = tuple[int, int]
Curve = NDArray[np.float64]  # heights at the columns of a sheet
Mask = NDArray[np.bool_]
Random = np.random.Generator

_OVERSAMPLING = 3


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and its truth: boxes before occlusion, without attributes; masks of what is visible.

    The layout lists things from far to near, then stuff from far to near; the masks follow its order.
    """

    image: Image.Image  # RGB
    layout: Layout
    masks: Mask  # [N, H, W]


# --- colours --------------------------------------------------------------------------------------


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def _dark(colour: Colour, share: float = 0.22) -> Colour:
    return _mix(colour, (34, 28, 62), share)


def _light(colour: Colour, share: float = 0.35) -> Colour:
    return _mix(colour, (255, 250, 238), share)


def _from_hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return red * 255, green * 255, blue * 255


def _vary(colour: Colour, rng: Random, hue: float = 0.014, value: float = 0.05) -> Colour:
    h, s, v = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    dh, ds, dv = rng.uniform(-1, 1, 3)
    return _from_hsv((h + dh * hue) % 1, min(s * (1 + ds * 0.14), 1), min(v * (1 + dv * value), 1))


def _any_colour(rng: Random) -> Colour:
    return _from_hsv(rng.uniform(), rng.uniform(0.15, 0.75), rng.uniform(0.3, 0.95))


def _rgb(colour: Colour) -> tuple[int, int, int]:
    return round(colour[0]), round(colour[1]), round(colour[2])


@dataclass(frozen=True, slots=True)
class _Light:
    """The light of a scene: its sky from top to horizon, and a tint laid over everything."""

    top: Colour
    horizon: Colour
    tint: Colour
    strength: float

    def on(self, colour: Colour, share: float = 1.0) -> Colour:
        return _mix(colour, self.tint, self.strength * share)


_LIGHTS = (
    _Light((128, 183, 214), (214, 233, 232), (250, 246, 230), 0.06),  # clear day
    _Light((150, 190, 226), (246, 224, 208), (255, 226, 200), 0.12),  # morning
    _Light((238, 164, 136), (252, 222, 178), (250, 190, 150), 0.18),  # sunset
    _Light((150, 140, 190), (240, 196, 200), (190, 150, 190), 0.20),  # dusk
    _Light((156, 206, 196), (236, 242, 220), (210, 236, 214), 0.14),  # mint
    _Light((176, 186, 196), (226, 228, 226), (190, 198, 206), 0.24),  # overcast
    _Light((52, 66, 112), (124, 132, 172), (52, 60, 110), 0.36),  # night
    _Light((244, 205, 130), (252, 238, 206), (252, 226, 170), 0.16),  # amber
)

_STUFF_COLOURS: dict[str, tuple[Colour, ...]] = {
    "mountain": ((118, 136, 164), (136, 124, 150), (104, 142, 148)),
    "hill": ((126, 158, 118), (152, 166, 112), (110, 152, 134)),
    "grass": ((140, 184, 106), (160, 190, 100), (118, 174, 118)),
    "sea": ((76, 146, 178), (66, 156, 168), (88, 132, 182)),
    "sand": ((234, 208, 156), (238, 198, 150)),
    "snow": ((238, 243, 248), (230, 238, 246)),
    "road": ((122, 124, 136), (108, 112, 124)),
    "wall-other": (
        (226, 206, 190), (190, 208, 200), (212, 200, 216), (232, 214, 168), (180, 198, 214), (224, 184, 174)),
    "floor-wood": ((186, 138, 98), (204, 160, 116), (160, 118, 92)),
    "rug": ((200, 116, 108), (104, 134, 158), (128, 150, 122), (214, 170, 110)),
}  # fmt: skip
_SHADOW = (38, 30, 66)

# --- drawing --------------------------------------------------------------------------------------


class _Pen:
    """Draws in the unit square on a transparent sheet of width x height pixels, oversampled."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width * _OVERSAMPLING, height * _OVERSAMPLING
        self.image = Image.new("RGBA", (self.width, self.height), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)

    def _scaled(self, points: Points) -> list[tuple[float, float]]:
        return [(x * (self.width - 1), y * (self.height - 1)) for x, y in points]

    def _box(self, x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, float, float]:
        return x1 * (self.width - 1), y1 * (self.height - 1), x2 * (self.width - 1), y2 * (self.height - 1)

    def polygon(self, points: Points, colour: Colour) -> None:
        self._draw.polygon(self._scaled(points), fill=_rgb(colour))

    def blob(self, points: Points, colour: Colour) -> None:
        """A closed smooth curve through the points (Catmull-Rom)."""
        self._draw.polygon(self._scaled(_smooth(points)), fill=_rgb(colour))

    def oval(self, x1: float, y1: float, x2: float, y2: float, colour: Colour) -> None:
        self._draw.ellipse(self._box(x1, y1, x2, y2), fill=_rgb(colour))

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """A true circle; the radius is a fraction of the width."""
        r, cx, cy = radius * self.width, x * (self.width - 1), y * (self.height - 1)
        self._draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=_rgb(colour))

    def rect(self, x1: float, y1: float, x2: float, y2: float, colour: Colour, corner: float = 0.0) -> None:
        radius = corner * min(self.width, self.height)
        self._draw.rounded_rectangle(self._box(x1, y1, x2, y2), radius, fill=_rgb(colour))

    def pie(self, x1: float, y1: float, x2: float, y2: float, start: float, end: float, colour: Colour) -> None:
        self._draw.pieslice(self._box(x1, y1, x2, y2), start, end, fill=_rgb(colour))

    def arc(
        self, x1: float, y1: float, x2: float, y2: float, start: float, end: float, width: float, colour: Colour
    ) -> None:
        self._draw.arc(self._box(x1, y1, x2, y2), start, end, _rgb(colour), self._stroke(width))

    def line(self, points: Points, width: float, colour: Colour) -> None:
        stroke, scaled = self._stroke(width), self._scaled(points)
        self._draw.line(scaled, _rgb(colour), stroke, joint="curve")
        for x, y in (scaled[0], scaled[-1]):
            self._draw.ellipse((x - stroke / 2, y - stroke / 2, x + stroke / 2, y + stroke / 2), fill=_rgb(colour))

    def _stroke(self, width: float) -> int:
        return max(round(width * min(self.width, self.height)), _OVERSAMPLING)


def _smooth(points: Points, steps: int = 7) -> list[tuple[float, float]]:
    """Catmull-Rom samples of the closed curve through the points."""
    p1 = np.asarray(points, dtype=np.float64)[:, None]
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = (np.arange(steps) / steps)[None, :, None]
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return [(float(x), float(y)) for x, y in curve.reshape(-1, 2)]


# --- things: each draws itself upright in the unit square with its own list of colours ------------

Colours = Sequence[Colour]
_INK: Colour = (48, 46, 66)
_PAPER: Colour = (252, 246, 232)
_GLASS: Colour = (196, 224, 234)


def _person(pen: _Pen, c: Colours, rng: Random) -> None:
    shirt, trousers, skin, hair = c
    swing = rng.uniform(-0.05, 0.05)
    pen.line([(0.40, 0.58), (0.30 + swing, 0.95)], 0.24, trousers)
    pen.line([(0.60, 0.58), (0.70 + swing, 0.95)], 0.24, _dark(trousers, 0.12))
    pen.line([(0.30, 0.35), (0.11, 0.58 + swing)], 0.17, _dark(shirt, 0.15))
    pen.line([(0.70, 0.35), (0.89, 0.58 - swing)], 0.17, _dark(shirt, 0.15))
    pen.disc(0.11, 0.59 + swing, 0.10, skin)
    pen.disc(0.89, 0.59 - swing, 0.10, skin)
    pen.rect(0.24, 0.27, 0.76, 0.64, shirt, 0.2)
    pen.disc(0.5, 0.125, 0.29, hair)
    pen.oval(0.27, 0.08, 0.73, 0.26, skin)
    pen.rect(0.43, 0.22, 0.57, 0.30, skin, 0.05)


def _car(pen: _Pen, c: Colours, rng: Random) -> None:
    body, glass, wheel = c
    pen.blob([(0.14, 0.52), (0.26, 0.10), (0.42, 0.0), (0.62, 0.02), (0.76, 0.16), (0.88, 0.52)], _dark(body, 0.14))
    pen.polygon([(0.26, 0.44), (0.33, 0.14), (0.48, 0.12), (0.48, 0.44)], glass)
    pen.polygon([(0.53, 0.44), (0.53, 0.12), (0.66, 0.14), (0.76, 0.44)], _light(glass, 0.3))
    pen.rect(0.0, 0.40, 1.0, 0.80, body, 0.28)
    pen.rect(0.03, 0.60, 0.97, 0.67, _dark(body, 0.2))
    pen.oval(0.88, 0.46, 0.98, 0.58, _PAPER)
    for x in (0.23, 0.77):
        pen.disc(x, 0.78, 0.125, wheel)
        pen.disc(x, 0.78, 0.055, _light(wheel, 0.65))


def _airplane(pen: _Pen, c: Colours, rng: Random) -> None:
    body, wing, window = c
    pen.polygon([(0.42, 0.48), (0.60, 0.46), (0.42, 0.02), (0.30, 0.02)], _dark(wing, 0.2))
    pen.polygon([(0.02, 0.10), (0.15, 0.10), (0.26, 0.48), (0.09, 0.50)], wing)
    pen.blob([
        (0.02, 0.46), (0.30, 0.37), (0.72, 0.36), (0.93, 0.44), (0.99, 0.54), (0.88, 0.63), (0.40, 0.64), (0.10, 0.56),
    ], body)  # fmt: skip
    for x in (0.36, 0.47, 0.58, 0.69):
        pen.rect(x, 0.44, x + 0.05, 0.51, window, 0.03)
    pen.polygon([(0.86, 0.42), (0.93, 0.46), (0.90, 0.51), (0.83, 0.51)], window)
    pen.polygon([(0.44, 0.55), (0.64, 0.55), (0.36, 0.99), (0.22, 0.99)], wing)


def _bus(pen: _Pen, c: Colours, rng: Random) -> None:
    body, glass, wheel = c
    pen.rect(0.0, 0.0, 1.0, 0.88, body, 0.14)
    for i in range(3):
        pen.rect(0.06 + 0.21 * i, 0.13, 0.235 + 0.21 * i, 0.46, glass, 0.05)
    pen.rect(0.71, 0.13, 0.87, 0.86, _light(glass, 0.25), 0.05)
    pen.rect(0.93, 0.13, 1.0, 0.46, glass, 0.03)
    pen.rect(0.0, 0.56, 0.67, 0.65, _dark(body, 0.32))
    for x in (0.22, 0.58):
        pen.disc(x, 0.86, 0.095, wheel)
        pen.disc(x, 0.86, 0.042, _light(wheel, 0.65))


def _boat(pen: _Pen, c: Colours, rng: Random) -> None:
    hull, sail, flag = c
    pen.rect(0.485, 0.0, 0.525, 0.76, _dark(hull, 0.4))
    pen.polygon([(0.46, 0.04), (0.46, 0.68), (0.06, 0.68)], sail)
    pen.polygon([(0.55, 0.14), (0.55, 0.68), (0.92, 0.68)], _dark(sail, 0.14))
    pen.polygon([(0.525, 0.0), (0.72, 0.055), (0.525, 0.11)], flag)
    pen.polygon([(0.0, 0.73), (1.0, 0.73), (0.83, 1.0), (0.17, 1.0)], hull)
    pen.polygon([(0.0, 0.73), (1.0, 0.73), (0.965, 0.79), (0.035, 0.79)], flag)


def _traffic_light(pen: _Pen, c: Colours, rng: Random) -> None:
    case, *lamps = c
    for y in (0.13, 0.44, 0.75):
        pen.polygon([(0.0, y), (1.0, y), (0.82, y + 0.15), (0.18, y + 0.15)], _dark(case, 0.3))
    pen.rect(0.14, 0.0, 0.86, 1.0, case, 0.22)
    for y, lamp in zip((0.19, 0.5, 0.81), lamps, strict=True):
        pen.disc(0.5, y, 0.27, _dark(lamp, 0.35))
        pen.disc(0.5, y, 0.22, lamp)


def _bird(pen: _Pen, c: Colours, rng: Random) -> None:
    body, wing, beak = c
    pen.line([(0.44, 0.85), (0.42, 0.985)], 0.045, _dark(beak, 0.2))
    pen.line([(0.56, 0.85), (0.56, 0.985)], 0.045, _dark(beak, 0.2))
    pen.polygon([(0.86, 0.16), (1.0, 0.27), (0.84, 0.36)], beak)
    pen.polygon([(0.0, 0.36), (0.32, 0.50), (0.26, 0.74), (0.02, 0.56)], _dark(wing, 0.1))
    pen.blob([
        (0.16, 0.55), (0.44, 0.38), (0.60, 0.08), (0.78, 0.02), (0.92, 0.18), (0.87, 0.54), (0.66, 0.84), (0.36, 0.84),
    ], body)  # fmt: skip
    pen.blob([(0.14, 0.52), (0.40, 0.40), (0.62, 0.48), (0.58, 0.66), (0.38, 0.72)], wing)
    pen.disc(0.76, 0.22, 0.045, _INK)


def _cat(pen: _Pen, c: Colours, rng: Random) -> None:
    fur, belly, eye = c
    pen.line([(0.66, 0.94), (0.86, 0.92), (0.93, 0.78), (0.90, 0.62)], 0.12, _dark(fur, 0.18))
    pen.blob([(0.30, 0.44), (0.50, 0.38), (0.66, 0.44), (0.78, 0.78), (0.74, 0.99), (0.20, 0.99), (0.16, 0.78)], fur)
    pen.blob([(0.38, 0.56), (0.56, 0.56), (0.60, 0.80), (0.54, 0.985), (0.40, 0.985), (0.34, 0.80)], belly)
    for left, tip, right in ((0.10, 0.12, 0.38), (0.84, 0.82, 0.56)):
        pen.polygon([(left, 0.28), (tip, 0.0), (right, 0.12)], fur)
    pen.polygon([(0.155, 0.17), (0.165, 0.065), (0.26, 0.12)], belly)
    pen.polygon([(0.785, 0.17), (0.775, 0.065), (0.68, 0.12)], belly)
    pen.oval(0.06, 0.09, 0.88, 0.53, fur)
    pen.oval(0.30, 0.33, 0.64, 0.51, belly)
    for x in (0.29, 0.65):
        pen.disc(x, 0.29, 0.065, eye)
        pen.oval(x - 0.025, 0.245, x + 0.025, 0.335, _INK)
    pen.polygon([(0.42, 0.365), (0.52, 0.365), (0.47, 0.42)], _INK)


def _elephant(pen: _Pen, c: Colours, rng: Random) -> None:
    skin, ear, tusk = c
    for x in (0.16, 0.42):
        pen.rect(x + 0.09, 0.60, x + 0.23, 0.97, _dark(skin, 0.22), 0.06)
    pen.line([(0.05, 0.40), (0.02, 0.66)], 0.05, _dark(skin, 0.2))
    pen.blob([(0.04, 0.34), (0.22, 0.10), (0.48, 0.08), (0.68, 0.24), (0.66, 0.62), (0.40, 0.76), (0.08, 0.70)], skin)
    for x in (0.07, 0.46):
        pen.rect(x, 0.55, x + 0.15, 1.0, skin, 0.06)
    pen.blob([
        (0.60, 0.16), (0.74, 0.06), (0.90, 0.16), (0.95, 0.36), (0.985, 0.68), (0.97, 0.92), (0.88, 0.94), (0.86, 0.66),
        (0.80, 0.52), (0.64, 0.46),
    ], skin)  # fmt: skip
    pen.polygon([(0.78, 0.50), (0.87, 0.52), (0.80, 0.68)], tusk)
    pen.blob([(0.50, 0.14), (0.64, 0.10), (0.74, 0.24), (0.72, 0.48), (0.58, 0.58), (0.50, 0.40)], ear)
    pen.disc(0.825, 0.27, 0.022, _INK)


def _umbrella(pen: _Pen, c: Colours, rng: Random) -> None:
    canopy, stripe, handle = c
    pen.rect(0.475, 0.0, 0.525, 0.94, handle, 0.02)
    pen.arc(0.475, 0.84, 0.68, 0.995, 0, 180, 0.055, handle)
    pen.pie(0.0, 0.05, 1.0, 1.03, 180, 360, canopy)
    pen.pie(0.20, 0.05, 0.80, 1.03, 180, 360, stripe)
    pen.pie(0.38, 0.05, 0.62, 1.03, 180, 360, canopy)
    scallops = pairwise((0.0, 0.20, 0.38, 0.62, 0.80, 1.0))
    for (x1, x2), colour in zip(scallops, (canopy, stripe, canopy, stripe, canopy), strict=True):
        pen.pie(x1, 0.47, x2, 0.61, 0, 180, colour)


def _sports_ball(pen: _Pen, c: Colours, rng: Random) -> None:
    skin, seam = c
    pen.oval(0.0, 0.0, 1.0, 1.0, skin)
    pen.line([(0.5, 0.02), (0.5, 0.98)], 0.045, seam)
    pen.line([(0.02, 0.5), (0.98, 0.5)], 0.045, seam)
    pen.arc(-0.52, 0.06, 0.28, 0.94, -55, 55, 0.045, seam)
    pen.arc(0.72, 0.06, 1.52, 0.94, 125, 235, 0.045, seam)


def _kite(pen: _Pen, c: Colours, rng: Random) -> None:
    first, second, bow = c
    pen.line([(0.5, 0.66), (0.42, 0.78), (0.56, 0.87), (0.46, 0.97)], 0.035, _dark(bow, 0.3))
    for x, y in ((0.43, 0.78), (0.55, 0.87), (0.46, 0.965)):
        pen.polygon([(x - 0.13, y - 0.032), (x, y), (x - 0.13, y + 0.032)], bow)
        pen.polygon([(x + 0.13, y - 0.032), (x, y), (x + 0.13, y + 0.032)], bow)
    corners = ((0.0, 0.27), (0.5, 0.0), (1.0, 0.27), (0.5, 0.70))
    for corner, colour in enumerate((first, second, _dark(first, 0.1), _dark(second, 0.1))):
        pen.polygon([corners[corner], corners[(corner + 1) % 4], (0.5, 0.27)], colour)


def _cup(pen: _Pen, c: Colours, rng: Random) -> None:
    clay, band, drink = c
    pen.arc(0.50, 0.22, 1.0, 0.74, 0, 360, 0.12, _dark(clay, 0.14))
    pen.polygon([(0.0, 0.09), (0.76, 0.09), (0.68, 0.93), (0.08, 0.93)], clay)
    pen.oval(0.08, 0.85, 0.68, 1.0, clay)
    pen.polygon([(0.028, 0.40), (0.735, 0.40), (0.71, 0.62), (0.05, 0.62)], band)
    pen.oval(0.0, 0.0, 0.76, 0.19, _light(clay, 0.35))
    pen.oval(0.06, 0.035, 0.70, 0.16, drink)


def _potted_plant(pen: _Pen, c: Colours, rng: Random) -> None:
    pot, leaf, light = c
    for (x1, y1), (x2, y2), (x3, y3), colour in (
        ((0.02, 0.34), (0.20, 0.22), (0.34, 0.44), _dark(leaf, 0.16)),
        ((0.98, 0.34), (0.80, 0.22), (0.66, 0.44), _dark(leaf, 0.16)),
        ((0.22, 0.06), (0.44, 0.14), (0.34, 0.34), light),
        ((0.78, 0.06), (0.56, 0.14), (0.66, 0.34), light),
        ((0.50, 0.0), (0.62, 0.26), (0.38, 0.26), leaf),
    ):
        pen.blob([(x1, y1), (x2, y2), (0.52, 0.66), (0.48, 0.66), (x3, y3)], colour)
    pen.polygon([(0.20, 0.66), (0.80, 0.66), (0.70, 1.0), (0.30, 1.0)], pot)
    pen.rect(0.14, 0.60, 0.86, 0.73, _light(pot, 0.2), 0.03)


def _tv(pen: _Pen, c: Colours, rng: Random) -> None:
    case, screen, shine = c
    pen.polygon([(0.44, 0.78), (0.56, 0.78), (0.60, 0.96), (0.40, 0.96)], _dark(case, 0.3))
    pen.rect(0.26, 0.93, 0.74, 1.0, case, 0.04)
    pen.rect(0.0, 0.0, 1.0, 0.84, case, 0.07)
    pen.rect(0.055, 0.075, 0.945, 0.755, screen, 0.03)
    pen.polygon([
        (0.055, 0.755), (0.055, 0.56), (0.34, 0.40), (0.62, 0.62), (0.80, 0.50), (0.945, 0.62), (0.945, 0.755),
    ], shine)  # fmt: skip
    pen.disc(0.74, 0.25, 0.075, _light(shine, 0.5))


def _clock(pen: _Pen, c: Colours, rng: Random) -> None:
    rim, face, hands = c
    pen.oval(0.0, 0.0, 1.0, 1.0, rim)
    pen.oval(0.09, 0.09, 0.91, 0.91, face)
    for k in range(12):
        x, y = math.sin(k * math.pi / 6), math.cos(k * math.pi / 6)
        inner = 0.29 if k % 3 == 0 else 0.325
        pen.line([(0.5 + inner * x, 0.5 + inner * y), (0.5 + 0.35 * x, 0.5 + 0.35 * y)], 0.03, rim)
    for length, width in ((0.19, 0.065), (0.28, 0.05)):
        angle = rng.integers(12) * math.pi / 6
        pen.line([(0.5, 0.5), (0.5 + length * math.sin(angle), 0.5 - length * math.cos(angle))], width, hands)
    pen.disc(0.5, 0.5, 0.045, hands)


class _Zone(StrEnum):
    """Where a thing is mostly found."""

    AIR = auto()
    GROUND = auto()
    SEA = auto()
    ROOM = auto()


@dataclass(frozen=True, slots=True)
class _Thing:
    draw: Callable[[_Pen, Colours, Random], None]
    aspect: float  # width / height
    palettes: tuple[tuple[Colour, ...], ...]
    zone: _Zone


_THINGS = {
    "person": _Thing(
        _person, 0.46,
        tuple(((216, 92, 70), (62, 76, 112), skin, hair) for skin, hair in (
            ((244, 204, 170), (94, 64, 52)), ((206, 150, 112), (52, 42, 46)), ((136, 92, 70), (44, 36, 42)),
            ((248, 216, 188), (214, 160, 84)))),
        _Zone.GROUND),
    "car": _Thing(_car, 1.75, (((206, 66, 62), _GLASS, _INK), ((218, 92, 58), _GLASS, _INK)), _Zone.GROUND),
    "airplane": _Thing(_airplane, 1.55, (((246, 244, 240), (70, 112, 176), (60, 84, 130)),), _Zone.AIR),
    "bus": _Thing(_bus, 1.6, (((240, 184, 58), _GLASS, _INK),), _Zone.GROUND),
    "boat": _Thing(_boat, 0.95, (((142, 84, 60), (250, 244, 230), (214, 84, 70)),), _Zone.SEA),
    "traffic light": _Thing(
        _traffic_light, 0.5, (((58, 62, 74), (226, 82, 72), (244, 196, 80), (98, 186, 122)),), _Zone.GROUND),
    "bird": _Thing(_bird, 1.15, (((84, 156, 206), (50, 104, 164), (244, 164, 62)),), _Zone.AIR),
    "cat": _Thing(_cat, 0.82, (((234, 150, 76), (252, 228, 196), (120, 170, 92)),), _Zone.GROUND),
    "elephant": _Thing(_elephant, 1.3, (((138, 146, 168), (176, 160, 178), _PAPER),), _Zone.GROUND),
    "umbrella": _Thing(_umbrella, 1.0, (((126, 84, 158), (236, 164, 188), (96, 70, 62)),), _Zone.GROUND),
    "sports ball": _Thing(_sports_ball, 1.0, (((232, 134, 62), (84, 50, 48)),), _Zone.GROUND),
    "kite": _Thing(_kite, 0.66, (((222, 76, 88), (250, 206, 92), (74, 140, 176)),), _Zone.AIR),
    "cup": _Thing(_cup, 0.95, (((66, 150, 152), (244, 236, 214), (112, 74, 58)),), _Zone.ROOM),
    "potted plant": _Thing(_potted_plant, 0.8, (((204, 108, 74), (78, 148, 92), (134, 186, 104)),), _Zone.ROOM),
    "tv": _Thing(_tv, 1.3, (((54, 56, 72), (124, 184, 206), (92, 146, 132)),), _Zone.ROOM),
    "clock": _Thing(_clock, 1.0, (((94, 70, 76), (252, 244, 222), (50, 48, 66)),), _Zone.ROOM),
}  # fmt: skip


# --- the ground on which things lie ---------------------------------------------------------------


class _Sheet:
    """The picture under construction: paper is laid on it, and it remembers what is visible of each layer."""

    def __init__(self, size: int, light: _Light, rng: Random) -> None:
        self.size, self.light, self.rng = size, light, rng
        self.image = Image.new("RGB", (size, size))
        self.owner = np.zeros((size, size), dtype=np.int16)  # index of the stuff, _PROP, or _FIRST + index of the thing
        self.columns = np.linspace(0, 1, size * 2)
        self.shade = int(rng.uniform(58, 92))  # opacity of the shadows, of 255
        self.unit = size / 256  # pixels that are one pixel of the usual size

    def gradient(self, top: Colour, bottom: Colour) -> Image.Image:
        ramp = np.linspace(0, 1, self.size)[:, None, None]
        rows = np.asarray(top) * (1 - ramp) + np.asarray(bottom) * ramp  # [H, 1, 3]
        return Image.fromarray(np.broadcast_to(np.rint(rows), (self.size, self.size, 3)).astype(np.uint8))

    def stencil(self) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
        """An empty coverage map at twice the size, its drawing and its side."""
        cover = Image.new("L", (self.size * 2, self.size * 2))
        return cover, ImageDraw.Draw(cover), self.size * 2

    def below(self, edge: Curve) -> Image.Image:
        """Coverage of everything under a curve given as heights in 0..1 at `columns`."""
        cover, draw, full = self.stencil()
        draw.polygon([(0, full), *zip(self.columns * full, edge * full, strict=True), (full, full)], fill=255)
        return cover.reduce(2)

    def lay(self, fill: Image.Image | Colour, cover: Image.Image, at: Corner = (0, 0)) -> None:
        """Lays paper of a colour, or a picture of the size of its coverage, with its upper-left corner at `at`."""
        area = (*at, at[0] + cover.width, at[1] + cover.height)
        self.image.paste(fill if isinstance(fill, Image.Image) else _rgb(fill), area, cover)

    def shadow(self, cover: Image.Image, at: Corner = (0, 0), lift: float = 3.0, strength: float = 1.0) -> None:
        """A soft shadow below and right of a sheet whose coverage is given."""
        margin, offset = math.ceil(3 * lift * self.unit), round(lift * self.unit * 0.8)
        soft = Image.new("L", (cover.width + 2 * margin, cover.height + 2 * margin))
        soft.paste(cover, (margin, margin))
        soft = soft.filter(ImageFilter.BoxBlur(lift * self.unit)).filter(ImageFilter.BoxBlur(lift * self.unit * 0.6))
        corner = (at[0] - margin + offset, at[1] - margin + offset)
        self.lay(_SHADOW, soft.point(partial(_scale, strength * self.shade / 255)), corner)

    def layer(self, index: int, edge: Curve, top: Colour, bottom: Colour, lift: float = 5.0) -> None:
        """Covers everything under a curve with a region's paper, which casts its shadow upwards."""
        if lift:
            small = self.below(edge - 0.012).reduce(2).filter(ImageFilter.BoxBlur(lift * self.unit / 2))
            soft = small.resize((self.size, self.size), Image.Resampling.BILINEAR)
            self.lay(_SHADOW, soft.point(partial(_scale, self.shade / 255 * 0.8)))
        cover = self.below(edge)
        self.lay(self.gradient(top, bottom), cover)
        self.owner[np.asarray(cover) >= 128] = index

    def paper(self, name: str, share: float = 1.0) -> Colour:
        """A colour for a stuff class in the light of this scene."""
        colours = _STUFF_COLOURS[name]
        return self.light.on(_vary(colours[self.rng.integers(len(colours))], self.rng), share)

    def wave(self, height: float, amplitude: float) -> Curve:
        a, b, p, q = self.rng.uniform(0.6, 1.4), self.rng.uniform(1.6, 2.6), *self.rng.uniform(0, 6.28, 2)
        x = self.columns * 6.28
        curve: Curve = height + amplitude * (0.7 * np.sin(a * x + p) + 0.3 * np.sin(b * x + q))
        return curve

    def ridge(self, height: float, amplitude: float) -> Curve:
        count = int(self.rng.integers(2, 4))
        peaks = (np.arange(count) + self.rng.uniform(0.25, 0.75, count)) / count
        heights, slopes = amplitude * self.rng.uniform(0.75, 1.25, count), self.rng.uniform(1.0, 1.7, count)
        away = np.abs(self.columns[None] - peaks[:, None])  # [peaks, columns]
        rise = heights[:, None] - away * slopes[:, None] * amplitude * 2.6
        curve: Curve = height + amplitude * 0.35 - np.maximum(rise.max(0), 0)
        return curve


def _scale(factor: float, value: int) -> int:
    return round(value * factor)


def _sky(sheet: _Sheet, horizon: float) -> None:
    rng = sheet.rng
    top, low = _vary(sheet.light.top, rng), _vary(sheet.light.horizon, rng)
    sheet.image.paste(sheet.gradient(top, low))
    x, y, radius = rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.6) * horizon, rng.uniform(0.10, 0.2)
    cover, draw, full = sheet.stencil()
    for scale, alpha in ((2.6, 26), (1.8, 52), (1.0, 92)):
        r, cx, cy = radius * scale * full, x * full, y * full
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=alpha)
    sheet.lay(_light(low, 0.75), cover.reduce(2))


def _mountain(sheet: _Sheet, index: int, height: float, base: Colour, near: bool) -> None:
    for step in (0, 1):
        edge = sheet.ridge(height + 0.09 * step, 0.17 - 0.05 * step)
        sheet.layer(index, edge, _light(base, 0.42 - 0.34 * step), _light(base, 0.55 - 0.34 * step))


def _hill(sheet: _Sheet, index: int, height: float, base: Colour, near: bool) -> None:
    for step in (0, 1):
        edge = sheet.wave(height + 0.08 * step, 0.06)
        sheet.layer(index, edge, _light(base, 0.28 - 0.26 * step), _light(base, 0.38 - 0.26 * step))


def _sea(sheet: _Sheet, index: int, height: float, base: Colour, near: bool) -> None:
    sheet.layer(index, sheet.wave(height, 0.004), _light(base, 0.3), base, lift=0)
    for step in (1, 2):
        phase, count = sheet.rng.uniform(0, 1), sheet.rng.uniform(5, 8)
        edge = height + 0.13 * step - 0.016 * np.abs(np.sin((sheet.columns * count + phase) * math.pi))
        sheet.layer(index, edge, _mix(_light(base, 0.22), base, step * 0.5), _dark(base, 0.06 * step))


def _road(sheet: _Sheet, index: int, height: float, base: Colour, near: bool) -> None:
    slope = sheet.rng.uniform(-0.03, 0.03)
    edge = height + slope * (sheet.columns - 0.5)
    sheet.layer(index, edge, base, _dark(base, 0.12))
    cover, draw, full = sheet.stencil()
    left, right = float(edge[0]), float(edge[-1])
    start, thick = sheet.rng.uniform(-0.2, 0), 0.018
    for dash in range(6):
        x, rise = start + 0.25 * dash, (right - left) * 0.13
        y = left + (right - left) * x + (1 - height) * 0.45
        corners = [(x, y), (x + 0.13, y + rise), (x + 0.13, y + rise + thick), (x, y + thick)]
        draw.polygon([(px * full, py * full) for px, py in corners], fill=220)
    sheet.lay(sheet.light.on((240, 226, 178)), cover.reduce(2))


def _meadow(bend: float, sheet: _Sheet, index: int, height: float, base: Colour, near: bool) -> None:
    sheet.layer(index, sheet.wave(height, bend), _light(base, 0.16), base)
    for step in (1,) if near else (1, 2):
        sheet.layer(index, sheet.wave(height + 0.19 * step, 0.035), _dark(base, 0.045 * step), _dark(base, 0.09 * step))


_OUTDOORS: dict[str, Callable[[_Sheet, int, float, Colour, bool], None]] = {
    "mountain": _mountain,
    "hill": _hill,
    "sea": _sea,
    "road": _road,
    "grass": partial(_meadow, 0.03),
    "sand": partial(_meadow, 0.025),
    "snow": partial(_meadow, 0.04),
}


def _outdoors(sheet: _Sheet, names: Sequence[str], horizon: float) -> None:
    """Lays the sky, perhaps something far, and the ground."""
    _sky(sheet, horizon)
    heights = [horizon]
    if len(names) == 3:
        heights = [horizon - 0.02, horizon + sheet.rng.uniform(0.14, 0.24)]
    for index, (name, height) in enumerate(zip(names[1:], heights, strict=True), start=1):
        _OUTDOORS[name](sheet, index, height, sheet.paper(name), len(names) == 3)


def _indoors(sheet: _Sheet, names: Sequence[str], horizon: float) -> None:
    """Lays a wall, a wooden floor and perhaps a rug."""
    wall, wood, rug = (sheet.paper(name, 0.8) for name in ("wall-other", "floor-wood", "rug"))
    _wall(sheet, wall)
    edge = np.full_like(sheet.columns, horizon)
    sheet.layer(0, edge - 0.035, _light(wall, 0.6), _light(wall, 0.6))  # the skirting board
    sheet.layer(1, edge, _dark(wood, 0.06), _light(wood, 0.12), lift=0)
    _boards(sheet, horizon, wood)
    if len(names) == 3:
        _rug(sheet, horizon, rug)


def _wall(sheet: _Sheet, colour: Colour) -> None:
    sheet.image.paste(sheet.gradient(_dark(colour, 0.05), _light(colour, 0.12)))
    cover, draw, full = sheet.stencil()
    count, phase = int(sheet.rng.integers(4, 8)), sheet.rng.uniform(0, 1)
    for stripe in range(-1, count + 1):
        draw.rectangle(((stripe + phase) / count * full, 0, (stripe + phase + 0.5) / count * full, full), fill=70)
    if sheet.rng.uniform() < 0.7:
        sheet.lay(_light(colour, 0.5), cover.reduce(2))


def _boards(sheet: _Sheet, horizon: float, colour: Colour) -> None:
    cover, draw, full = sheet.stencil()
    for y1, y2 in pairwise(horizon + (1 - horizon) * share for share in (0.0, 0.14, 0.32, 0.56, 0.85, 1.2)):
        draw.line((0, y2 * full, full, y2 * full), fill=120, width=3)
        joint = sheet.rng.uniform(0, 0.5)
        for x in (joint, joint + 0.5):
            draw.line((x * full, y1 * full, x * full, y2 * full), fill=120, width=3)
    sheet.lay(_dark(colour, 0.3), cover.reduce(2))


def _rug(sheet: _Sheet, horizon: float, colour: Colour) -> None:
    rng, floor = sheet.rng, 1 - horizon
    x, y, w = rng.uniform(0.35, 0.65), horizon + floor * rng.uniform(0.5, 0.6), rng.uniform(0.28, 0.46)
    h = floor * rng.uniform(0.28, 0.4)
    for scale, paper in ((1.0, colour), (0.84, _light(colour, 0.5)), (0.72, colour)):
        cover, draw, full = sheet.stencil()
        left, top, right, bottom = x - w * scale, y - h * scale, x + w * scale, y + h * scale
        draw.ellipse((left * full, top * full, right * full, bottom * full), fill=255)
        cover = cover.reduce(2)
        if scale == 1.0:
            sheet.shadow(cover, lift=2.0)
            sheet.owner[np.asarray(cover) >= 128] = 2
        sheet.lay(paper, cover)


# --- difficulty -----------------------------------------------------------------------------------


class _Trouble(StrEnum):
    """What makes an object naturally difficult."""

    COLOUR = auto()
    BLEND = auto()
    DEFORM = auto()
    BLUR = auto()
    OCCLUDE = auto()
    GLARE = auto()
    SMALL = auto()


_TROUBLES = tuple(_Trouble)
_FREQUENCIES = np.array((0.22, 0.21, 0.2, 0.17, 0.09, 0.06, 0.05))  # in the order of _Trouble


def _choose_troubles(rng: Random) -> frozenset[_Trouble]:
    count = rng.choice(3, p=(0.12, 0.5, 0.38)) + 1
    return frozenset(_TROUBLES[index] for index in rng.choice(len(_TROUBLES), count, replace=False, p=_FREQUENCIES))


def _deform(sprite: Image.Image, rng: Random) -> Image.Image:
    """Squashes, shears, turns or overturns an RGBA sprite."""
    kind = rng.integers(4)
    if kind == 0:
        short, long = (squash := rng.uniform(0.42, 0.6)), 1 / squash**0.3
        across, down = (short, long) if rng.uniform() < 0.5 else (long, short)
        return sprite.resize((round(sprite.width * across), round(sprite.height * down)))
    if kind == 1:
        shear = rng.choice((-1, 1)) * rng.uniform(0.45, 0.8)
        extra = round(abs(shear) * sprite.height)
        size, matrix = (sprite.width + extra, sprite.height), (1, shear, -extra if shear > 0 else 0, 0, 1, 0)
        return sprite.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    turn = rng.choice((-1, 1)) * rng.uniform(35, 100) if kind == 2 else rng.uniform(140, 220)
    return sprite.rotate(turn, Image.Resampling.BILINEAR, expand=True)


def _glare(sprite: Image.Image, rng: Random) -> Image.Image:
    """White diagonal reflections over an RGBA sprite."""
    w, h = sprite.size
    bands = Image.new("L", sprite.size)
    draw = ImageDraw.Draw(bands)
    for start in (rng.uniform(-0.1, 0.15), rng.uniform(0.5, 0.7)):
        end, alpha = start + rng.uniform(0.22, 0.34), int(rng.uniform(200, 250))
        draw.polygon([(start * w, h), (end * w, h), ((end + 0.25) * w, 0), ((start + 0.25) * w, 0)], fill=alpha)
    lit = sprite.convert("RGB")
    lit.paste((255, 252, 244), (0, 0, w, h), bands)
    lit.putalpha(sprite.getchannel("A"))
    return lit


def _blur(sprite: Image.Image, rng: Random) -> tuple[Image.Image, int]:
    """A blurred RGBA sprite and by how many pixels it has grown on each side."""
    sigma = rng.uniform(0.05, 0.085) * math.sqrt(sprite.width * sprite.height)
    margin = math.ceil(2 * sigma)
    paper = Image.new("RGBA", (sprite.width + 2 * margin, sprite.height + 2 * margin), (0, 0, 0, 0))
    paper.paste(sprite, (margin, margin))
    return paper.convert("RGBa").filter(ImageFilter.GaussianBlur(sigma)).convert("RGBA"), margin


def _planks(draw: ImageDraw.ImageDraw, w: int, h: int, rng: Random) -> None:
    count = int(rng.integers(2, 4))
    upright, phase = rng.uniform() < 0.5, rng.uniform(0, 0.25)
    for plank in range(count + 1):
        a, b = (plank + phase - 0.1) / count, (plank + phase + 0.46) / count
        draw.rectangle((a * w, 0, b * w, h) if upright else (0, a * h, w, b * h), fill=255)


def _leaves(draw: ImageDraw.ImageDraw, w: int, h: int, rng: Random) -> None:
    for leaf in range(4):
        x, y = (leaf + rng.uniform(0.2, 0.8)) / 4 * w, h * rng.uniform(0.25, 0.45)
        tip = x + rng.uniform(-0.15, 0.15) * w
        corners = [(tip, y), (x + 0.17 * w, 0.75 * h), (x, 1.1 * h), (x - 0.17 * w, 0.75 * h)]
        draw.polygon(_smooth(corners), fill=255)


def _slab(draw: ImageDraw.ImageDraw, w: int, h: int, rng: Random) -> None:
    share, side, tilt = rng.uniform(0.48, 0.6), rng.integers(3), rng.uniform(-0.08, 0.08)
    corners = (
        [(0, 1 - share + tilt), (1, 1 - share - tilt), (1, 1), (0, 1)],
        [(0, 0), (share + tilt, 0), (share - tilt, 1), (0, 1)],
        [(1 - share + tilt, 0), (1, 0), (1, 1), (1 - share - tilt, 1)],
    )[side]
    draw.polygon([(x * w, y * h) for x, y in corners], fill=255)


def _prop(width: int, height: int, rng: Random) -> Image.Image:
    """Coverage of planks, leaves or a slab of paper, hiding about half of a box of that size."""
    cover = Image.new("L", (width * 2, height * 2))
    (_planks, _leaves, _slab)[rng.integers(3)](ImageDraw.Draw(cover), width * 2, height * 2, rng)
    return cover.reduce(2)


# --- scenes ---------------------------------------------------------------------------------------

_GROUNDS = ("grass", "sea", "sand", "snow", "road")
_PROPS: tuple[Colour, ...] = (
    (104, 142, 104), (142, 156, 96), (166, 122, 90), (206, 178, 138), (120, 134, 150), (196, 150, 140),
)  # fmt: skip
_PROP, _FIRST = 99, 100  # marks in the owner map: any prop, and the first thing


@dataclass(frozen=True, slots=True)
class _Plan:
    """A thing to be laid: its size and centre in fractions of the picture, and its troubles."""

    label: str
    width: float
    height: float
    x: float
    y: float
    troubles: frozenset[_Trouble]

    @property
    def bottom(self) -> float:
        return self.y + self.height / 2

    def overlap(self, other: "_Plan") -> float:
        """Intersection over the smaller of the two."""
        w = min(self.x + self.width / 2, other.x + other.width / 2)
        w -= max(self.x - self.width / 2, other.x - other.width / 2)
        h = min(self.bottom, other.bottom) - max(self.y - self.height / 2, other.y - other.height / 2)
        return max(w, 0) * max(h, 0) / min(self.width * self.height, other.width * other.height)


@dataclass(frozen=True, slots=True)
class _Laid:
    """A thing on the sheet."""

    label: str
    box: tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels, tight
    area: int  # pixels of its shape when nothing hides it


def _region_names(rng: Random) -> tuple[tuple[str, ...], set[_Zone]]:
    """The stuff of a scene from far to near, and the zones which it offers."""
    if rng.uniform() < 0.28:
        return ("wall-other", "floor-wood", "rug")[: 3 if rng.uniform() < 0.5 else 2], {_Zone.ROOM}
    near = str(rng.choice(_GROUNDS))
    kind = rng.uniform()
    zones = {_Zone.AIR, _Zone.SEA if near == "sea" else _Zone.GROUND}
    if kind < 0.3:
        return ("sky-other", near), zones
    if kind < 0.45 and near != "sea":
        return ("sky-other", "sea", str(rng.choice(("sand", "grass", "road")))), zones | {_Zone.SEA}
    return ("sky-other", str(rng.choice(("mountain", "hill"))), near), zones


def _plans(horizon: float, zones: set[_Zone], difficulty: float, rng: Random) -> list[_Plan]:
    """1 to 6 things which leave each other room, from far to near."""
    plans: list[_Plan] = []
    fitting = [label for label in THINGS if _THINGS[label].zone in zones]
    crowd = int(rng.integers(1, 7))
    for _ in range(crowd):
        label = str(rng.choice(fitting if rng.uniform() < 0.45 else THINGS))
        troubles = _choose_troubles(rng) if rng.uniform() < difficulty else frozenset()
        for _ in range(8):
            plan = _plan(label, troubles, horizon, zones, crowd, rng)
            if all(plan.overlap(other) < (0.3 if _Trouble.OCCLUDE in troubles else 0.06) for other in plans):
                plans.append(plan)
                break
    return sorted(plans, key=lambda plan: plan.bottom)


def _plan(
    label: str, troubles: frozenset[_Trouble], horizon: float, zones: set[_Zone], crowd: int, rng: Random
) -> _Plan:
    """A size and a place for a thing, mostly where it belongs when the scene has such a zone."""
    thing = _THINGS[label]
    least, most = math.log(0.042), math.log(0.2 if crowd <= 3 else 0.13)
    area = rng.uniform(0.024, 0.034) if _Trouble.SMALL in troubles else math.exp(rng.uniform(least, most))
    aspect = thing.aspect * math.exp(rng.uniform(-0.1, 0.1))
    w, h = math.sqrt(area * aspect), math.sqrt(area / aspect)
    shrink = min(0.62 / max(w, h), 1.0)
    w, h = w * shrink, h * shrink
    x = rng.uniform(w / 2 + 0.01, 0.99 - w / 2)
    low, high = h / 2 + 0.01, 0.99 - h / 2
    if thing.zone in zones and rng.uniform() < 0.75:
        if thing.zone is _Zone.AIR:
            high = max(horizon - h * 0.3, low + 0.01)
        else:
            low = max(min(horizon + 0.06 - h / 2, high - 0.01), low)
    return _Plan(label, w, h, x, rng.uniform(low, high), troubles)


def _colours(sheet: _Sheet, plan: _Plan) -> list[Colour]:
    """The colours of a thing in the light of the scene, odd or near the ground's if that is its trouble."""
    rng, palettes = sheet.rng, _THINGS[plan.label].palettes
    colours = [sheet.light.on(_vary(c, rng), 0.5) for c in palettes[rng.integers(len(palettes))]]
    if _Trouble.COLOUR in plan.troubles:
        colours = [_any_colour(rng) for _ in colours]
    if _Trouble.BLEND in plan.troubles:
        x, y = (min(round(np.clip(centre, 0.02, 0.98) * sheet.size), sheet.size - 1) for centre in (plan.x, plan.y))
        red, green, blue = sheet.image.crop((x, y, x + 1, y + 1)).tobytes()
        share = rng.uniform(0.2, 0.4) if _Trouble.BLUR in plan.troubles else rng.uniform(0.4, 0.65)
        colours = [_mix(c, (red, green, blue), share) for c in colours]
    return colours


def _sprite(plan: _Plan, size: int, colours: Colours, rng: Random) -> Image.Image:
    """The thing as an RGBA sprite for a picture of that size, cut to the tight bounds of its shape."""
    label, troubles = plan.label, plan.troubles
    pen = _Pen(max(round(plan.width * size), 8), max(round(plan.height * size), 8))
    _THINGS[label].draw(pen, colours, rng)
    sprite = pen.image
    if rng.uniform() < 0.4 and label not in ("clock", "tv"):
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    lean = rng.normal(0, 2.5)  # degrees
    if _Trouble.DEFORM in troubles:
        sprite = _deform(sprite, rng)
    elif abs(lean) > 1.5:
        sprite = sprite.rotate(lean, Image.Resampling.BILINEAR, expand=True)
    sprite = sprite.reduce(_OVERSAMPLING)
    if _Trouble.GLARE in troubles:
        sprite = _glare(sprite, rng)
    return _tight(sprite, 0.7 * size)


def _tight(sprite: Image.Image, longest: float) -> Image.Image:
    """Cuts an RGBA sprite to its solid pixels, shrunk if one side is longer than that many of them."""
    left, top, right, bottom = _bounds(sprite)
    if max(right - left, bottom - top) > longest:
        factor = longest / max(right - left, bottom - top)
        sprite = sprite.resize((round(sprite.width * factor), round(sprite.height * factor)), Image.Resampling.BOX)
    return sprite.crop(_bounds(sprite))


def _bounds(sprite: Image.Image) -> tuple[int, int, int, int]:
    return sprite.getchannel("A").point(_solid).getbbox() or (0, 0, *sprite.size)


def _solid(alpha: int) -> int:
    return 255 if alpha >= 128 else 0


def _lay_thing(sheet: _Sheet, plan: _Plan, laid: Sequence[_Laid]) -> _Laid | None:
    """Lays a thing (and what hides it) on the sheet, unless it would be too small or would hide others."""
    rng, size, troubles = sheet.rng, sheet.size, plan.troubles
    sprite = _sprite(plan, size, _colours(sheet, plan), rng)
    width, height = sprite.size
    if width * height <= MIN_AREA * size * size:
        return None
    x = int(np.clip(round(plan.x * size - width / 2), 1, size - width - 1))
    y = int(np.clip(round(plan.y * size - height / 2), 1, size - height - 1))
    cover = sprite.getchannel("A")
    shape = np.asarray(cover) >= 128
    if not _spares(sheet, shape, (x, y), laid, MIN_VISIBLE + 0.05):
        return None
    if _Trouble.BLUR not in troubles:
        sheet.shadow(cover, (x, y), strength=0.35 if _Trouble.BLEND in troubles else 1.0)
    opacity = rng.uniform(0.45, 0.65) if _Trouble.BLEND in troubles else 1.0
    paper, margin = _blur(sprite, rng) if _Trouble.BLUR in troubles else (sprite, 0)
    sheet.lay(paper.convert("RGB"), paper.getchannel("A").point(partial(_scale, opacity)), (x - margin, y - margin))
    sheet.owner[y : y + height, x : x + width][shape] = _FIRST + len(laid)
    thing = _Laid(plan.label, (x, y, x + width, y + height), int(shape.sum()))
    if _Trouble.OCCLUDE in troubles:
        _hide(sheet, thing, [*laid, thing])
    return thing


def _hide(sheet: _Sheet, thing: _Laid, laid: Sequence[_Laid]) -> None:
    """Lays a prop over a thing, at the first of a few tries which leaves enough of everything visible."""
    rng, size = sheet.rng, sheet.size
    colour = sheet.light.on(_vary(_PROPS[rng.integers(len(_PROPS))], rng))
    x1, y1 = max(thing.box[0] - 3, 0), max(thing.box[1] - 3, 0)
    x2, y2 = min(thing.box[2] + 3, size), min(thing.box[3] + 3, size)
    for _ in range(4):
        cover = _prop(x2 - x1, y2 - y1, rng)
        shape = np.asarray(cover) >= 128
        if _spares(sheet, shape, (x1, y1), laid, MIN_VISIBLE):
            sheet.shadow(cover, (x1, y1))
            sheet.lay(colour, cover, (x1, y1))
            sheet.owner[y1:y2, x1:x2][shape] = _PROP
            return


def _spares(sheet: _Sheet, shape: Mask, at: Corner, laid: Sequence[_Laid], least: float) -> bool:
    """Whether at least that share of every thing stays visible under a new shape."""
    hidden = sheet.owner[at[1] : at[1] + shape.shape[0], at[0] : at[0] + shape.shape[1]][shape]
    for mark, thing in enumerate(laid, start=_FIRST):
        lost = np.count_nonzero(hidden == mark)
        if lost and np.count_nonzero(sheet.owner == mark) - lost < least * thing.area:
            return False
    return True


def scene(seed: int, size: int = 256, difficulty: float = 0.45) -> Scene:
    """The scene of a seed, as a picture of size x size pixels.

    `difficulty` is the share of objects (0..1) which are made naturally difficult.
    """
    rng = np.random.default_rng(seed)
    light = _LIGHTS[rng.integers(len(_LIGHTS))]
    names, zones = _region_names(rng)
    sheet = _Sheet(size, light, rng)
    indoors = _Zone.ROOM in zones
    horizon = rng.uniform(0.52, 0.68) if indoors else rng.uniform(0.34, 0.6)
    (_indoors if indoors else _outdoors)(sheet, names, horizon)
    regions = sheet.owner.copy()

    laid: list[_Laid] = []
    plans = _plans(horizon, zones, difficulty, rng)
    for plan in plans:
        if thing := _lay_thing(sheet, plan, laid):
            laid.append(thing)
    if not laid and (thing := _lay_thing(sheet, replace(plans[0], troubles=frozenset()), laid)):
        laid.append(thing)
    return _truth(sheet, regions, names, laid)


def _truth(sheet: _Sheet, regions: NDArray[np.int16], names: Sequence[str], laid: Sequence[_Laid]) -> Scene:
    """The finished scene; the box of stuff is that of its region before things were laid on it."""
    found = [(thing.label, thing.box, sheet.owner == mark) for mark, thing in enumerate(laid, start=_FIRST)]
    for index, name in enumerate(names):
        bounds, visible = Image.fromarray(regions == index).getbbox(), sheet.owner == index
        if bounds is not None and visible.any():
            found.append((name, bounds, visible))
    boxes = (Box(label, _fractions(box, sheet.size)) for label, box, _ in found)
    return Scene(sheet.image, Layout(sheet.size, sheet.size, tuple(boxes)), np.stack([mask for *_, mask in found]))


def _fractions(box: tuple[int, int, int, int], size: int) -> tuple[float, float, float, float]:
    return box[0] / size, box[1] / size, box[2] / size, box[3] / size


def scenes(seeds: Iterable[int], size: int = 256, difficulty: float = 0.45, workers: int = 0) -> Iterator[Scene]:
    """Scenes in the order of the seeds, made by that many processes (0: in this one)."""
    make = partial(scene, size=size, difficulty=difficulty)
    if workers < 1:
        yield from map(make, seeds)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        remaining, waiting = iter(seeds), deque[Future[Scene]]()
        waiting.extend(pool.submit(make, seed) for seed in islice(remaining, 16 * workers))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(make, seed) for seed in islice(remaining, 1))
            yield done


# --- COCO -----------------------------------------------------------------------------------------


def write_dataset(
    out: Path,
    seeds: Sequence[int],
    size: int = 256,
    difficulty: float = 0.45,
    workers: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes images/SEED.png, annotations/instances.json and annotations/stuff.json; calls on_progress(done, total)."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, object]] = []
    things: list[dict[str, object]] = []
    stuff: list[dict[str, object]] = []
    for done, (seed, made) in enumerate(zip(seeds, scenes(seeds, size, difficulty, workers), strict=True), start=1):
        name = f"{seed:06d}.png"
        made.image.save(out / "images" / name)
        images.append({"id": seed, "file_name": name, "width": size, "height": size})
        for box, mask in zip(made.layout.boxes, made.masks, strict=True):
            rows = things if box.label in THING_IDS else stuff
            rows.append(_annotation(len(rows) + 1, seed, box, mask, size))
        if on_progress is not None:
            on_progress(done, len(seeds))
    _write_coco(out / "annotations" / "instances.json", "thing", THING_IDS, images, things)
    _write_coco(out / "annotations" / "stuff.json", "stuff", STUFF_IDS, images, stuff)


def _write_coco(
    path: Path, kind: str, ids: Mapping[str, int], images: Sequence[object], annotations: Sequence[object]
) -> None:
    content = {
        "info": {"description": "Papercut"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "supercategory": kind} for name, number in ids.items()],
    }
    path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8", newline="\n")


def _annotation(number: int, image: int, box: Box, mask: Mask, size: int) -> dict[str, object]:
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    x1, y1, x2, y2 = (round(value * size) for value in box.xyxy)
    return {
        "id": number,
        "image_id": image,
        "category_id": (THING_IDS | STUFF_IDS)[box.label],
        "iscrowd": 0,
        "area": int(mask.sum()),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "segmentation": {"size": [size, size], "counts": code["counts"].decode("ascii")},
    }


HELD_OUT_SEED = 900_000  # scenes from here up are never trained on
