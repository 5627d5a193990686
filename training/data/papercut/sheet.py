"""The image under construction: paper is laid on it, casts shadows, and is remembered as the owner of its pixels."""

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.data.papercut.palette import SHADOW, STUFF_COLOURS, Colour, Light, Random, rgb, vary

Corner = tuple[int, int]
Curve = NDArray[np.float64]  # heights at the columns of a sheet
Mask = NDArray[np.bool_]

PROP, FIRST = 99, 100  # marks in the owner map: any prop, and the first thing


class Sheet:
    """The image under construction: paper is laid on it, and it remembers what is visible of each layer."""

    def __init__(self, size: int, light: Light, rng: Random) -> None:
        self.size, self.light, self.rng = size, light, rng
        self.image = Image.new("RGB", (size, size))
        self.owner = np.zeros((size, size), dtype=np.int16)  # index of the stuff, PROP, or FIRST + index of the thing
        self.columns = np.linspace(0, 1, size * 2)
        self.shade = int(rng.uniform(58, 92))  # opacity of the shadows, of 255
        self.unit = size / 256  # pixels that are one pixel of the usual size

    def gradient(self, top: Colour, bottom: Colour) -> Image.Image:
        """An image of the size of the sheet, from one colour at the top to another at the bottom."""
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
        """Lays paper of a colour, or an image of the size of its coverage, with its upper-left corner at `at`."""
        area = (*at, at[0] + cover.width, at[1] + cover.height)
        self.image.paste(fill if isinstance(fill, Image.Image) else rgb(fill), area, cover)

    def shadow(self, cover: Image.Image, at: Corner = (0, 0), lift: float = 3.0, strength: float = 1.0) -> None:
        """A soft shadow below and right of a sheet whose coverage is given."""
        margin, offset = math.ceil(3 * lift * self.unit), round(lift * self.unit * 0.8)
        soft = Image.new("L", (cover.width + 2 * margin, cover.height + 2 * margin))
        soft.paste(cover, (margin, margin))
        soft = soft.filter(ImageFilter.BoxBlur(lift * self.unit)).filter(ImageFilter.BoxBlur(lift * self.unit * 0.6))
        corner = (at[0] - margin + offset, at[1] - margin + offset)
        self.lay(SHADOW, soft.point(partial(scaled, strength * self.shade / 255)), corner)

    def layer(self, index: int, edge: Curve, top: Colour, bottom: Colour, lift: float = 5.0) -> None:
        """Covers everything under a curve with a region's paper, which casts its shadow upwards."""
        if lift:
            small = self.below(edge - 0.012).reduce(2).filter(ImageFilter.BoxBlur(lift * self.unit / 2))
            soft = small.resize((self.size, self.size), Image.Resampling.BILINEAR)
            self.lay(SHADOW, soft.point(partial(scaled, self.shade / 255 * 0.8)))
        cover = self.below(edge)
        self.lay(self.gradient(top, bottom), cover)
        self.owner[np.asarray(cover) >= 128] = index

    def paper(self, name: str, share: float = 1.0) -> Colour:
        """A colour for a stuff class in the light of this scene."""
        colours = STUFF_COLOURS[name]
        return self.light.on(vary(colours[self.rng.integers(len(colours))], self.rng), share)

    def wave(self, height: float, amplitude: float) -> Curve:
        """A soft curve around a height; both in fractions of the side."""
        a, b, p, q = self.rng.uniform(0.6, 1.4), self.rng.uniform(1.6, 2.6), *self.rng.uniform(0, 6.28, 2)
        x = self.columns * 6.28
        curve: Curve = height + amplitude * (0.7 * np.sin(a * x + p) + 0.3 * np.sin(b * x + q))
        return curve

    def ridge(self, height: float, amplitude: float) -> Curve:
        """Two or three peaks over a height; both in fractions of the side."""
        count = int(self.rng.integers(2, 4))
        peaks = (np.arange(count) + self.rng.uniform(0.25, 0.75, count)) / count
        heights, slopes = amplitude * self.rng.uniform(0.75, 1.25, count), self.rng.uniform(1.0, 1.7, count)
        away = np.abs(self.columns[None] - peaks[:, None])  # [peaks, columns]
        rise = heights[:, None] - away * slopes[:, None] * amplitude * 2.6
        curve: Curve = height + amplitude * 0.35 - np.maximum(rise.max(0), 0)
        return curve


def scaled(factor: float, value: int) -> int:
    """A level (0..255) times a factor: at the top level of a module, so that `partial` of it goes to `Image.point`."""
    return round(value * factor)
