"""Draws docs/pictures/causes.webp: four classes of Papercut, ordinary and with every cause of difficulty alone.

python -m docs.pictures.causes [--out FILE]
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.data.papercut.causes import Cause
from training.data.papercut.ground import lay_indoors, lay_outdoors
from training.data.papercut.laying import lay_thing
from training.data.papercut.palette import LIGHTS
from training.data.papercut.placement import Plan
from training.data.papercut.sheet import Sheet
from training.data.papercut.things import SHAPES

CLASSES = ("person", "car", "cat", "clock")
TILE, HEAD, SIDE = 176, 30, 64  # pixels
COLUMNS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("causes.webp"), help="image to write")
    columns: list[Cause | None] = [None, *Cause]
    bands = [columns[start : start + COLUMNS] for start in range(0, len(columns), COLUMNS)]
    band = HEAD + TILE * len(CLASSES)
    page = Image.new("RGB", (TILE * COLUMNS, band * len(bands)), "white")
    font, draw = ImageFont.load_default(16), ImageDraw.Draw(page)
    for top, causes in enumerate(bands):
        for column, cause in enumerate(causes):
            x, y = column * TILE, top * band
            draw.text((x + TILE / 2, y + HEAD / 2), cause or "ordinary", "black", font, anchor="mm")
            for row, label in enumerate(CLASSES):
                page.paste(tile(label, cause, seed=row), (x, y + HEAD + row * TILE))
    page.save(parser.parse_args().out, quality=90, method=6)


def tile(label: str, cause: Cause | None, seed: int) -> Image.Image:
    """A scene with one thing in its middle."""
    rng = np.random.default_rng(seed)
    sheet = Sheet(TILE * 2, LIGHTS[seed % 2], rng)
    if label == "clock":
        lay_indoors(sheet, ("wall-other", "floor-wood"), 0.8)
    else:
        lay_outdoors(sheet, ("sky-other", "hill", ("grass", "road", "sand")[seed]), 0.5)
    aspect = SHAPES[label].aspect
    area = 0.55 if cause is Cause.SIZE else 0.24
    height = min((area / aspect) ** 0.5, 0.84, 0.84 / aspect)
    causes = frozenset(() if cause is None else (cause,))
    plan = Plan(label, height * aspect, height, 0.5, 0.52, causes, own=np.random.default_rng((seed, 5)))
    assert lay_thing(sheet, plan, []) is not None
    return sheet.image.resize((TILE, TILE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
