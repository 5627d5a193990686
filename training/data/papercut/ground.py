"""The ground of a scene: sky, hills, sea and road outdoors; wall, boards and rug indoors."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from training.data.papercut.palette import Colour, darker, lighter, mix, vary
from training.data.papercut.sheet import Sheet


def _sky(sheet: Sheet, horizon: float) -> None:
    rng = sheet.rng
    top, low = vary(sheet.light.top, rng), vary(sheet.light.horizon, rng)
    sheet.image.paste(sheet.gradient(top, low))
    x, y, radius = rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.6) * horizon, rng.uniform(0.10, 0.2)
    cover, draw, full = sheet.stencil()
    for scale, alpha in ((2.6, 26), (1.8, 52), (1.0, 92)):
        r, cx, cy = radius * scale * full, x * full, y * full
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=alpha)
    sheet.lay(lighter(low, 0.75), cover.reduce(2))


def _mountain(sheet: Sheet, index: int, height: float, base: Colour, near: bool) -> None:
    for step in (0, 1):
        edge = sheet.ridge(height + 0.09 * step, 0.17 - 0.05 * step)
        sheet.layer(index, edge, lighter(base, 0.42 - 0.34 * step), lighter(base, 0.55 - 0.34 * step))


def _hill(sheet: Sheet, index: int, height: float, base: Colour, near: bool) -> None:
    for step in (0, 1):
        edge = sheet.wave(height + 0.08 * step, 0.06)
        sheet.layer(index, edge, lighter(base, 0.28 - 0.26 * step), lighter(base, 0.38 - 0.26 * step))


def _sea(sheet: Sheet, index: int, height: float, base: Colour, near: bool) -> None:
    sheet.layer(index, sheet.wave(height, 0.004), lighter(base, 0.3), base, lift=0)
    for step in (1, 2):
        phase, count = sheet.rng.uniform(0, 1), sheet.rng.uniform(5, 8)
        edge = height + 0.13 * step - 0.016 * np.abs(np.sin((sheet.columns * count + phase) * math.pi))
        sheet.layer(index, edge, mix(lighter(base, 0.22), base, step * 0.5), darker(base, 0.06 * step))


def _road(sheet: Sheet, index: int, height: float, base: Colour, near: bool) -> None:
    slope = sheet.rng.uniform(-0.03, 0.03)
    edge = height + slope * (sheet.columns - 0.5)
    sheet.layer(index, edge, base, darker(base, 0.12))
    cover, draw, full = sheet.stencil()
    left, right = float(edge[0]), float(edge[-1])
    start, thick = sheet.rng.uniform(-0.2, 0), 0.018
    for dash in range(6):
        x, rise = start + 0.25 * dash, (right - left) * 0.13
        y = left + (right - left) * x + (1 - height) * 0.45
        corners = [(x, y), (x + 0.13, y + rise), (x + 0.13, y + rise + thick), (x, y + thick)]
        draw.polygon([(px * full, py * full) for px, py in corners], fill=220)
    sheet.lay(sheet.light.on((240, 226, 178)), cover.reduce(2))


def _meadow(bend: float, sheet: Sheet, index: int, height: float, base: Colour, near: bool) -> None:
    sheet.layer(index, sheet.wave(height, bend), lighter(base, 0.16), base)
    for step in (1,) if near else (1, 2):
        sheet.layer(
            index, sheet.wave(height + 0.19 * step, 0.035), darker(base, 0.045 * step), darker(base, 0.09 * step)
        )


_OUTDOORS: dict[str, Callable[[Sheet, int, float, Colour, bool], None]] = {
    "mountain": _mountain,
    "hill": _hill,
    "sea": _sea,
    "road": _road,
    "grass": partial(_meadow, 0.03),
    "sand": partial(_meadow, 0.025),
    "snow": partial(_meadow, 0.04),
}


def lay_outdoors(sheet: Sheet, names: Sequence[str], horizon: float) -> None:
    """Lays the sky, perhaps something far, and the ground."""
    _sky(sheet, horizon)
    heights = [horizon]
    if len(names) == 3:
        heights = [horizon - 0.02, horizon + sheet.rng.uniform(0.14, 0.24)]
    for index, (name, height) in enumerate(zip(names[1:], heights, strict=True), start=1):
        _OUTDOORS[name](sheet, index, height, sheet.paper(name), len(names) == 3)


def lay_indoors(sheet: Sheet, names: Sequence[str], horizon: float) -> None:
    """Lays a wall, a wooden floor and perhaps a rug."""
    wall, wood, rug = (sheet.paper(name, 0.8) for name in ("wall-other", "floor-wood", "rug"))
    _wall(sheet, wall)
    edge = np.full_like(sheet.columns, horizon)
    sheet.layer(0, edge - 0.035, lighter(wall, 0.6), lighter(wall, 0.6))  # the skirting board
    sheet.layer(1, edge, darker(wood, 0.06), lighter(wood, 0.12), lift=0)
    _boards(sheet, horizon, wood)
    if len(names) == 3:
        _rug(sheet, horizon, rug)


def _wall(sheet: Sheet, colour: Colour) -> None:
    sheet.image.paste(sheet.gradient(darker(colour, 0.05), lighter(colour, 0.12)))
    cover, draw, full = sheet.stencil()
    count, phase = int(sheet.rng.integers(4, 8)), sheet.rng.uniform(0, 1)
    for stripe in range(-1, count + 1):
        draw.rectangle(((stripe + phase) / count * full, 0, (stripe + phase + 0.5) / count * full, full), fill=70)
    if sheet.rng.uniform() < 0.7:
        sheet.lay(lighter(colour, 0.5), cover.reduce(2))


def _boards(sheet: Sheet, horizon: float, colour: Colour) -> None:
    cover, draw, full = sheet.stencil()
    for y1, y2 in pairwise(horizon + (1 - horizon) * share for share in (0.0, 0.14, 0.32, 0.56, 0.85, 1.2)):
        draw.line((0, y2 * full, full, y2 * full), fill=120, width=3)
        joint = sheet.rng.uniform(0, 0.5)
        for x in (joint, joint + 0.5):
            draw.line((x * full, y1 * full, x * full, y2 * full), fill=120, width=3)
    sheet.lay(darker(colour, 0.3), cover.reduce(2))


def _rug(sheet: Sheet, horizon: float, colour: Colour) -> None:
    rng, floor = sheet.rng, 1 - horizon
    x, y, w = rng.uniform(0.35, 0.65), horizon + floor * rng.uniform(0.5, 0.6), rng.uniform(0.28, 0.46)
    h = floor * rng.uniform(0.28, 0.4)
    for scale, paper in ((1.0, colour), (0.84, lighter(colour, 0.5)), (0.72, colour)):
        cover, draw, full = sheet.stencil()
        left, top, right, bottom = x - w * scale, y - h * scale, x + w * scale, y + h * scale
        draw.ellipse((left * full, top * full, right * full, bottom * full), fill=255)
        cover = cover.reduce(2)
        if scale == 1.0:
            sheet.shadow(cover, lift=2.0)
            sheet.owner[np.asarray(cover) >= 128] = 2
        sheet.lay(paper, cover)
