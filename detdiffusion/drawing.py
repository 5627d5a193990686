"""Boxes on images, grids and crops. Every function returns a new image and leaves its input unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil

from PIL import Image, ImageDraw, ImageFont

from detdiffusion.core.files import text_hash
from detdiffusion.detection import Detections
from detdiffusion.errors import LayoutError
from detdiffusion.layout import Attribute, Layout

Colour = tuple[int, int, int]

ATTRIBUTE_COLOURS: dict[Attribute | None, Colour] = {
    Attribute.EASY: (46, 125, 90),
    Attribute.HARD: (200, 80, 50),
    Attribute.BACKGROUND: (110, 116, 130),
    None: (70, 90, 160),
}
_INK = (255, 255, 255)
_PAPER = (250, 248, 244)


def draw_detections(image: Image.Image, detections: Detections, min_score: float) -> Image.Image:
    """The picture with every detection of `min_score` or more: box, class and score; the surest lies on top."""
    shown = detections.at_least(min_score)
    canvas = image.convert("RGB")
    for label, score, box in reversed(list(zip(shown.labels, shown.scores, shown.boxes_xyxy.tolist(), strict=True))):
        _draw_box(canvas, tuple(box), f"{label} {score:.2f}", class_colour(label))
    return canvas


def draw_layout(image: Image.Image, layout: Layout) -> Image.Image:
    """The picture with the layout's boxes, coloured by attribute; background objects without their names."""
    canvas = image.convert("RGB")
    for box in sorted(layout.boxes, key=lambda box: (box.attribute is not Attribute.BACKGROUND, -box.area)):
        text = "" if box.attribute is Attribute.BACKGROUND else box.label
        _draw_box(canvas, box.xyxy, text, ATTRIBUTE_COLOURS[box.attribute])
    return canvas


def grid(images: Sequence[Image.Image], columns: int, gap: int = 4) -> Image.Image:
    """Pictures in rows, each cell as large as the largest of them. LayoutError without pictures."""
    if not images or columns < 1:
        raise LayoutError(f"a grid needs images and columns, got {len(images)} and {columns}")
    width, height = max(image.width for image in images), max(image.height for image in images)
    rows = ceil(len(images) / columns)
    columns = min(columns, len(images))
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), _PAPER)
    for i, image in enumerate(images):
        sheet.paste(image.convert("RGB"), (i % columns * (width + gap), i // columns * (height + gap)))
    return sheet


def crop(image: Image.Image, box_xyxy: tuple[float, float, float, float], margin: float = 0.1) -> Image.Image:
    """The part of a picture inside a box (fractions), with a margin in fractions of the box, at least one pixel."""
    x1, y1, x2, y2 = box_xyxy
    dx, dy = (x2 - x1) * margin, (y2 - y1) * margin
    left, top = int(max(x1 - dx, 0) * image.width), int(max(y1 - dy, 0) * image.height)
    right, bottom = ceil(min(x2 + dx, 1) * image.width), ceil(min(y2 + dy, 1) * image.height)
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def class_colour(label: str) -> Colour:
    """A colour of its own for each class name, dark enough for white letters."""
    hue = int(text_hash(label)[:4], 16) % 360
    red, green, blue = Image.new("HSV", (1, 1), (hue * 255 // 360, 165, 185)).convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    return red, green, blue


def _draw_box(canvas: Image.Image, box_xyxy: tuple[float, ...], text: str, colour: Colour) -> None:
    draw = ImageDraw.Draw(canvas)
    side = min(canvas.size)
    x1, y1, x2, y2 = (value * size for value, size in zip(box_xyxy, (*canvas.size, *canvas.size), strict=True))
    corners = (x1, y1, max(x2 - 1, x1), max(y2 - 1, y1))
    draw.rectangle(corners, outline=colour, width=max(round(side / 180), 1))
    if not text:
        return
    font = _font(max(round(side / 24), 9))
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 3
    x = min(max(x1, 0), max(canvas.width - width, 0))
    y = y1 - height if y1 >= height else y1
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 2 - left, y + 1 - top), text, fill=_INK, font=font)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
