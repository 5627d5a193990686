"""Lays planned things on the sheet, with their shadows, their troubles and the props that hide them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from training.data.papercut.palette import Colour, Colours, Random, any_colour, mix, vary
from training.data.papercut.pen import OVERSAMPLING, Pen
from training.data.papercut.placement import Plan
from training.data.papercut.sheet import FIRST, PROP, Corner, Mask, Sheet, scaled
from training.data.papercut.things import SHAPES
from training.data.papercut.troubles import Trouble, blurred, deformed, prop_cover, with_glare

MIN_AREA = 0.02  # of the image, for the box of a thing
MIN_VISIBLE = 0.35  # of an object's own pixels

_PROPS: tuple[Colour, ...] = (
    (104, 142, 104), (142, 156, 96), (166, 122, 90), (206, 178, 138), (120, 134, 150), (196, 150, 140),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Laid:
    """A thing on the sheet."""

    label: str
    box: tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels, tight
    area: int  # pixels of its shape when nothing hides it


def _colours(sheet: Sheet, plan: Plan) -> list[Colour]:
    """The colours of a thing in the light of the scene, odd or near the ground's if that is its trouble."""
    rng, palettes = sheet.rng, SHAPES[plan.label].palettes
    colours = [sheet.light.on(vary(c, rng), 0.5) for c in palettes[rng.integers(len(palettes))]]
    if Trouble.COLOUR in plan.troubles:
        colours = [any_colour(rng) for _ in colours]
    if Trouble.BLEND in plan.troubles:
        x, y = (min(round(np.clip(centre, 0.02, 0.98) * sheet.size), sheet.size - 1) for centre in (plan.x, plan.y))
        red, green, blue = sheet.image.crop((x, y, x + 1, y + 1)).tobytes()
        share = rng.uniform(0.2, 0.4) if Trouble.BLUR in plan.troubles else rng.uniform(0.4, 0.65)
        colours = [mix(c, (red, green, blue), share) for c in colours]
    return colours


def _sprite(plan: Plan, size: int, colours: Colours, rng: Random) -> Image.Image:
    """The thing as an RGBA sprite for an image of that size, cut to the tight bounds of its shape."""
    label, troubles = plan.label, plan.troubles
    pen = Pen(max(round(plan.width * size), 8), max(round(plan.height * size), 8))
    SHAPES[label].draw(pen, colours, rng)
    sprite = pen.image
    if rng.uniform() < 0.4 and label not in ("clock", "tv"):
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    lean = rng.normal(0, 2.5)  # degrees
    if Trouble.DEFORM in troubles:
        sprite = deformed(sprite, rng)
    elif abs(lean) > 1.5:
        sprite = sprite.rotate(lean, Image.Resampling.BILINEAR, expand=True)
    sprite = sprite.reduce(OVERSAMPLING)
    if Trouble.GLARE in troubles:
        sprite = with_glare(sprite, rng)
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


def lay_thing(sheet: Sheet, plan: Plan, laid: Sequence[Laid]) -> Laid | None:
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
    if Trouble.BLUR not in troubles:
        sheet.shadow(cover, (x, y), strength=0.35 if Trouble.BLEND in troubles else 1.0)
    opacity = rng.uniform(0.45, 0.65) if Trouble.BLEND in troubles else 1.0
    paper, margin = blurred(sprite, rng) if Trouble.BLUR in troubles else (sprite, 0)
    sheet.lay(paper.convert("RGB"), paper.getchannel("A").point(partial(scaled, opacity)), (x - margin, y - margin))
    sheet.owner[y : y + height, x : x + width][shape] = FIRST + len(laid)
    thing = Laid(plan.label, (x, y, x + width, y + height), int(shape.sum()))
    if Trouble.OCCLUDE in troubles:
        _hide(sheet, thing, [*laid, thing])
    return thing


def _hide(sheet: Sheet, thing: Laid, laid: Sequence[Laid]) -> None:
    """Lays a prop over a thing, at the first of a few tries which leaves enough of everything visible."""
    rng, size = sheet.rng, sheet.size
    colour = sheet.light.on(vary(_PROPS[rng.integers(len(_PROPS))], rng))
    x1, y1 = max(thing.box[0] - 3, 0), max(thing.box[1] - 3, 0)
    x2, y2 = min(thing.box[2] + 3, size), min(thing.box[3] + 3, size)
    for _ in range(4):
        cover = prop_cover(x2 - x1, y2 - y1, rng)
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
