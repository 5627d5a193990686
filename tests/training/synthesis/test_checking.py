"""`generate --check`: hard objects stay if anybody finds them; false labels and copies are refused, with the reason."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detdiffusion.detection import Detections
from detdiffusion.layout import Attribute, Box, Layout
from training.data.datasets import open_dataset
from training.data.papercut.coco_export import write_dataset
from training.synthesis.checking import Checker, Originals, Reason, faults, read_originals
from training.synthesis.refinement import ObjectStatus

EASY, HARD, BACKGROUND = Attribute
LEFT, RIGHT = (0.0, 0.0, 0.4, 1.0), (0.6, 0.0, 1.0, 1.0)
NOTHING = Detections((), np.zeros(0), np.zeros((0, 4)))
IMAGE = Image.new("RGB", (20, 20))
GONE, DETECTOR, SECOND, UNCHECKED = (
    ObjectStatus.GONE,
    ObjectStatus.DETECTOR,
    ObjectStatus.SECOND,
    ObjectStatus.UNCHECKED,
)


class Eyes:
    """A detector whose features are the mean colour."""

    name, sha256, labels, min_score = "eyes", "3" * 64, ("car", "cup"), 0.5

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        raise NotImplementedError

    def features(self, images: Sequence[Image.Image]) -> Any:
        return np.stack([np.asarray(image).mean(axis=(0, 1)) for image in images])


def seen(*rows: tuple[str, float, tuple[float, ...]]) -> Detections:
    labels, scores, boxes = zip(*rows, strict=True)
    return Detections(labels, np.array(scores), np.array(boxes))


def layout(*objects: tuple[str, tuple[float, float, float, float], Attribute]) -> Layout:
    return Layout(20, 20, tuple(Box(*one) for one in objects))


def check(asked: Layout, before: list[ObjectStatus], second: Detections, own: Detections = NOTHING) -> Any:
    statuses, refusals = Checker(Eyes()).check(IMAGE, asked, before, (second, own))
    return statuses, [one["reason"] for one in refusals]


@pytest.mark.parametrize(
    ("attribute", "score", "status"), [(EASY, 0.6, SECOND), (EASY, 0.3, GONE), (HARD, 0.3, SECOND), (HARD, 0.05, GONE)]
)
def test_an_object_stays_if_anybody_finds_it(attribute: Attribute, score: float, status: ObjectStatus) -> None:
    """An easy one has to be seen, a hard one suspected."""
    asked = layout(("car", LEFT, attribute), ("cup", RIGHT, EASY))
    statuses, reasons = check(asked, [GONE, DETECTOR], seen(("car", score, LEFT)))
    assert statuses == [status, DETECTOR] and reasons == []


def test_what_others_found_stays_what_it_is() -> None:
    asked = layout(("car", LEFT, EASY), ("grass", RIGHT, BACKGROUND))
    assert check(asked, [DETECTOR, UNCHECKED], NOTHING) == ([DETECTOR, UNCHECKED], [])


def test_a_thing_of_another_class_is_no_thing_to_learn_from() -> None:
    asked = layout(("car", LEFT, EASY), ("car", RIGHT, EASY))
    wrong = seen(("cup", 0.9, LEFT))
    assert check(asked, [GONE, DETECTOR], wrong) == ([GONE, DETECTOR], [Reason.WRONG_CLASS])
    assert check(asked, [DETECTOR, DETECTOR], wrong)[1] == [], "the first detector sees the car"
    assert check(asked, [GONE, DETECTOR], seen(("cup", 0.6, LEFT)))[1] == [], "it is not sure"


def test_an_object_behind_another_one_that_was_asked_for_is_hidden_not_wrong() -> None:
    asked = layout(("car", LEFT, EASY), ("cup", LEFT, EASY), ("car", RIGHT, EASY))
    statuses, reasons = check(asked, [GONE, DETECTOR, DETECTOR], seen(("cup", 0.9, LEFT)))
    assert statuses[0] is GONE and reasons == []


def test_a_thing_without_a_label_is_seen_once_by_both() -> None:
    asked = layout(("car", LEFT, EASY))
    extra = seen(("cup", 0.9, RIGHT))
    assert check(asked, [DETECTOR], extra, extra)[1] == [Reason.EXTRA]
    assert check(asked, [DETECTOR], NOTHING, extra)[1] == [Reason.EXTRA]
    assert check(asked, [DETECTOR], seen(("cup", 0.7, RIGHT)))[1] == [], "it is not sure"
    assert check(asked, [DETECTOR], seen(("cup", 0.9, (0.2, 0.0, 0.6, 1.0))))[1] == [], "it lies on the car"


def test_an_image_of_which_most_is_absent_is_refused() -> None:
    asked = layout(("car", LEFT, EASY), ("cup", RIGHT, EASY), ("grass", LEFT, BACKGROUND))
    assert check(asked, [GONE, GONE, UNCHECKED], NOTHING)[1] == [Reason.ABSENT]
    assert check(asked, [GONE, DETECTOR, UNCHECKED], NOTHING)[1] == []
    assert check(layout(("grass", LEFT, BACKGROUND)), [UNCHECKED], NOTHING)[1] == []


def test_the_best_of_several_has_least_faults() -> None:
    assert faults([GONE, DETECTOR], [{"reason": Reason.EXTRA}]) == 2 and faults([DETECTOR], []) == 0


def test_a_copy_is_refused_and_its_original_shown(tmp_path: Path, at_home: None) -> None:
    write_dataset(tmp_path / "data", range(8), size=32)
    dataset = open_dataset(tmp_path / "data")
    originals = read_originals(dataset, Eyes(), tmp_path / "kept" / "originals.npz")
    assert originals.near > 0 and len(originals.files) == 8
    checker, asked = Checker(Eyes(), originals), layout(("car", LEFT, EASY))
    copied = dataset[3].load_image()
    _, (refusal,) = checker.check(copied, asked, [DETECTOR], (NOTHING, NOTHING))
    assert refusal["reason"] is Reason.COPY and refusal["nearest"] == "images/000003.png" and refusal["distance"] == 0
    assert checker.check(Image.new("RGB", (32, 32), (255, 0, 255)), asked, [DETECTOR], (NOTHING, NOTHING))[1] == []
    again = read_originals(dataset, None, tmp_path / "kept" / "originals.npz")  # type: ignore[arg-type]  # is not asked
    assert (again.features == originals.features).all()
    (tmp_path / "kept" / "originals.npz").write_bytes(b"PK")
    anew = read_originals(dataset, Eyes(), tmp_path / "kept" / "originals.npz")
    assert (anew.features == originals.features).all(), "what is damaged is made again"


def test_a_copy_is_nearer_than_originals_are_to_each_other() -> None:
    features = np.random.default_rng(0).normal(size=(300, 16))
    originals = Originals.of([str(number) for number in range(300)], features)
    refused = sum(originals.nearest(row)[1] < originals.near for row in np.random.default_rng(1).normal(size=(300, 16)))
    assert refused <= 12, "others are refused as rarely as originals are near to each other"
    nearest, distance = originals.nearest(features[7] + 0.001)
    assert nearest == "7" and distance < originals.near
