"""Lays planned things on the sheet, with their shadows, what makes them difficult, and the props that hide them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageFilter

from training.data.papercut.causes import Cause
from training.data.papercut.effects import (
    NIGHT,
    backlit,
    blurred,
    in_the_dark,
    odd_colours,
    patterned,
    posed,
    poster,
    prop_cover,
    with_glare,
)
from training.data.papercut.palette import Colour, Colours, vary
from training.data.papercut.pen import OVERSAMPLING, Pen
from training.data.papercut.placement import Plan
from training.data.papercut.sheet import FIRST, PROP, Corner, Mask, Sheet, scaled
from training.data.papercut.things import SHAPES

MIN_AREA = 0.02  # of the image, for the box of a thing
MIN_VISIBLE = 0.45  # of an object's own pixels

_PROPS: tuple[Colour, ...] = (
    (104, 142, 104), (142, 156, 96), (166, 122, 90), (206, 178, 138), (120, 134, 150), (196, 150, 140),
)  # fmt: skip
_SPRITE_EFFECTS = {
    Cause.PATTERN: patterned,
    Cause.GLARE: with_glare,
    Cause.BACKLIGHT: backlit,
    Cause.NIGHT: in_the_dark,
}  # in the order in which they are applied


@dataclass(frozen=True, slots=True)
class Laid:
    """A thing on the sheet."""

    label: str
    box: tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels, tight
    area: int  # pixels of its shape when nothing hides it
    causes: frozenset[Cause]


def _colours(sheet: Sheet, plan: Plan) -> list[Colour]:
    """The colours of a thing in the light of the scene, odd ones if that makes it difficult."""
    rng, palettes = sheet.rng, SHAPES[plan.label].palettes
    colours = [sheet.light.on(vary(c, rng), 0.5) for c in palettes[rng.integers(len(palettes))]]
    return odd_colours(colours, plan.own) if Cause.COLOUR in plan.causes else colours


def _sprite(sheet: Sheet, plan: Plan, colours: Colours) -> Image.Image:
    """The thing as an RGBA sprite, cut to the tight bounds of its shape."""
    label, causes, size, rng = plan.label, plan.causes, sheet.size, sheet.rng
    pen = Pen(max(round(plan.width * size), 8), max(round(plan.height * size), 8))
    SHAPES[label].draw(pen, colours, rng)
    sprite = pen.image
    if rng.uniform() < 0.4 and label not in ("clock", "tv"):
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    lean = rng.normal(0, 2.5)  # degrees
    if Cause.POSE in causes:
        sprite = posed(sprite, plan.own)
    elif abs(lean) > 1.5:
        sprite = sprite.rotate(lean, Image.Resampling.BILINEAR, expand=True)
    sprite = _tight(sprite.reduce(OVERSAMPLING), (0.92 if Cause.SIZE in causes else 0.7) * size)
    for cause, effect in _SPRITE_EFFECTS.items():
        if cause in causes:
            sprite = effect(sprite, plan.own)
    return sprite


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


def lay_thing(sheet: Sheet, plan: Plan, laid: Sequence[Laid]) -> Laid | None:
    """Lays a thing (and what hides it) on the sheet, unless it would be too small or would hide others."""
    size, causes, own = sheet.size, plan.causes, plan.own
    sprite = _sprite(sheet, plan, _colours(sheet, plan))
    width, height = sprite.size
    x = int(np.clip(round(plan.x * size - width / 2), 1, size - width - 1))
    y = int(np.clip(round(plan.y * size - height / 2), 1, size - height - 1))
    if Cause.CUT in causes:
        sprite, (x, y) = _cut(sheet, plan, sprite, (x, y))
        width, height = sprite.size
    if width * height <= MIN_AREA * size * size:
        return None
    cover = sprite.getchannel("A")
    shape = np.asarray(cover) >= 128
    if not _spares(sheet, shape, (x, y), laid, MIN_VISIBLE):
        return None
    if Cause.PLACE in causes and not _poster(sheet, plan, (x, y, x + width, y + height), laid):
        return None
    if Cause.NIGHT in causes:
        _darken(sheet, (x, y, x + width, y + height))
    if not causes & {Cause.BLUR, Cause.PLACE}:
        sheet.shadow(cover, (x, y), strength=0.35 if Cause.CONTRAST in causes else 1.0)
    opacity = own.uniform(0.38, 0.5) if Cause.CONTRAST in causes else 1.0
    paper, margin = blurred(sprite, own) if Cause.BLUR in causes else (sprite, 0)
    sheet.lay(paper.convert("RGB"), paper.getchannel("A").point(partial(scaled, opacity)), (x - margin, y - margin))
    sheet.owner[y : y + height, x : x + width][shape] = FIRST + len(laid)
    thing = Laid(plan.label, (x, y, x + width, y + height), int(shape.sum()), causes)
    if Cause.OCCLUSION in causes:
        _hide(sheet, plan, thing, [*laid, thing])
    return thing


def _cut(sheet: Sheet, plan: Plan, sprite: Image.Image, at: Corner) -> tuple[Image.Image, Corner]:
    """What is left of a sprite that is moved over an edge of the image, and where it lies then."""
    width, height = sprite.size
    lost, side = plan.own.uniform(0.3, 0.45), plan.own.integers(3)
    if side == 0:
        part, corner = (round(width * lost), 0, width, height), (0, at[1])
    elif side == 1:
        kept = width - round(width * lost)
        part, corner = (0, 0, kept, height), (sheet.size - kept, at[1])
    else:
        kept = height - round(height * lost)
        part, corner = (0, 0, width, kept), (at[0], sheet.size - kept)
    left, top, right, bottom = _bounds(sprite.crop(part))
    moved = (corner[0] + left, corner[1] + top)
    return sprite.crop(part).crop((left, top, right, bottom)), moved


def _poster(sheet: Sheet, plan: Plan, box: tuple[int, int, int, int], laid: Sequence[Laid]) -> bool:
    """Lays a poster behind a box, unless it would hide others."""
    margin = round(0.12 * max(box[2] - box[0], box[3] - box[1]))
    x1, y1 = max(box[0] - margin, 1), max(box[1] - margin, 1)
    x2, y2 = min(box[2] + margin, sheet.size - 1), min(box[3] + margin, sheet.size - 1)
    cover = Image.new("L", (x2 - x1, y2 - y1), 255)
    shape = np.asarray(cover) >= 128
    if not _spares(sheet, shape, (x1, y1), laid, 0.8):
        return False
    sheet.shadow(cover, (x1, y1))
    sheet.lay(poster(*cover.size, plan.own), cover, (x1, y1))
    sheet.owner[y1:y2, x1:x2] = PROP
    return True


def _darken(sheet: Sheet, box: tuple[int, int, int, int]) -> None:
    """The night around a thing: a soft dark patch on what lies behind it."""
    margin = 0.35 * max(box[2] - box[0], box[3] - box[1])
    cover, draw, full = sheet.stencil()
    scale = full / sheet.size
    x1, y1, x2, y2 = box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin
    draw.ellipse((x1 * scale, y1 * scale, x2 * scale, y2 * scale), fill=120)
    soft = cover.reduce(8).filter(ImageFilter.BoxBlur(margin / 8)).resize((sheet.size, sheet.size))
    sheet.lay(NIGHT, soft)


def _hide(sheet: Sheet, plan: Plan, thing: Laid, laid: Sequence[Laid]) -> None:
    """Lays a prop over a thing, at the first of a few tries which leaves enough of everything visible."""
    own, size = plan.own, sheet.size
    colour = sheet.light.on(vary(_PROPS[own.integers(len(_PROPS))], own))
    x1, y1 = max(thing.box[0] - 3, 0), max(thing.box[1] - 3, 0)
    x2, y2 = min(thing.box[2] + 3, size), min(thing.box[3] + 3, size)
    for _ in range(8):
        cover = prop_cover(x2 - x1, y2 - y1, own)
        shape = np.asarray(cover) >= 128
        if _spares(sheet, shape, (x1, y1), laid, MIN_VISIBLE):
            sheet.shadow(cover, (x1, y1))
            sheet.lay(colour, cover, (x1, y1))
            sheet.owner[y1:y2, x1:x2][shape] = PROP
            return


def _spares(sheet: Sheet, shape: Mask, at: Corner, laid: Sequence[Laid], least: float) -> bool:
    """Whether at least that share of every thing stays visible under a new shape."""
    hidden = sheet.owner[at[1] : at[1] + shape.shape[0], at[0] : at[0] + shape.shape[1]][shape]
    for mark, thing in enumerate(laid, start=FIRST):
        lost = np.count_nonzero(hidden == mark)
        if lost and np.count_nonzero(sheet.owner == mark) - lost < least * thing.area:
            return False
    return True
