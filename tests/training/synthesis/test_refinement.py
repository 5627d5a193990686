"""Which objects are there: by whom they were found, and that hard ones are not thrown away."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detdiffusion.detection import Detections, mask_coverage
from detdiffusion.layout import Attribute, Box, Layout
from training.synthesis.refinement import COVERED, ObjectStatus, gone, snapped, statuses

HERE, THERE = (0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)
NEAR = (0.02, 0.02, 0.5, 0.5)


class Eyes:
    name, sha256, labels, min_score = "eyes", "2" * 64, ("car", "dog"), 0.5

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        raise NotImplementedError


def seen(score: float, label: str = "car", box: Any = HERE) -> Detections:
    return Detections((label,), np.array([score], np.float32), np.array([box], np.float32))


def mask(share: float) -> Any:
    """Of an object in the upper left quarter, of which the head sees a part."""
    pixels = np.zeros((1, 20, 20), np.float32)
    pixels[0, :10, : round(10 * share)] = 0.9
    return pixels


@pytest.mark.parametrize(
    ("attribute", "score", "shape", "status"),
    [
        (Attribute.EASY, 0.6, None, ObjectStatus.DETECTOR),
        (Attribute.EASY, 0.4, mask(1), ObjectStatus.GONE),
        (Attribute.HARD, 0.6, None, ObjectStatus.DETECTOR),
        (Attribute.HARD, 0.4, None, ObjectStatus.WEAK),
        (Attribute.HARD, 0.05, None, ObjectStatus.GONE),
        (Attribute.HARD, 0.05, mask(0.5), ObjectStatus.MASK),
        (Attribute.HARD, 0.05, mask(0), ObjectStatus.GONE),
        (Attribute.BACKGROUND, 0.05, None, ObjectStatus.UNCHECKED),
    ],
)
def test_by_whom_an_object_is_found(attribute: Attribute, score: float, shape: Any, status: ObjectStatus) -> None:
    assert statuses(Layout(20, 20, (Box("car", HERE, attribute),)), seen(score), Eyes(), shape) == [status]


def test_other_classes_and_places_do_not_count() -> None:
    layout = Layout(20, 20, (Box("car", HERE, Attribute.EASY), Box("kite", THERE, Attribute.EASY)))
    for other in (seen(0.9, "dog"), seen(0.9, box=THERE)):
        assert statuses(layout, other, Eyes(), None) == [ObjectStatus.GONE, ObjectStatus.UNCHECKED]
    assert gone([ObjectStatus.GONE, ObjectStatus.UNCHECKED, ObjectStatus.GONE]) == 2


def test_covered_share() -> None:
    box = Box("car", HERE, Attribute.HARD)
    assert mask_coverage(mask(0.3)[0], box.xyxy) == pytest.approx(0.3) and 0 < COVERED < 0.3


def test_boxes_snap_to_sure_detections() -> None:
    layout = Layout(20, 20, (Box("car", HERE, Attribute.HARD), Box("car", THERE, Attribute.BACKGROUND)))
    (moved, kept) = snapped(layout, seen(0.9, box=NEAR), Eyes())
    assert moved == pytest.approx(NEAR) and kept is None
    for other in (seen(0.4, box=NEAR), seen(0.9, "dog", NEAR), seen(0.9, box=THERE)):
        assert snapped(layout, other, Eyes()) == [None, None]
