"""Shares of causes by hand, and none where there is no classifier."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from detdiffusion.attributes import Strategy
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.models.cause_classifier import CauseClassifier, CauseConfig
from training.data.layout_sources import FileLayouts, PapercutLayouts
from training.evaluation.causes import CauseCounter
from training.evaluation.report import CauseShares
from training.evaluation.store import SeenImages
from training.evaluation.variants import Variant

CAUSES = {"colour": "unusual colour", "blur": "blurred"}
EASY, HARD, BACKGROUND = Attribute
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
LAYOUTS = [
    Layout(8, 8, (Box("car", LEFT, HARD), Box("cat", RIGHT, EASY), Box("road", LEFT, BACKGROUND))),
    Layout(8, 8, (Box("car", LEFT, HARD), Box("tram", RIGHT, HARD))),  # the classifier does not know trams
]


class Reader:
    """Red tells how likely an unusual colour is, green a blur, blue none; the same for every object."""

    config = CauseConfig(("car", "cat"), CAUSES)

    def probabilities(self, image: Image.Image, layout: Layout) -> np.ndarray:
        red, green, blue = np.asarray(image)[0, 0] / 255
        known = [box.label in self.config.classes for box in layout.boxes]
        return np.array([[blue, red, green] if yes else [np.nan] * 3 for yes in known], np.float32)


def images(*colours: tuple[int, int, int]) -> SeenImages:
    class Seen:
        def __iter__(self) -> Iterator[range]:
            return iter([range(1), range(1, 2)])

        def load(self, numbers: range) -> list[Image.Image]:
            return [Image.new("RGB", (8, 8), colours[number]) for number in numbers]

    return cast(SeenImages, Seen())


def counter(layouts: Sequence[Layout] = LAYOUTS) -> CauseCounter:
    return CauseCounter(cast(CauseClassifier, Reader()), "a" * 64, layouts)


def means(found: CauseShares) -> tuple[int, dict[str, float]]:
    return found.objects, {name: share.mean for name, share in found.shares.items()}


def test_shares_by_hand() -> None:
    real, drawn = images((200, 0, 0), (0, 200, 200)), images((200, 200, 0), (0, 100, 200))
    source = cast(FileLayouts, SimpleNamespace())
    report = counter().report(source, (8, 8), real, {Variant("origin"): drawn, Variant("hard"): drawn})
    assert report.truth is None and report.words == CAUSES and report.real is not None
    assert means(report.real["hard"]) == (2, {"none": 0.0, "colour": 0.5, "blur": 0.5})
    assert means(report.real["easy"]) == (1, {"none": 0.0, "colour": 1.0, "blur": 0.0})
    assert means(report.views["origin"]["hard"]) == (2, {"none": 0.5, "colour": 0.5, "blur": 0.5})
    objects, shares = means(report.views["hard"]["hard"])
    assert objects == 3 and shares == pytest.approx({"none": 1 / 3, "colour": 2 / 3, "blur": 2 / 3})
    low, high = report.views["hard"]["hard"].shares["blur"].ci95
    assert (low, high) == (0.0, 1.0), "either image may be drawn alone"
    assert means(report.views["hard"]["easy"])[0] == 0
    assert np.isnan(report.views["hard"]["easy"].shares["blur"].mean)
    assert report.views["hard"]["hard"].common == ["colour", "blur"]
    assert report.views["hard"]["easy"].common == []


def test_the_world_says_what_is_true() -> None:
    causes = [(frozenset({"blur"}), frozenset(), frozenset()), (frozenset(), frozenset({"colour"}))]

    class Scenes(PapercutLayouts):
        def scene(self, place: int, size: Any) -> Any:
            return SimpleNamespace(causes=causes[place])

    report = counter().report(Scenes(2, 0), (8, 8), images((0, 0, 0), (0, 0, 0)), {})
    assert report.truth is not None
    assert means(report.truth["hard"]) == (2, {"none": 0.5, "colour": 0.0, "blur": 0.5})
    assert means(report.truth["easy"]) == (1, {"none": 1.0, "colour": 0.0, "blur": 0.0})


def test_layouts_without_images() -> None:
    source = cast(FileLayouts, SimpleNamespace())
    drawn = {Variant(Strategy.HARD): images((200, 0, 0), (200, 0, 0))}
    report = counter().report(source, (8, 8), None, drawn)
    assert report.truth is None and report.real is None
    assert report.views["hard"]["hard"].common == ["colour"]


def test_a_model_without_a_classifier(tmp_path: Path) -> None:
    assert CauseCounter.of(tmp_path, LAYOUTS) is None
