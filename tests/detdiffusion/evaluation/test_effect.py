"""Blocks of scores and the drop, on detections made by hand."""

from collections.abc import Sequence
from typing import Any

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
    said = block.to_json()
    assert {name: said.pop(name) for name in ("by_attribute", "by_class", "by_size")} == {
        "by_attribute": {"easy": group(2, 1.0, 0.75), "hard": group(1, 0.0, 0.3)},
        "by_class": {"bus": group(1, 0.0, 0.3), "car": group(2, 1.0, 0.75)},
        "by_size": {"small": group(0, None, None), "medium": group(0, None, None), "large": group(3, 0.666667, 0.6)},
    }
    precisions = {"mAP": 1.0, "AP50": 1.0, "AP75": 1.0, "APs": 1.0, "APm": 1.0, "APl": None}
    intervals = {"AP50_ci95": [1.0, 1.0], "mAP_ci95": [1.0, 1.0], "recall50_ci95": [0.5, 1.0]}
    intervals["mean_confidence_ci95"] = [0.6, 0.6]  # the second picture's car is as sure as the first one's mean
    assert said == {**precisions, "recall50": 0.666667, "mean_confidence": 0.6, "objects": 3, **intervals}


def group(objects: int, recall: float | None, confidence: float | None) -> dict[str, Any]:
    return {"objects": objects, "recall50": recall, "mean_confidence": confidence}


def test_group_without_objects_is_null_in_json() -> None:
    block = measure(layouts()[1:], [found()], Eyes())
    assert block.to_json()["by_attribute"]["hard"] == {"objects": 0, "recall50": None, "mean_confidence": None}
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
        ([None, 0], 0.5, None, None),  # nobody is beside it
    ],
)
def test_transfer(tagged: list[int | None], own: float, others: float | None, ratio: float | None) -> None:
    easy = measure(layouts(), [found(("car", 0.9, CAR), ("bus", 0.8, BUS)), found(("car", 0.7, CAR))], Eyes())
    one = measure(layouts(), [found(("car", 0.3, CAR), ("bus", 0.7, BUS)), found(("car", 0.2, CAR))], Eyes())
    said = transfer(easy, one, tagged).to_json()
    assert (said["own"]["mean"], said["others"]["mean"], said["ratio"]) == pytest.approx((own, others, ratio), abs=1e-5)


def test_neighbours_that_lose_nothing_give_no_ratio() -> None:
    block = measure(layouts(), [found(("car", 0.9, CAR)), found()], Eyes())
    assert transfer(block, block, [0, None]).to_json()["ratio"] is None


@pytest.mark.parametrize(("area", "size"), [(0.0199, "small"), (0.02, "medium"), (0.1, "large"), (1.0, "large")])
def test_sizes(area: float, size: str) -> None:
    assert size_of(area) == size


def test_shares_and_classes() -> None:
    assert hard_share(layouts()) == pytest.approx(1 / 3)
    assert things(layouts()) == {"car", "bus"}
