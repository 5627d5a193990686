"""Slices: planted weaknesses come first, chance is not named, and what one slice explains is not named twice."""

from collections.abc import Callable

import numpy as np
import pytest

from detdiffusion.layout import Box
from training.diagnosis.axes import Axis, Cuts, axes_of
from training.diagnosis.diagnose import counted_axes
from training.diagnosis.evidence import Evidence
from training.diagnosis.measures import objects_of
from training.diagnosis.slices import (
    Found,
    Objects,
    conditions_of,
    find_slices,
    likeness,
    members,
)

Simulate = Callable[..., Evidence]


def slices_of(evidence: Evidence) -> Found:
    return find_slices(objects_of(evidence, 0.5), counted_axes(evidence, Cuts.of(evidence)))


def left_cars(box: Box, _: tuple[Box, ...]) -> bool:
    return box.label == "car" and box.xyxy[0] + box.xyxy[2] < 2 / 3


def small_birds(box: Box, _: tuple[Box, ...]) -> bool:
    return box.label == "bird" and box.area < 0.022  # a third of these data's boxes


def overlapped_cups(box: Box, others: tuple[Box, ...]) -> bool:
    return box.label == "cup" and any(_covers(other, box) > 0.2 for other in others if other is not box)


def _covers(a: Box, b: Box) -> float:
    width = min(a.xyxy[2], b.xyxy[2]) - max(a.xyxy[0], b.xyxy[0])
    height = min(a.xyxy[3], b.xyxy[3]) - max(a.xyxy[1], b.xyxy[1])
    return max(0.0, width) * max(0.0, height) / b.area


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weak", "bounds"),
    [
        (left_cars, {"class": "car", "x": [0, 1 / 3]}),
        (small_birds, {"class": "bird", "size": None}),
        (overlapped_cups, {"class": "cup", "crowding": [0.2, 1.0]}),
    ],
)
def test_a_planted_weakness_comes_first(simulated: Simulate, weak: object, bounds: dict[str, object]) -> None:
    for seed in range(2):
        evidence = simulated(seed, weak)
        first = slices_of(evidence).named[0]
        assert set(first.bounds) == set(bounds), (seed, first.name)
        assert all(value is None or first.bounds[key] == pytest.approx(value) for key, value in bounds.items())
        assert first.recall < 0.4 and first.ci95[0] <= first.recall <= first.ci95[1] < 0.5
        assert first.gap == pytest.approx(objects_of(evidence, 0.5).recall - first.recall)


@pytest.mark.slow
@pytest.mark.parametrize(
    "alike", [pytest.param(0.0, marks=pytest.mark.long, id="images are alike"), pytest.param(0.15, id="images differ")]
)
def test_chance_is_not_named(simulated: Simulate, alike: float) -> None:
    """20 detectors without a weakness: some hundred slices each, and none is named."""
    found = [slices_of(simulated(100 + seed, images=120, alike=alike)) for seed in range(20)]
    assert min(one.tested for one in found) > 100
    assert [slice_.name for one in found for slice_ in one.named] == []
    # Without the correction there would be something to name: the worst of so many look bad.
    assert sum(one.others[0].ci95[1] < 0.85 for one in found) >= 5


def test_the_whole_and_the_part_of_a_weak_slice_are_explained_by_it(simulated: Simulate) -> None:
    found = slices_of(simulated(1, left_cars, images=800))
    assert [one.name for one in found.named] == ["car, left"]
    explained = {one.name: one.explained_by for one in found.others if one.explained_by}
    assert explained["car"] == "car, left" and set(explained.values()) == {"car, left"}
    assert any(name.startswith("car, ") and ", left" in name for name in explained)  # a part of it


def test_two_weaknesses_are_two_slices(simulated: Simulate) -> None:
    def both(box: Box, others: tuple[Box, ...]) -> bool:
        return left_cars(box, others) or small_birds(box, others)

    names = [one.name for one in slices_of(simulated(2, both, images=800)).named]
    assert sorted(names) == ["bird, small", "car, left"]


@pytest.mark.parametrize(("recall", "named"), [(0.82, []), (0.7, ["cup"])])
def test_a_small_difference_is_no_weakness(recall: float, named: list[str]) -> None:
    """Points that are real with so many objects, and too few to be worth images."""
    codes = np.repeat([0, 1], [8000, 2000])
    found = np.arange(10_000) % 100 < np.where(codes, 100 * recall, 86)
    objects = Objects(np.arange(10_000), found.astype(int), found * 0.9, 10_000)
    axis = Axis("class", ("car", "cup"), ("car", "cup"), codes)
    assert [one.name for one in find_slices(objects, [axis]).named] == named


def test_slices_that_hold_the_same_objects_are_one() -> None:
    """Where all cups are small, "cup, small" says nothing that "cup" does not."""
    codes = np.repeat([0, 1], 50)
    axes = [Axis("class", ("car", "cup"), ("car", "cup"), codes), Axis("size", ("small", "large"), (0, 1), 1 - codes)]
    objects = Objects(np.arange(100), np.repeat([1, 0], 50), np.repeat([0.9, 0.0], 50), 100)
    found = find_slices(objects, axes)
    assert [one.name for one in found.named] == ["cup"] and found.tested == 4


def test_few_objects_or_few_images_say_nothing() -> None:
    axis = Axis("class", ("car", "cup"), ("car", "cup"), np.repeat([0, 1], [60, 30]))
    found = np.repeat([1, 0], [60, 30])
    in_one_image = Objects(np.concatenate([np.arange(60), np.full(30, 60)]), found, found * 0.9, 61)
    assert find_slices(in_one_image, [axis]).tested == 1
    many = Objects(np.arange(90), found, found * 0.9, 90)
    assert [one.name for one in find_slices(many, [axis]).named] == ["cup"]


def test_objects_of_one_image_are_worth_less() -> None:
    image = np.repeat(np.arange(40), 5)
    together = Objects(image, np.repeat(np.arange(40) % 2, 5), np.zeros(200), 40)
    assert likeness(together) == pytest.approx(1)
    rng = np.random.default_rng(0)
    assert likeness(Objects(image, rng.integers(0, 2, 200), np.zeros(200), 40)) < 0.1
    assert likeness(Objects(np.arange(200), rng.integers(0, 2, 200), np.zeros(200), 200)) == 0


def test_bounds_lead_back_to_the_objects(simulated: Simulate) -> None:
    evidence = simulated(1, left_cars)
    cuts = Cuts.of(evidence)
    axes = counted_axes(evidence, cuts)
    one = find_slices(objects_of(evidence, 0.5), axes).named[0]
    conditions = conditions_of(axes, dict(one.bounds))
    assert conditions is not None and members(axes, conditions).sum() == one.count
    assert conditions_of(axes, {"class": "dragon"}) is None
    assert conditions_of(axes, {"mood": "good"}) is None


def test_axes_of_known_boxes(simulated: Simulate) -> None:
    """Every value of an axis at least once, from boxes whose place is plain."""
    evidence = simulated(0, images=120)
    cuts = Cuts.of(evidence)
    axes = {axis.name: axis for axis in axes_of(evidence, cuts)}
    centre = (evidence.box[:, 0] + evidence.box[:, 2]) / 2
    for word, code in zip(axes["x"].words, range(3), strict=True):
        inside = centre[axes["x"].codes == code]
        low, high = axes["x"].bounds[code]
        assert len(inside) and (inside >= low).all() and (inside <= high).all(), word
    thirds = np.bincount(axes["size"].codes[evidence.counted]) / evidence.counted.sum()
    assert thirds == pytest.approx([1 / 3] * 3, abs=0.01)
    assert set(np.unique(axes["crowding"].codes)) == {0, 1, 2}
    assert "occlusion" not in axes  # these data have no masks
