"""The things of the built-in world: each draws itself upright in the unit square with its own list of colours."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, auto
from itertools import pairwise

from training.data.papercut.palette import GLASS, INK, PAPER, Colour, Colours, Random, darker, lighter
from training.data.papercut.pen import Pen


def _person(pen: Pen, c: Colours, rng: Random) -> None:
    shirt, trousers, skin, hair = c
    swing = rng.uniform(-0.05, 0.05)
    pen.line([(0.40, 0.58), (0.30 + swing, 0.95)], 0.24, trousers)
    pen.line([(0.60, 0.58), (0.70 + swing, 0.95)], 0.24, darker(trousers, 0.12))
    pen.line([(0.30, 0.35), (0.11, 0.58 + swing)], 0.17, darker(shirt, 0.15))
    pen.line([(0.70, 0.35), (0.89, 0.58 - swing)], 0.17, darker(shirt, 0.15))
    pen.disc(0.11, 0.59 + swing, 0.10, skin)
    pen.disc(0.89, 0.59 - swing, 0.10, skin)
    pen.rect(0.24, 0.27, 0.76, 0.64, shirt, 0.2)
    pen.disc(0.5, 0.125, 0.29, hair)
    pen.oval(0.27, 0.08, 0.73, 0.26, skin)
    pen.rect(0.43, 0.22, 0.57, 0.30, skin, 0.05)


def _car(pen: Pen, c: Colours, rng: Random) -> None:
    body, glass, wheel = c
    pen.blob([(0.14, 0.52), (0.26, 0.10), (0.42, 0.0), (0.62, 0.02), (0.76, 0.16), (0.88, 0.52)], darker(body, 0.14))
    pen.polygon([(0.26, 0.44), (0.33, 0.14), (0.48, 0.12), (0.48, 0.44)], glass)
    pen.polygon([(0.53, 0.44), (0.53, 0.12), (0.66, 0.14), (0.76, 0.44)], lighter(glass, 0.3))
    pen.rect(0.0, 0.40, 1.0, 0.80, body, 0.28)
    pen.rect(0.03, 0.60, 0.97, 0.67, darker(body, 0.2))
    pen.oval(0.88, 0.46, 0.98, 0.58, PAPER)
    for x in (0.23, 0.77):
        pen.disc(x, 0.78, 0.125, wheel)
        pen.disc(x, 0.78, 0.055, lighter(wheel, 0.65))


def _airplane(pen: Pen, c: Colours, rng: Random) -> None:
    body, wing, window = c
    pen.polygon([(0.42, 0.48), (0.60, 0.46), (0.42, 0.02), (0.30, 0.02)], darker(wing, 0.2))
    pen.polygon([(0.02, 0.10), (0.15, 0.10), (0.26, 0.48), (0.09, 0.50)], wing)
    pen.blob([
        (0.02, 0.46), (0.30, 0.37), (0.72, 0.36), (0.93, 0.44), (0.99, 0.54), (0.88, 0.63), (0.40, 0.64), (0.10, 0.56),
    ], body)  # fmt: skip
    for x in (0.36, 0.47, 0.58, 0.69):
        pen.rect(x, 0.44, x + 0.05, 0.51, window, 0.03)
    pen.polygon([(0.86, 0.42), (0.93, 0.46), (0.90, 0.51), (0.83, 0.51)], window)
    pen.polygon([(0.44, 0.55), (0.64, 0.55), (0.36, 0.99), (0.22, 0.99)], wing)


def _bus(pen: Pen, c: Colours, rng: Random) -> None:
    body, glass, wheel = c
    pen.rect(0.0, 0.0, 1.0, 0.88, body, 0.14)
    for i in range(3):
        pen.rect(0.06 + 0.21 * i, 0.13, 0.235 + 0.21 * i, 0.46, glass, 0.05)
    pen.rect(0.71, 0.13, 0.87, 0.86, lighter(glass, 0.25), 0.05)
    pen.rect(0.93, 0.13, 1.0, 0.46, glass, 0.03)
    pen.rect(0.0, 0.56, 0.67, 0.65, darker(body, 0.32))
    for x in (0.22, 0.58):
        pen.disc(x, 0.86, 0.095, wheel)
        pen.disc(x, 0.86, 0.042, lighter(wheel, 0.65))


def _boat(pen: Pen, c: Colours, rng: Random) -> None:
    hull, sail, flag = c
    pen.rect(0.485, 0.0, 0.525, 0.76, darker(hull, 0.4))
    pen.polygon([(0.46, 0.04), (0.46, 0.68), (0.06, 0.68)], sail)
    pen.polygon([(0.55, 0.14), (0.55, 0.68), (0.92, 0.68)], darker(sail, 0.14))
    pen.polygon([(0.525, 0.0), (0.72, 0.055), (0.525, 0.11)], flag)
    pen.polygon([(0.0, 0.73), (1.0, 0.73), (0.83, 1.0), (0.17, 1.0)], hull)
    pen.polygon([(0.0, 0.73), (1.0, 0.73), (0.965, 0.79), (0.035, 0.79)], flag)


def _traffic_light(pen: Pen, c: Colours, rng: Random) -> None:
    case, *lamps = c
    for y in (0.13, 0.44, 0.75):
        pen.polygon([(0.0, y), (1.0, y), (0.82, y + 0.15), (0.18, y + 0.15)], darker(case, 0.3))
    pen.rect(0.14, 0.0, 0.86, 1.0, case, 0.22)
    for y, lamp in zip((0.19, 0.5, 0.81), lamps, strict=True):
        pen.disc(0.5, y, 0.27, darker(lamp, 0.35))
        pen.disc(0.5, y, 0.22, lamp)


def _bird(pen: Pen, c: Colours, rng: Random) -> None:
    body, wing, beak = c
    pen.line([(0.44, 0.85), (0.42, 0.985)], 0.045, darker(beak, 0.2))
    pen.line([(0.56, 0.85), (0.56, 0.985)], 0.045, darker(beak, 0.2))
    pen.polygon([(0.86, 0.16), (1.0, 0.27), (0.84, 0.36)], beak)
    pen.polygon([(0.0, 0.36), (0.32, 0.50), (0.26, 0.74), (0.02, 0.56)], darker(wing, 0.1))
    pen.blob([
        (0.16, 0.55), (0.44, 0.38), (0.60, 0.08), (0.78, 0.02), (0.92, 0.18), (0.87, 0.54), (0.66, 0.84), (0.36, 0.84),
    ], body)  # fmt: skip
    pen.blob([(0.14, 0.52), (0.40, 0.40), (0.62, 0.48), (0.58, 0.66), (0.38, 0.72)], wing)
    pen.disc(0.76, 0.22, 0.045, INK)


def _cat(pen: Pen, c: Colours, rng: Random) -> None:
    fur, belly, eye = c
    pen.line([(0.66, 0.94), (0.86, 0.92), (0.93, 0.78), (0.90, 0.62)], 0.12, darker(fur, 0.18))
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
        pen.oval(x - 0.025, 0.245, x + 0.025, 0.335, INK)
    pen.polygon([(0.42, 0.365), (0.52, 0.365), (0.47, 0.42)], INK)


def _elephant(pen: Pen, c: Colours, rng: Random) -> None:
    skin, ear, tusk = c
    for x in (0.16, 0.42):
        pen.rect(x + 0.09, 0.60, x + 0.23, 0.97, darker(skin, 0.22), 0.06)
    pen.line([(0.05, 0.40), (0.02, 0.66)], 0.05, darker(skin, 0.2))
    pen.blob([(0.04, 0.34), (0.22, 0.10), (0.48, 0.08), (0.68, 0.24), (0.66, 0.62), (0.40, 0.76), (0.08, 0.70)], skin)
    for x in (0.07, 0.46):
        pen.rect(x, 0.55, x + 0.15, 1.0, skin, 0.06)
    pen.blob([
        (0.60, 0.16), (0.74, 0.06), (0.90, 0.16), (0.95, 0.36), (0.985, 0.68), (0.97, 0.92), (0.88, 0.94), (0.86, 0.66),
        (0.80, 0.52), (0.64, 0.46),
    ], skin)  # fmt: skip
    pen.polygon([(0.78, 0.50), (0.87, 0.52), (0.80, 0.68)], tusk)
    pen.blob([(0.50, 0.14), (0.64, 0.10), (0.74, 0.24), (0.72, 0.48), (0.58, 0.58), (0.50, 0.40)], ear)
    pen.disc(0.825, 0.27, 0.022, INK)


def _umbrella(pen: Pen, c: Colours, rng: Random) -> None:
    canopy, stripe, handle = c
    pen.rect(0.475, 0.0, 0.525, 0.94, handle, 0.02)
    pen.arc(0.475, 0.84, 0.68, 0.995, 0, 180, 0.055, handle)
    pen.pie(0.0, 0.05, 1.0, 1.03, 180, 360, canopy)
    pen.pie(0.20, 0.05, 0.80, 1.03, 180, 360, stripe)
    pen.pie(0.38, 0.05, 0.62, 1.03, 180, 360, canopy)
    scallops = pairwise((0.0, 0.20, 0.38, 0.62, 0.80, 1.0))
    for (x1, x2), colour in zip(scallops, (canopy, stripe, canopy, stripe, canopy), strict=True):
        pen.pie(x1, 0.47, x2, 0.61, 0, 180, colour)


def _sports_ball(pen: Pen, c: Colours, rng: Random) -> None:
    skin, seam = c
    pen.oval(0.0, 0.0, 1.0, 1.0, skin)
    pen.line([(0.5, 0.02), (0.5, 0.98)], 0.045, seam)
    pen.line([(0.02, 0.5), (0.98, 0.5)], 0.045, seam)
    pen.arc(-0.52, 0.06, 0.28, 0.94, -55, 55, 0.045, seam)
    pen.arc(0.72, 0.06, 1.52, 0.94, 125, 235, 0.045, seam)


def _kite(pen: Pen, c: Colours, rng: Random) -> None:
    first, second, bow = c
    pen.line([(0.5, 0.66), (0.42, 0.78), (0.56, 0.87), (0.46, 0.97)], 0.035, darker(bow, 0.3))
    for x, y in ((0.43, 0.78), (0.55, 0.87), (0.46, 0.965)):
        pen.polygon([(x - 0.13, y - 0.032), (x, y), (x - 0.13, y + 0.032)], bow)
        pen.polygon([(x + 0.13, y - 0.032), (x, y), (x + 0.13, y + 0.032)], bow)
    corners = ((0.0, 0.27), (0.5, 0.0), (1.0, 0.27), (0.5, 0.70))
    for corner, colour in enumerate((first, second, darker(first, 0.1), darker(second, 0.1))):
        pen.polygon([corners[corner], corners[(corner + 1) % 4], (0.5, 0.27)], colour)


def _cup(pen: Pen, c: Colours, rng: Random) -> None:
    clay, band, drink = c
    pen.arc(0.50, 0.22, 1.0, 0.74, 0, 360, 0.12, darker(clay, 0.14))
    pen.polygon([(0.0, 0.09), (0.76, 0.09), (0.68, 0.93), (0.08, 0.93)], clay)
    pen.oval(0.08, 0.85, 0.68, 1.0, clay)
    pen.polygon([(0.028, 0.40), (0.735, 0.40), (0.71, 0.62), (0.05, 0.62)], band)
    pen.oval(0.0, 0.0, 0.76, 0.19, lighter(clay, 0.35))
    pen.oval(0.06, 0.035, 0.70, 0.16, drink)


def _potted_plant(pen: Pen, c: Colours, rng: Random) -> None:
    pot, leaf, light = c
    for (x1, y1), (x2, y2), (x3, y3), colour in (
        ((0.02, 0.34), (0.20, 0.22), (0.34, 0.44), darker(leaf, 0.16)),
        ((0.98, 0.34), (0.80, 0.22), (0.66, 0.44), darker(leaf, 0.16)),
        ((0.22, 0.06), (0.44, 0.14), (0.34, 0.34), light),
        ((0.78, 0.06), (0.56, 0.14), (0.66, 0.34), light),
        ((0.50, 0.0), (0.62, 0.26), (0.38, 0.26), leaf),
    ):
        pen.blob([(x1, y1), (x2, y2), (0.52, 0.66), (0.48, 0.66), (x3, y3)], colour)
    pen.polygon([(0.20, 0.66), (0.80, 0.66), (0.70, 1.0), (0.30, 1.0)], pot)
    pen.rect(0.14, 0.60, 0.86, 0.73, lighter(pot, 0.2), 0.03)


def _tv(pen: Pen, c: Colours, rng: Random) -> None:
    case, screen, shine = c
    pen.polygon([(0.44, 0.78), (0.56, 0.78), (0.60, 0.96), (0.40, 0.96)], darker(case, 0.3))
    pen.rect(0.26, 0.93, 0.74, 1.0, case, 0.04)
    pen.rect(0.0, 0.0, 1.0, 0.84, case, 0.07)
    pen.rect(0.055, 0.075, 0.945, 0.755, screen, 0.03)
    pen.polygon([
        (0.055, 0.755), (0.055, 0.56), (0.34, 0.40), (0.62, 0.62), (0.80, 0.50), (0.945, 0.62), (0.945, 0.755),
    ], shine)  # fmt: skip
    pen.disc(0.74, 0.25, 0.075, lighter(shine, 0.5))


def _clock(pen: Pen, c: Colours, rng: Random) -> None:
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


class Zone(StrEnum):
    """Where a thing is mostly found."""

    AIR = auto()
    GROUND = auto()
    SEA = auto()
    ROOM = auto()


@dataclass(frozen=True, slots=True)
class Shape:
    """How a thing is drawn, how wide it is for its height, what colours it has, and where it is mostly found."""

    draw: Callable[[Pen, Colours, Random], None]
    aspect: float  # width / height
    palettes: tuple[tuple[Colour, ...], ...]
    zone: Zone


SHAPES = {
    "person": Shape(
        _person, 0.46,
        tuple(((216, 92, 70), (62, 76, 112), skin, hair) for skin, hair in (
            ((244, 204, 170), (94, 64, 52)), ((206, 150, 112), (52, 42, 46)), ((136, 92, 70), (44, 36, 42)),
            ((248, 216, 188), (214, 160, 84)))),
        Zone.GROUND),
    "car": Shape(_car, 1.75, (((206, 66, 62), GLASS, INK), ((218, 92, 58), GLASS, INK)), Zone.GROUND),
    "airplane": Shape(_airplane, 1.55, (((246, 244, 240), (70, 112, 176), (60, 84, 130)),), Zone.AIR),
    "bus": Shape(_bus, 1.6, (((240, 184, 58), GLASS, INK),), Zone.GROUND),
    "boat": Shape(_boat, 0.95, (((142, 84, 60), (250, 244, 230), (214, 84, 70)),), Zone.SEA),
    "traffic light": Shape(
        _traffic_light, 0.5, (((58, 62, 74), (226, 82, 72), (244, 196, 80), (98, 186, 122)),), Zone.GROUND),
    "bird": Shape(_bird, 1.15, (((84, 156, 206), (50, 104, 164), (244, 164, 62)),), Zone.AIR),
    "cat": Shape(_cat, 0.82, (((234, 150, 76), (252, 228, 196), (120, 170, 92)),), Zone.GROUND),
    "elephant": Shape(_elephant, 1.3, (((138, 146, 168), (176, 160, 178), PAPER),), Zone.GROUND),
    "umbrella": Shape(_umbrella, 1.0, (((126, 84, 158), (236, 164, 188), (96, 70, 62)),), Zone.GROUND),
    "sports ball": Shape(_sports_ball, 1.0, (((232, 134, 62), (84, 50, 48)),), Zone.GROUND),
    "kite": Shape(_kite, 0.66, (((222, 76, 88), (250, 206, 92), (74, 140, 176)),), Zone.AIR),
    "cup": Shape(_cup, 0.95, (((66, 150, 152), (244, 236, 214), (112, 74, 58)),), Zone.ROOM),
    "potted plant": Shape(_potted_plant, 0.8, (((204, 108, 74), (78, 148, 92), (134, 186, 104)),), Zone.ROOM),
    "tv": Shape(_tv, 1.3, (((54, 56, 72), (124, 184, 206), (92, 146, 132)),), Zone.ROOM),
    "clock": Shape(_clock, 1.0, (((94, 70, 76), (252, 244, 222), (50, 48, 66)),), Zone.ROOM),
}  # fmt: skip
