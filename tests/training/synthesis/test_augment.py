"""Layouts mirrored and shifted: within the picture, always the same for a seed, never empty."""

import pytest

from detdiffusion.errors import ConfigError
from detdiffusion.layout import Attribute, Box, Layout
from training.synthesis.augment import FREE, LEAST_SHARE, MAX_SHIFT, Augmentation, Missed, augmented

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


def test_around_the_edges_nothing_gets_lost() -> None:
    """In sum the boxes cover what they covered, but for parts that are too small to stay."""
    layout, centres, counts = Layout(64, 64, (CAR, EDGE, SKY)), [], set()
    for seed in range(300):
        made = augmented(layout, seed, Augmentation.AROUND)
        assert made == augmented(layout, seed, Augmentation.AROUND)
        for label, whole in (("car", CAR), ("dog", EDGE), ("sky", SKY)):
            parts = [box for box in made.boxes if box.label == label]
            area = sum(box.area for box in parts)
            least = whole.area if label == "sky" else 0.0
            assert least - 1e-9 <= area <= whole.area + 1e-9 and {box.attribute for box in parts} <= {whole.attribute}
            if label == "car" and area > 0.99 * whole.area and len(parts) == 1:
                x1, y1, x2, y2 = parts[0].xyxy
                centres.append(((x1 + x2) / 2, (y1 + y2) / 2))
        counts.add(len(made.boxes))
    for axis in (0, 1):
        assert min(c[axis] for c in centres) < 0.2 and max(c[axis] for c in centres) > 0.8, "everywhere"
    assert len(counts) > 2, "boxes on the edge become two"


def test_what_is_missed_is_added_where_little_is() -> None:
    """Cars are missed every time, dogs in one of four: four fifths of what is added are cars."""
    dogs = [
        Box("dog", (0.0, 0.1 * n, 0.1, 0.1 * n + 0.1), Attribute.HARD if n == 0 else Attribute.EASY) for n in range(4)
    ]
    missed, layout = Missed.of([Layout(64, 64, (CAR, SKY)), Layout(64, 64, tuple(dogs))]), Layout(64, 64, (EDGE, SKY))
    added, counts = [], set()
    for seed in range(300):
        made = missed.add(layout, seed, 3)
        assert made == missed.add(layout, seed, 3) and made.boxes[:2] == layout.boxes
        new = made.boxes[2:]
        counts.add(len(new))
        for place, box in enumerate(new, start=2):
            whole = CAR if box.label == "car" else dogs[0]
            assert box.area == pytest.approx(whole.area) and box.attribute is not Attribute.BACKGROUND
            assert all(shared(box, other) <= FREE * box.area + 1e-9 for other in made.boxes[:place] if other != SKY)
        added += [box.label for box in new]
    assert counts == {1, 2, 3}
    assert added.count("car") / len(added) == pytest.approx(0.8, abs=0.06)
    with pytest.raises(ConfigError, match="misses something"):
        Missed.of([Layout(64, 64, (EDGE,))])


def shared(one: Box, other: Box) -> float:
    (a1, b1, a2, b2), (c1, d1, c2, d2) = one.xyxy, other.xyxy
    return max(0.0, min(a2, c2) - max(a1, c1)) * max(0.0, min(b2, d2) - max(b1, d1))
