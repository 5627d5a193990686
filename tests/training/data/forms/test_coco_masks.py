"""COCO's polygons and run lengths, packed for the index: they come out as pycocotools has them, or are refused."""

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from training.data.forms.coco_masks import pack, unpack

WIDTH, HEIGHT = 40, 20


def runs(mask: np.ndarray) -> dict[str, object]:
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(code["size"]), "counts": code["counts"].decode("ascii")}


def lists(mask: np.ndarray) -> dict[str, object]:
    """Run lengths as a plain list, counted here."""
    flat = mask.ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *edges, len(flat)]).tolist()
    return {"size": list(mask.shape), "counts": [0, *lengths] if flat[0] else lengths}


@pytest.mark.parametrize("form", [runs, lists])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 1.0])
def test_run_lengths_are_unpacked_as_they_were(form: Any, share: float) -> None:
    rng = np.random.default_rng(3)
    for height, width in ((HEIGHT, WIDTH), (1, 1), (3, 500), (400, 300)):
        mask = rng.random((height, width)) < share
        stated_width, stated_height, packed = pack(form(mask))
        assert (stated_width, stated_height) == (width, height)
        assert packed is not None and np.array_equal(unpack(packed, width, height), mask)


@pytest.mark.parametrize(
    "polygons",
    [
        [[4, 4, 24, 4, 24, 14]],
        [[1.5, 1.5, 9.25, 1.5, 9.25, 8], [20, 3, 30, 3, 30, 15, 20, 15]],
        [[-5, -5, 60, -5, 60, 40, -5, 40]],
    ],
)
def test_polygons_are_filled_as_pycocotools_fills_them(polygons: list[list[float]]) -> None:
    *_, packed = pack(polygons)
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, HEIGHT, WIDTH)))
    assert packed is not None and np.array_equal(unpack(packed, WIDTH, HEIGHT), expected)


UNUSABLE: list[object] = [
    None,
    [],
    "text",
    7,
    [[1, 2, 3, 4]],
    [[1, 2, 3, 4, 5, 6, 7]],
    [[1, 2, 3, 4, 5, float("nan")]],
    [[1, 2, 3, 4, 5, "6"]],
    [[1, 2, 3, 4, 5, 1e12]],
    {"size": [HEIGHT, WIDTH]},
    {"size": [HEIGHT, WIDTH], "counts": ""},
    {"size": [HEIGHT, WIDTH], "counts": "zzzz"},
    {"size": [HEIGHT, WIDTH], "counts": "\x01"},
    {"size": [HEIGHT, WIDTH], "counts": "é"},
    {"size": [HEIGHT, WIDTH], "counts": [10, 10]},
    {"size": [HEIGHT, WIDTH], "counts": [-1, 801]},
    {"size": [HEIGHT, WIDTH], "counts": [799.0, 1.0]},
    {"size": [0, WIDTH], "counts": [0]},
    {"size": [10**6, 10**6], "counts": [10**12]},
]


@pytest.mark.parametrize("segmentation", UNUSABLE)
def test_a_mask_that_is_none_is_known_at_once(segmentation: object) -> None:
    """pycocotools decodes run lengths that cover too little into whatever the memory held."""
    assert pack(segmentation) == (None, None, None)


def test_a_corner_far_outside_costs_nothing() -> None:
    *_, packed = pack([[5, 5, 900_000, 5, 900_000, 15, 5, 15]])
    assert packed is not None and unpack(packed, WIDTH, HEIGHT)[5:15, 5:].all()
