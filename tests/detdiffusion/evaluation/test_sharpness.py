"""Sharpness: a constant has none, blur takes it, and only what is inside the boxes of things counts."""

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from detdiffusion.evaluation.sharpness import gradient, laplacian, luminance, sharpness
from detdiffusion.layout import Attribute, Box, Layout

THING = Box("cup", (0.25, 0.25, 0.75, 0.75), Attribute.EASY)
STUFF = Box("floor", (0.0, 0.0, 1.0, 1.0), Attribute.BACKGROUND)


def noise(side: int = 32, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def layout(*boxes: Box) -> Layout:
    return Layout(32, 32, boxes)


@pytest.mark.parametrize(
    ("plane", "expected"),
    [
        ([[0, 0, 0], [0, 1, 0], [0, 0, 0]], [[0, 2, 0], [2, 4, 2], [0, 2, 0]]),  # beyond an edge lies what is within
        ([[0, 1, 2, 3]], [[2, 0, 0, 2]]),  # a slope has none, but for its ends
        ([[0.5]], [[0]]),
    ],
)
def test_laplacian(plane: list[list[float]], expected: list[list[float]]) -> None:
    assert laplacian(np.array(plane, float)) == pytest.approx(np.array(expected, float))


def test_gradient_and_luminance() -> None:
    assert gradient(np.array([[0.0, 0.3], [0.4, 0.0]])).tolist() == pytest.approx(np.array([[0.5, 0.3], [0.4, 0.0]]))
    colours = Image.fromarray(np.array([[[255, 255, 255], [0, 255, 0], [0, 0, 0]]], np.uint8))
    assert luminance(colours) == pytest.approx(np.array([[1, 0.587, 0]]))


def test_a_constant_has_none_and_blur_takes_it() -> None:
    flat = sharpness(Image.new("RGB", (32, 32), (90, 20, 200)), layout(THING))
    assert (flat.laplacian, flat.gradient) == pytest.approx((0, 0), abs=1e-12)
    crisp, soft = (sharpness(image, layout(THING)) for image in (noise(), noise().filter(ImageFilter.GaussianBlur(1))))
    assert 0 < soft.laplacian < crisp.laplacian / 4 and 0 < soft.gradient < crisp.gradient / 2
    assert soft.laplacian / crisp.laplacian < soft.gradient / crisp.gradient


def test_only_the_pixels_inside_things_count() -> None:
    image = noise()
    other = noise(seed=1)
    other.paste(image.crop((8, 8, 24, 24)), (8, 8))
    assert sharpness(other, layout(THING)) == sharpness(image, layout(THING)) == sharpness(image, layout(THING, STUFF))
    other.putpixel((8, 8), (0, 0, 0))
    assert sharpness(other, layout(THING)) != sharpness(image, layout(THING))
    assert math.isnan(sharpness(image, layout(STUFF)).laplacian)


def test_a_box_counts_as_much_as_its_area() -> None:
    image = Image.new("RGB", (32, 32))
    image.paste(noise().crop((0, 0, 8, 8)), (0, 0))
    small, large = Box("cup", (0, 0, 0.25, 0.25), Attribute.EASY), Box("cup", (0.5, 0, 1.0, 1.0), Attribute.HARD)
    alone, both = sharpness(image, layout(small)), sharpness(image, layout(small, large))
    assert both.laplacian == pytest.approx(alone.laplacian * 64 / (64 + 16 * 32))
