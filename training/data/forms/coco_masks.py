"""COCO's masks: checked and packed while data are read, unpacked when they are asked for."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from detdiffusion.layout import MAX_PIXELS
from training.data.images import Mask

MAX_SIDE = 1_000_000  # pixels; no picture side and no coordinate is beyond


def pack(segmentation: object) -> tuple[int | None, int | None, bytes | None]:
    """(width, height, packed) of COCO's polygons, which fit any size, or of its run lengths; three None where there is
    no usable mask. Checked here, once: pycocotools leaves pixels that no run covers to chance."""
    if isinstance(segmentation, list):
        polygons = [polygon for polygon in segmentation if _is_polygon(polygon)]
        return None, None, _squeeze(polygons) if polygons else None
    if not isinstance(segmentation, Mapping):
        return None, None, None
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or len(size) != 2:
        return None, None, None
    height, width = side(size[0]), side(size[1])
    if height is None or width is None or height * width > MAX_PIXELS or _pixels(counts) != height * width:
        return None, None, None
    return width, height, _squeeze({"size": [height, width], "counts": counts})


def side(value: object) -> int | None:
    """A number of pixels, also one that is written as text; None if it is none."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}(\.0*)?\s*", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 < value <= MAX_SIDE and value % 1 == 0 else None


def extent(segmentation: object) -> tuple[float, float, float, float] | None:
    """x, y, width and height of a mask, where it can be decoded."""
    width, height, packed = pack(segmentation)
    if packed is None:
        return None
    if width is not None and height is not None:
        shown = np.argwhere(unpack(packed, width, height))[:, ::-1]
        if not len(shown):
            return None
        (x1, y1), (x2, y2) = shown.min(axis=0).tolist(), (shown.max(axis=0) + 1).tolist()
    else:
        points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in json.loads(zlib.decompress(packed))])
        (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x1, y1, x2 - x1, y2 - y1


def unpack(packed: bytes, width: int, height: int) -> Mask:
    """The mask [height, width] of what `pack` returned."""
    shape = json.loads(zlib.decompress(packed))
    if isinstance(shape, list):
        # Corners far outside would cost memory by their distance and change nothing that is seen.
        low, high = (-width, -height), (2 * width, 2 * height)
        polygons = [np.clip(np.reshape(polygon, (-1, 2)), low, high).ravel().tolist() for polygon in shape]
        runs = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    elif isinstance(shape["counts"], list):
        runs = coco_mask.frPyObjects(shape, height, width)
    else:
        runs = {"size": shape["size"], "counts": shape["counts"].encode("ascii")}
    return np.asarray(coco_mask.decode(runs), dtype=np.bool_)


def _squeeze(shape: object) -> bytes:
    return zlib.compress(json.dumps(shape, separators=(",", ":")).encode(), 1)


def _is_polygon(points: object) -> bool:
    if not isinstance(points, list) or len(points) < 6 or len(points) % 2:
        return False
    return all(type(value) in (int, float) and abs(value) < MAX_SIDE for value in points)


def _pixels(counts: object) -> int | None:
    """How many pixels the run lengths cover; None if they are none."""
    if isinstance(counts, list):
        return sum(counts) if all(type(count) is int and count >= 0 for count in counts) else None
    if not isinstance(counts, str) or not counts.isascii():
        return None
    runs = _run_lengths(counts)
    return None if runs is None or (runs < 0).any() else int(runs.sum())


def _run_lengths(counts: str) -> NDArray[np.int64] | None:
    """COCO's text form: a number is groups of 5 bits, lowest first, a character each (from "0" on); bit 6 says that
    another group follows, the highest bit of the last group is the sign. From the fourth on, a number is the difference
    to the one two places before."""
    codes = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    last = np.flatnonzero((codes & 32) == 0)  # of each number
    if not len(last) or last[-1] != len(codes) - 1 or codes.min() < 0 or codes.max() > 63:
        return None
    first = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    if place.max() > 6:  # 35 bits: no picture has so many pixels
        return None
    runs: NDArray[np.int64] = np.add.reduceat((codes & 31) << (5 * place), first)
    runs -= np.where(codes[last] & 16, 1 << (5 * (place[last] + 1)), 0)
    runs[1::2], runs[2::2] = np.cumsum(runs[1::2]), np.cumsum(runs[2::2])
    return runs
