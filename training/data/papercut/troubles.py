"""What makes an object naturally difficult: deformation, glare, blur, and props that hide it."""

import math
from enum import StrEnum, auto

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.data.papercut.palette import Random
from training.data.papercut.pen import smooth


class Trouble(StrEnum):
    """What makes an object naturally difficult."""

    COLOUR = auto()
    BLEND = auto()
    DEFORM = auto()
    BLUR = auto()
    OCCLUDE = auto()
    GLARE = auto()
    SMALL = auto()


_TROUBLES = tuple(Trouble)
_FREQUENCIES = np.array((0.22, 0.21, 0.2, 0.17, 0.09, 0.06, 0.05))  # in the order of Trouble


def choose_troubles(rng: Random) -> frozenset[Trouble]:
    """One to three troubles of a difficult object."""
    count = rng.choice(3, p=(0.12, 0.5, 0.38)) + 1
    return frozenset(_TROUBLES[index] for index in rng.choice(len(_TROUBLES), count, replace=False, p=_FREQUENCIES))


def deformed(sprite: Image.Image, rng: Random) -> Image.Image:
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


def with_glare(sprite: Image.Image, rng: Random) -> Image.Image:
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


def blurred(sprite: Image.Image, rng: Random) -> tuple[Image.Image, int]:
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
        draw.polygon(smooth(corners), fill=255)


def _slab(draw: ImageDraw.ImageDraw, w: int, h: int, rng: Random) -> None:
    share, side, tilt = rng.uniform(0.48, 0.6), rng.integers(3), rng.uniform(-0.08, 0.08)
    corners = (
        [(0, 1 - share + tilt), (1, 1 - share - tilt), (1, 1), (0, 1)],
        [(0, 0), (share + tilt, 0), (share - tilt, 1), (0, 1)],
        [(1 - share + tilt, 0), (1, 0), (1, 1), (1 - share - tilt, 1)],
    )[side]
    draw.polygon([(x * w, y * h) for x, y in corners], fill=255)


def prop_cover(width: int, height: int, rng: Random) -> Image.Image:
    """Coverage of planks, leaves or a slab of paper, hiding about half of a box of that size."""
    cover = Image.new("L", (width * 2, height * 2))
    (_planks, _leaves, _slab)[rng.integers(3)](ImageDraw.Draw(cover), width * 2, height * 2, rng)
    return cover.reduce(2)
