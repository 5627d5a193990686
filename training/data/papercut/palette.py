"""Colours of the built-in world: how they mix and vary, the lights of a scene, the papers of its ground."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]  # red, green, blue: 0..255
Colours = Sequence[Colour]
Random = np.random.Generator


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """The colour that lies that share of the way (0..1) from a to b."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def darker(colour: Colour, share: float = 0.22) -> Colour:
    """A colour mixed with violet ink."""
    return mix(colour, (34, 28, 62), share)


def lighter(colour: Colour, share: float = 0.35) -> Colour:
    """A colour mixed with warm white."""
    return mix(colour, (255, 250, 238), share)


def hsv(colour: Colour) -> tuple[float, float, float]:
    """Hue, saturation and value of a colour, each 0..1."""
    return colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))


def from_hsv(hue: float, saturation: float, value: float) -> Colour:
    """The colour of a hue, saturation and value, each 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return red * 255, green * 255, blue * 255


def vary(colour: Colour, rng: Random, hue: float = 0.014, value: float = 0.05) -> Colour:
    """A colour nearby: up to that far in hue and value (fractions), and 14 % in saturation."""
    h, s, v = hsv(colour)
    dh, ds, dv = rng.uniform(-1, 1, 3)
    return from_hsv((h + dh * hue) % 1, min(s * (1 + ds * 0.14), 1), min(v * (1 + dv * value), 1))


def any_colour(rng: Random) -> Colour:
    """A colour of any hue, neither grey nor black nor glaring."""
    return from_hsv(rng.uniform(), rng.uniform(0.15, 0.75), rng.uniform(0.3, 0.95))


def rgb(colour: Colour) -> tuple[int, int, int]:
    """The colour in whole numbers, as Pillow takes it."""
    return round(colour[0]), round(colour[1]), round(colour[2])


@dataclass(frozen=True, slots=True)
class Light:
    """The light of a scene: its sky from top to horizon, and a tint laid over everything."""

    top: Colour
    horizon: Colour
    tint: Colour
    strength: float

    def on(self, colour: Colour, share: float = 1.0) -> Colour:
        """The colour of a paper in this light; a share below 1 takes less of the tint."""
        return mix(colour, self.tint, self.strength * share)


LIGHTS = (
    Light((128, 183, 214), (214, 233, 232), (250, 246, 230), 0.06),  # clear day
    Light((150, 190, 226), (246, 224, 208), (255, 226, 200), 0.12),  # morning
    Light((238, 164, 136), (252, 222, 178), (250, 190, 150), 0.18),  # sunset
    Light((150, 140, 190), (240, 196, 200), (190, 150, 190), 0.20),  # dusk
    Light((156, 206, 196), (236, 242, 220), (210, 236, 214), 0.14),  # mint
    Light((176, 186, 196), (226, 228, 226), (190, 198, 206), 0.24),  # overcast
    Light((52, 66, 112), (124, 132, 172), (52, 60, 110), 0.36),  # night
    Light((244, 205, 130), (252, 238, 206), (252, 226, 170), 0.16),  # amber
)

STUFF_COLOURS: dict[str, tuple[Colour, ...]] = {
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
SHADOW = (38, 30, 66)
INK: Colour = (48, 46, 66)
PAPER: Colour = (252, 246, 232)
GLASS: Colour = (196, 224, 234)
