"""Layouts mirrored and shifted: within the picture, always the same for a seed, never empty."""

import pytest

from detdiffusion.layout import Attribute, Box, Layout
from training.augment import LEAST_SHARE, MAX_SHIFT, augmented

CAR = Box("car", (0.4, 0.3, 0.6, 0.5), Attribute.HARD)
SKY = Box("sky", (0.0, 0.0, 1.0, 0.4), Attribute.BACKGROUND)
EDGE = Box("dog", (0.0, 0.5, 0.1, 0.9), Attribute.EASY)


def test_things_move_and_keep_what_they_are() -> None:
    for seed in range(200):
        made = augmented(Layout(64, 64, (CAR, SKY)), seed)
        car, sky = made.boxes
        assert (car.label, car.attribute, sky.xyxy) == ("car", Attribute.HARD, SKY.xyxy)
        assert (car.xyxy[1], car.xyxy[3]) == (0.3, 0.5)
        assert car.xyxy[2] - car.xyxy[0] == pytest.approx(0.2)
        assert abs((car.xyxy[0] + car.xyxy[2]) / 2 - 0.5) <= MAX_SHIFT
        assert made == augmented(Layout(64, 64, (CAR, SKY)), seed)


def test_both_directions_and_mirrors() -> None:
    lefts = [
        augmented(Layout(64, 64, (Box("car", (0.4, 0.3, 0.5, 0.5), Attribute.EASY),)), seed) for seed in range(300)
    ]
    centres = [sum(one.boxes[0].xyxy[::2]) / 2 for one in lefts]
    assert min(centres) < 0.15 and max(centres) > 0.85


def test_little_of_a_thing_is_dropped_but_never_all() -> None:
    counts = set()
    for seed in range(200):
        made = augmented(Layout(64, 64, (EDGE, CAR)), seed)
        counts.add(len(made.boxes))
        for box in made.boxes:
            whole = 0.1 if box.label == "dog" else 0.2
            assert LEAST_SHARE * whole < box.xyxy[2] - box.xyxy[0] <= whole + 1e-9
    assert counts == {1, 2}
    for seed in range(100):
        assert len(augmented(Layout(64, 64, (EDGE,)), seed).boxes) == 1
