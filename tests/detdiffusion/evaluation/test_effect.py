"""Blocks of scores and the drop, on detections made by hand."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from detdiffusion.detection import Detections
from detdiffusion.errors import ConfigError
from detdiffusion.evaluation.effect import (
    confidence_drop,
    hard_share,
    measure,
    score_drop,
    size_of,
    things,
    transfer,
)
from detdiffusion.layout import Attribute, Box, Layout

CAR, BUS, ROAD = (0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0), (0.0, 0.5, 1.0, 1.0)


class Eyes:
    """A detector by name only: blocks are measured from detections that exist already."""

    name, sha256, labels, min_score = "eyes", "0" * 64, ("car", "bus"), 0.5

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        raise NotImplementedError


def layouts() -> list[Layout]:
    car, bus = Box("car", CAR, Attribute.EASY), Box("bus", BUS, Attribute.HARD)
    return [Layout(64, 64, (car, bus, Box("road", ROAD, Attribute.BACKGROUND))), Layout(64, 64, (car,))]


def found(*rows: tuple[str, float, tuple[float, float, float, float]]) -> Detections:
    labels, scores, boxes = zip(*rows, strict=True) if rows else ((), (), np.zeros((0, 4)))
    return Detections(labels, np.array(scores, np.float32), np.array(boxes, np.float32))


def test_block_by_hand() -> None:
    block = measure(layouts(), [found(("car", 0.9, CAR), ("bus", 0.3, BUS)), found(("car", 0.6, CAR))], Eyes())
    assert block.objects == 3
    assert block.recall50 == pytest.approx(2 / 3)
    assert block.mean_confidence == pytest.approx(0.6)
    assert pytest.approx(1) == block.precision.AP50
    easy, hard = (block.by_attribute[attribute] for attribute in (Attribute.EASY, Attribute.HARD))
    assert (easy.objects, easy.recall50, easy.mean_confidence) == pytest.approx((2, 1, 0.75))
    assert (hard.objects, hard.recall50, hard.mean_confidence) == pytest.approx((1, 0, 0.3))


def test_a_group_without_objects_has_no_scores() -> None:
    block = measure(layouts()[1:], [found()], Eyes())
    hard = block.by_attribute["hard"]
    assert hard.objects == 0 and math.isnan(hard.recall50) and math.isnan(hard.mean_confidence)
    assert block.mean_confidence == 0


def test_drop_is_object_by_object_over_pictures() -> None:
    easy = measure(layouts(), [found(("car", 0.9, CAR), ("bus", 0.8, BUS)), found(("car", 0.7, CAR))], Eyes())
    hard = measure(layouts(), [found(("car", 0.2, CAR), ("bus", 0.6, BUS)), found(("car", 0.7, CAR))], Eyes())
    drop = confidence_drop(easy, hard)
    assert drop.mean == pytest.approx(0.3, abs=1e-6)
    assert drop.ci95 == pytest.approx((0, 0.45), abs=1e-6)
    with pytest.raises(ConfigError, match="the same layouts"):
        confidence_drop(easy, measure(layouts()[1:], [found()], Eyes()))


def test_score_drop_is_paired() -> None:
    """The bus is lost in the hard pictures: its AP goes, in every draw that has the first picture."""
    easy = measure(layouts(), [found(("car", 0.9, CAR), ("bus", 0.8, BUS)), found(("car", 0.7, CAR))], Eyes())
    hard = measure(layouts(), [found(("car", 0.9, CAR)), found(("car", 0.7, CAR))], Eyes())
    drop = score_drop(easy, hard, "AP50")
    assert drop.mean == pytest.approx(0.5)
    assert drop.ci95 == pytest.approx((0, 0.5))
    assert score_drop(easy, easy, "mAP").ci95 == (0, 0)


@pytest.mark.parametrize(
    ("tagged", "own", "others", "ratio"),
    [
        ([0, 0], 0.55, 0.1, 5.5),  # (0.6 + 0.5) / 2, and the bus beside
        ([1, None], 0.1, 0.6, 0.166667),  # a picture without a tag does not count
        ([None, 0], 0.5, math.nan, math.nan),  # nobody is beside it
    ],
)
def test_transfer(tagged: list[int | None], own: float, others: float, ratio: float) -> None:
    easy = measure(layouts(), [found(("car", 0.9, CAR), ("bus", 0.8, BUS)), found(("car", 0.7, CAR))], Eyes())
    one = measure(layouts(), [found(("car", 0.3, CAR), ("bus", 0.7, BUS)), found(("car", 0.2, CAR))], Eyes())
    moved = transfer(easy, one, tagged)
    found_ = (moved.own.mean, moved.others.mean, moved.ratio)
    assert found_ == pytest.approx((own, others, ratio), abs=1e-5, nan_ok=True)


def test_neighbours_that_lose_nothing_give_no_ratio() -> None:
    block = measure(layouts(), [found(("car", 0.9, CAR)), found()], Eyes())
    assert math.isnan(transfer(block, block, [0, None]).ratio)


@pytest.mark.parametrize(("area", "size"), [(0.0199, "small"), (0.02, "medium"), (0.1, "large"), (1.0, "large")])
def test_sizes(area: float, size: str) -> None:
    assert size_of(area) == size


def test_shares_and_classes() -> None:
    assert hard_share(layouts()) == pytest.approx(1 / 3)
    assert things(layouts()) == {"car", "bus"}
