"""Images as ultralytics trains on them: fitted into a grey square, or stretched to one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

PADDING = 114  # grey level of the library's own letterbox


@dataclass(frozen=True, slots=True)
class Frame:
    """Where an image lies inside its padded square, in pixels."""

    left: int
    top: int
    width: int
    height: int


def letterbox(image: Image.Image, size: int) -> tuple[np.ndarray, Frame]:
    """An image scaled to fit a grey square of `size` pixels, as the library trains: [size, size, 3] uint8 RGB."""
    import cv2

    pixels = np.asarray(image.convert("RGB"))
    scale = size / max(image.size)
    width, height = (max(round(side * scale), 1) for side in image.size)
    frame = Frame((size - width) // 2, (size - height) // 2, width, height)
    if (width, height) != image.size:
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    square = np.full((size, size, 3), PADDING, np.uint8)
    square[frame.top : frame.top + height, frame.left : frame.left + width] = pixels
    return square, frame


def stretch(image: Image.Image, size: int) -> tuple[np.ndarray, Frame]:
    """An image stretched to a square of `size` pixels, as the library trains RT-DETR: [size, size, 3] uint8 RGB."""
    import cv2

    pixels = cv2.resize(np.asarray(image.convert("RGB")), (size, size), interpolation=cv2.INTER_LINEAR)
    return pixels, Frame(0, 0, size, size)
