"""Sizes of canvases that a model can draw: sides are multiples of what its U-Net halves, areas near its own."""

import math

SHAPES = (("Square", 1.0), ("4 : 3", 4 / 3), ("3 : 4", 3 / 4), ("16 : 9", 16 / 9), ("9 : 16", 9 / 16))
RATIO_WEIGHT = 3.0  # how much more a wrong ratio counts than a wrong area, both as logarithms


def nearest_size(ratio: float, native: tuple[int, int], multiple: int) -> tuple[int, int]:
    """(width, height) in pixels whose ratio width / height is near this one, and whose area is near the model's own.

    Args:
        native: (height, width) that the model was trained for.
        multiple: of which both sides need to be one.
    """
    height, width = native
    if ratio == width / height:
        return width, height
    sides = range(multiple, 2 * max(native) + 1, multiple)

    def off(size: tuple[int, int]) -> float:
        wide, high = size
        return RATIO_WEIGHT * abs(math.log(wide / high / ratio)) + abs(math.log(wide * high / (width * height)))

    return min(((wide, high) for wide in sides for high in sides), key=off)


def proposed_sizes(native: tuple[int, int], multiple: int) -> list[tuple[str, int, int]]:
    """Name, width and height for the menu of the canvas; shapes that come out alike once."""
    named = {nearest_size(ratio, native, multiple): name for name, ratio in reversed(SHAPES)}
    return [(name, *size) for size, name in reversed(named.items())]
