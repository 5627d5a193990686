"""How each cause of difficulty is drawn: small functions of colours, sprites (RGBA, tight) and boxes, each with its own
strength."""

import math

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from training.data.papercut.palette import Colour, Colours, Random, any_colour, from_hsv, hsv, rgb
from training.data.papercut.pen import smooth

NIGHT: Colour = (24, 30, 62)
_DARK, _RIM = (34, 28, 46), (255, 240, 206)


def odd_colours(colours: Colours, rng: Random) -> list[Colour]:
    """The colours turned far round the circle, greys tinted: light stays light and dark stays dark."""
    turn = rng.uniform(0.25, 0.75)
    turned = []
    for colour in colours:
        h, s, v = hsv(colour)
        grey = s < 0.25
        hue = turn + rng.uniform(-0.2, 0.2) if grey else h + turn + rng.uniform(-0.07, 0.07)
        turned.append(from_hsv(hue % 1, rng.uniform(0.35, 0.65) if grey else max(s, 0.4), min(max(v, 0.25), 0.96)))
    return turned


def patterned(sprite: Image.Image, rng: Random) -> Image.Image:
    """Stripes, dots, checks or worn patches of one other colour over nearly half of the sprite."""
    w, h = sprite.size
    marks = Image.new("L", (w * 2, h * 2))
    (_stripes, _dots, _checks, _worn)[rng.integers(4)](ImageDraw.Draw(marks), w * 2, h * 2, rng)
    light = rng.uniform() < 0.5
    hue, saturation, _ = hsv(any_colour(rng))
    colour = from_hsv(hue, saturation * 0.7, rng.uniform(0.9, 1.0) if light else rng.uniform(0.2, 0.45))
    return _painted(sprite, colour, marks.reduce(2).point([round(level * 0.85) for level in range(256)]))


def _stripes(draw: ImageDraw.ImageDraw, w: int, h: int, rng: Random) -> None:
    pitch, angle = rng.uniform(0.2, 0.3) * math.sqrt(w * h), rng.uniform(0, math.pi)
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    reach = math.hypot(w, h)
    for k in range(-math.ceil(reach / pitch), math.ceil(reach / pitch) + 1):
        x, y = w / 2 + across[0] * k * pitch, h / 2 + across[1] * k * pitch
        ends = (x - along[0] * reach, y - along[1] * reach, x + along[0] * reach, y + along[1] * reach)
        draw.line(ends, fill=255, width=max(round(pitch * 0.42), 2))


def _dots(draw: ImageDraw.ImageDraw, w: int, h: int, rng: Random) -> None:
    pitch = rng.uniform(0.19, 0.27) * math.sqrt(w * h)
    radius, offset = pitch * 0.32, rng.uniform(0, pitch)
    for row in range(math.ceil(h / pitch) + 2):
        for column in range(math.ceil(w / pitch) + 2):
            x, y = (column - 1 + row % 2 / 2) * pitch + offset, (row - 1) * pitch + offset
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def _checks(draw: ImageDraw.ImageDraw, w: int, h: int, rng: Random) -> None:
    side = rng.uniform(0.13, 0.19) * math.sqrt(w * h)
    for row in range(math.ceil(h / side) + 1):
        for column in range(row % 2, math.ceil(w / side) + 1, 2):
            draw.rectangle((column * side, row * side, (column + 1) * side - 1, (row + 1) * side - 1), fill=255)


def _worn(draw: ImageDraw.ImageDraw, w: int, h: int, rng: Random) -> None:
    for _ in range(9):
        x, y, radius = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.07, 0.15) * math.sqrt(w * h)
        turns = np.arange(7) / 7 * 2 * math.pi
        rims = radius * rng.uniform(0.5, 1.4, 7)
        draw.polygon(smooth([*zip(x + rims * np.cos(turns), y + rims * np.sin(turns), strict=True)]), fill=255)


def posed(sprite: Image.Image, rng: Random) -> Image.Image:
    """The sprite turned, overturned, squashed, sheared or in perspective."""
    w, h = sprite.size
    kind = rng.integers(5)
    if kind == 0:
        short, long = (squash := rng.uniform(0.5, 0.62)), 1 / squash**0.3
        across, down = (short, long) if w >= h else (long, short)
        return sprite.resize((round(w * across), round(h * down)))
    if kind == 1:
        shear = rng.choice((-1, 1)) * rng.uniform(0.4, 0.65)
        extra = round(abs(shear) * h)
        matrix = (1, shear, -extra if shear > 0 else 0, 0, 1, 0)
        return sprite.transform((w + extra, h), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    if kind == 2:
        return _in_perspective(sprite, rng)
    turn = rng.choice((-1, 1)) * rng.uniform(50, 110) if kind == 3 else rng.uniform(145, 215)
    return sprite.rotate(turn, Image.Resampling.BILINEAR, expand=True)


def _in_perspective(sprite: Image.Image, rng: Random) -> Image.Image:
    """One side of the sprite much nearer than the other."""
    w, h = sprite.size
    far = rng.uniform(0.35, 0.5)  # the length of the far side, of the near one
    inset, narrow = h * (1 - far) / 2, w * 0.8
    left = rng.uniform() < 0.5
    seen = (
        [(0, inset), (narrow, 0), (narrow, h), (0, h - inset)]
        if left
        else [(0, 0), (narrow, inset), (narrow, h - inset), (0, h)]
    )
    return sprite.transform(
        (round(narrow), h),
        Image.Transform.PERSPECTIVE,
        _homography(seen, [(0, 0), (w, 0), (w, h), (0, h)]),
        Image.Resampling.BILINEAR,
    )


def _homography(seen: list[tuple[float, float]], source: list[tuple[float, float]]) -> list[float]:
    """Pillow's eight numbers that take the corners seen to those of the source."""
    rows: list[list[float]] = []
    for (x, y), (u, v) in zip(seen, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    solved: list[float] = np.linalg.solve(np.array(rows), np.array(source).reshape(8)).tolist()
    return solved


def with_glare(sprite: Image.Image, rng: Random) -> Image.Image:
    """White diagonal reflections over about two fifths of the sprite."""
    w, h = sprite.size
    bands = Image.new("L", sprite.size)
    draw = ImageDraw.Draw(bands)
    for start in (rng.uniform(-0.1, 0.15), rng.uniform(0.5, 0.7)):
        end, alpha = start + rng.uniform(0.2, 0.3), int(rng.uniform(200, 240))
        draw.polygon([(start * w, h), (end * w, h), ((end + 0.25) * w, 0), ((start + 0.25) * w, 0)], fill=alpha)
    return _painted(sprite, (255, 252, 244), bands)


def backlit(sprite: Image.Image, rng: Random) -> Image.Image:
    """A silhouette in which the details are just seen, with a bright rim."""
    dark = _toned(sprite, _DARK, rng.uniform(0.7, 0.8))
    alpha = sprite.getchannel("A")
    inner = ImageChops.offset(alpha, 0, 2).filter(ImageFilter.MinFilter(3))
    return _painted(dark, _RIM, ImageChops.subtract(alpha, inner))


def in_the_dark(sprite: Image.Image, rng: Random) -> Image.Image:
    """The sprite as seen at night."""
    return _toned(sprite, NIGHT, rng.uniform(0.56, 0.68))


def blurred(sprite: Image.Image, rng: Random) -> tuple[Image.Image, int]:
    """A blurred sprite and by how many pixels it has grown on each side."""
    sigma = rng.uniform(0.022, 0.034) * math.sqrt(sprite.width * sprite.height)
    margin = math.ceil(2 * sigma)
    paper = Image.new("RGBA", (sprite.width + 2 * margin, sprite.height + 2 * margin), (0, 0, 0, 0))
    paper.paste(sprite, (margin, margin))
    return paper.convert("RGBa").filter(ImageFilter.GaussianBlur(sigma)).convert("RGBA"), margin


def prop_cover(width: int, height: int, rng: Random) -> Image.Image:
    """Coverage of planks, leaves or a slab of paper, hiding up to half of a box of that size."""
    cover = Image.new("L", (width * 2, height * 2))
    (_planks, _leaves, _slab)[rng.integers(3)](ImageDraw.Draw(cover), width * 2, height * 2, rng)
    return cover.reduce(2)


def _planks(draw: ImageDraw.ImageDraw, w: int, h: int, rng: Random) -> None:
    count = int(rng.integers(2, 4))
    upright, phase = rng.uniform() < 0.5, rng.uniform(0, 0.25)
    for plank in range(count + 1):
        a, b = (plank + phase - 0.1) / count, (plank + phase + 0.35) / count
        draw.rectangle((a * w, 0, b * w, h) if upright else (0, a * h, w, b * h), fill=255)


def _leaves(draw: ImageDraw.ImageDraw, w: int, h: int, rng: Random) -> None:
    for leaf in range(4):
        x, y = (leaf + rng.uniform(0.2, 0.8)) / 4 * w, h * rng.uniform(0.4, 0.55)
        tip = x + rng.uniform(-0.15, 0.15) * w
        corners = [(tip, y), (x + 0.17 * w, 0.8 * h), (x, 1.1 * h), (x - 0.17 * w, 0.8 * h)]
        draw.polygon(smooth(corners), fill=255)


def _slab(draw: ImageDraw.ImageDraw, w: int, h: int, rng: Random) -> None:
    share, side, tilt = rng.uniform(0.36, 0.47), rng.integers(3), rng.uniform(-0.08, 0.08)
    corners = (
        [(0, 1 - share + tilt), (1, 1 - share - tilt), (1, 1), (0, 1)],
        [(0, 0), (share + tilt, 0), (share - tilt, 1), (0, 1)],
        [(1 - share + tilt, 0), (1, 0), (1, 1), (1 - share - tilt, 1)],
    )[side]
    draw.polygon([(x * w, y * h) for x, y in corners], fill=255)


def poster(width: int, height: int, rng: Random) -> Image.Image:
    """An RGB card of that size, striped, with a white border."""
    base, other = any_colour(rng), any_colour(rng)
    card = Image.new("RGB", (width * 2, height * 2), rgb(base))
    stripes = Image.new("L", card.size)
    _stripes(ImageDraw.Draw(stripes), *card.size, rng)
    card.paste(rgb(other), (0, 0, *card.size), stripes)
    ImageDraw.Draw(card).rectangle((0, 0, width * 2 - 1, height * 2 - 1), outline=(252, 248, 238), width=6)
    return card.reduce(2)


def _painted(sprite: Image.Image, colour: Colour, cover: Image.Image) -> Image.Image:
    """The sprite with a colour laid over it; its shape stays."""
    lit = sprite.convert("RGB")
    lit.paste(rgb(colour), (0, 0, *sprite.size), cover)
    lit.putalpha(sprite.getchannel("A"))
    return lit


def _toned(sprite: Image.Image, colour: Colour, share: float) -> Image.Image:
    """The sprite mixed with a colour; its shape stays."""
    return _painted(sprite, colour, Image.new("L", sprite.size, round(share * 255)))
