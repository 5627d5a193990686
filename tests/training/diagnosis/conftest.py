"""Data without images, and detections in which a weakness is planted, from a seed."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detdiffusion.detection import Detections
from detdiffusion.layout import Box, Layout
from training.data.datasets import LazyMasks, MaskSource, Sample
from training.diagnosis.evidence import Evidence, gather

LABELS = ("car", "bird", "cup", "boat", "cat")
SIDE = 200  # pixels of an image
Weak = Callable[[Box, tuple[Box, ...]], bool]  # an object and all of its image -> whether it is of the weak slice


class Data(list[Sample]):
    """What `gather` needs of a data set."""

    root, things, stuff, mask_source = Path("data"), LABELS, ("grass",), MaskSource.BOXES


def some_layout(rng: np.random.Generator) -> Layout:
    boxes = [Box("grass", (0.0, 0.5, 1.0, 1.0))] if rng.random() < 0.5 else []
    for _ in range(rng.integers(2, 6)):
        width, height = (math.exp(value) for value in rng.uniform(math.log(0.08), math.log(0.4), 2))
        x, y = rng.uniform(0.01, 0.99 - width), rng.uniform(0.01, 0.99 - height)
        boxes.append(Box(str(rng.choice(LABELS)), (x, y, x + width, y + height)))
    return Layout(SIDE, SIDE, tuple(boxes))


def looked(rng: np.random.Generator, layout: Layout, weak: Weak | None, found: float, weakly: float) -> Detections:
    """Most objects are found, `weakly` those of the weak slice; and now and then something that is not there."""
    labels, scores, boxes = ["cat"], [float(rng.uniform(0.01, 0.6))], [(0.0, 0.0, 0.05, 0.05)]
    things = tuple(box for box in layout.boxes if box.label in LABELS)
    for box in things:
        if rng.random() < (weakly if weak is not None and weak(box, things) else found):
            labels.append(box.label)
            scores.append(float(rng.uniform(0.5, 1)))
            boxes.append(box.xyxy)
    return Detections(tuple(labels), np.array(scores), np.array(boxes))


def simulate(
    seed: int,
    weak: Weak | None = None,
    *,
    images: int = 400,
    found: float = 0.85,
    weakly: float = 0.2,
    alike: float = 0.0,
) -> Evidence:
    """alike: spread of an image's own chance that its objects are found; 0: images are like each other."""
    rng = np.random.default_rng(seed)
    data, seen = Data(), []
    for number in range(images):
        layout = some_layout(rng)
        data.append(Sample(str(number), Path(f"data/{number}.png"), layout, LazyMasks(layout, (None,) * 9)))
        chance = float(np.clip(found + rng.normal(0, alike), 0, 1)) if alike else found
        seen.append(looked(rng, layout, weak, chance, weakly))
    return gather(data, iter(seen), LABELS, lambda *_: None)  # type: ignore[arg-type]  # it is enough of a data set


@pytest.fixture(scope="session")
def simulated() -> Callable[..., Evidence]:
    return simulate
