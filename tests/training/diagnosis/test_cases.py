"""Which images show a slice or an error: as many as the diagnosis counts, in the order that is asked for."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detdiffusion.detection import iou
from detdiffusion.evaluation.tide import ErrorType
from detdiffusion.layout import Attribute, Box
from training.diagnosis.axes import Cuts
from training.diagnosis.cases import SIDE, Cases, as_found, drawn
from training.diagnosis.diagnose import counted_axes
from training.diagnosis.evidence import Evidence
from training.diagnosis.slices import objects_in


def is_car(box: Box, _: tuple[Box, ...]) -> bool:
    return box.label == "car"


@pytest.fixture(scope="module")
def evidence(simulated: Callable[..., Evidence]) -> Evidence:
    return simulated(3, is_car, images=60)


def test_a_slice_has_its_objects(evidence: Evidence) -> None:
    axes = counted_axes(evidence, Cuts.of(evidence))
    places = objects_in(axes, evidence.counted, {"class": "car", "x": [0.0, 1 / 3]})
    assert len(places)
    for place in places:
        x1, _, x2, _ = evidence.box[place].tolist()
        assert evidence.labels[evidence.label[place]] == "car" and (x1 + x2) / 2 < 1 / 3
    assert len(objects_in(axes, evidence.counted, {"class": "dragon"})) == 0
    assert len(objects_in(axes, evidence.counted, {"height": [0, 1]})) == 0


def test_images_are_ranked_by_their_first_case(evidence: Evidence) -> None:
    cases = Cases.of_objects(evidence, np.flatnonzero(evidence.counted))
    least, most = (cases.ranked(cases.confidence, lowest=lowest) for lowest in (True, False))
    images = set(cases.image.tolist())
    for order, best in ((least, min), (most, max)):
        assert len(order) == len(images) and {*cases.image[order].tolist()} == images, "each image once"
        for case in order:
            own = cases.confidence[cases.image == cases.image[case]]
            assert cases.confidence[case] == best(own.tolist())
    assert (np.diff(cases.confidence[least]) >= 0).all() and (np.diff(cases.confidence[most]) <= 0).all()


@pytest.mark.parametrize("kind", list(ErrorType))
def test_an_error_has_as_many_cases_as_are_counted(evidence: Evidence, kind: ErrorType) -> None:
    found: Any = SimpleNamespace(error_score=evidence.errors().best_score())  # of a diagnosis
    cases = Cases.of_error(found, evidence, kind)
    assert found.error_score > 0 and len(cases.image) == evidence.errors().count(kind, found.error_score)
    if kind is ErrorType.BACKGROUND:
        assert len(cases.image) and (cases.overlap <= 0.1).all() and (cases.confidence > 0).all()
    for image, box, overlap in list(zip(cases.image, cases.box, cases.overlap, strict=True))[:20]:
        if kind is not ErrorType.MISSED:
            objects = evidence.box[(evidence.image == image) & evidence.counted]
            assert overlap == pytest.approx(iou(box[None], objects).max(initial=0.0))


def test_a_layout_says_what_was_found(evidence: Evidence) -> None:
    found = as_found(evidence, 0, 0.5)
    at = evidence.image == 0
    confidence = np.where(evidence.counted[at], evidence.confidence[at], np.nan)
    assert len(found.boxes) == at.sum() and (found.width, found.height) == tuple(evidence.sizes[0])
    for box, value in zip(found.boxes, confidence.tolist(), strict=True):
        easy = Attribute.EASY if value >= 0.5 else Attribute.HARD
        assert box.attribute is (Attribute.BACKGROUND if np.isnan(value) else easy)


def test_an_image_is_drawn_with_what_was_found_and_missed(evidence: Evidence) -> None:
    plain = Image.new("RGB", (200, 100))
    small = drawn(evidence, 0, plain, 0.5)
    assert small.size == (SIDE, SIDE // 2)
    colours = {colour for _, colour in small.getcolors(100_000) or []}
    tags = {box.attribute for box in as_found(evidence, 0, 0.5, counted=True).boxes}
    assert ((200, 80, 50) in colours) == (Attribute.HARD in tags)
    assert ((46, 125, 90) in colours) == (Attribute.EASY in tags)
