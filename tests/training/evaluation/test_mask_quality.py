"""Masks that a perception head finds against Papercut's own."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from training.core.chunks import Chunks
from training.data.layout_sources import PapercutLayouts
from training.evaluation import mask_quality
from training.evaluation.mask_quality import mask_iou, save_masks
from training.evaluation.store import Detected, SeenImages

SIZE = (64, 64)
SOURCE = PapercutLayouts(3, 900_000)


@pytest.fixture
def real(tmp_path: Path) -> SeenImages:
    chunks = SeenImages(Chunks(tmp_path, "real", len(SOURCE), 2))

    def look(chunk: range) -> Detected:
        samples = [SOURCE.sample(place, SIZE) for place in chunk]
        return Detected([image for image, _ in samples], {}, [layout for _, layout in samples])

    chunks.fill(look, lambda path, image, _: image.save(path, format="PNG"), lambda *_: None)
    return chunks


def test_true_masks_are_perfect_and_empty_ones_nothing(real: SeenImages, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = real.layouts()
    places = {layout.boxes: place for place, layout in enumerate(layouts)}

    def truth(_: Any, __: Any, asked: Any) -> list[np.ndarray]:
        return [SOURCE.masks(places[layout.boxes], SIZE).astype(np.float32) for layout in asked]

    def nothing(*words: Any) -> list[np.ndarray]:
        return [np.zeros_like(masks) for masks in truth(*words)]

    pipe = cast(Any, None)
    monkeypatch.setattr(mask_quality, "object_masks", truth)
    best = mask_iou(pipe, SOURCE, real, layouts)
    assert (best.mean, best.ci95) == (1.0, (1.0, 1.0))
    monkeypatch.setattr(mask_quality, "object_masks", nothing)
    assert mask_iou(pipe, SOURCE, real, layouts).mean == 0


def test_painted_masks_are_kept(real: SeenImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_quality, "object_masks", lambda _, images, __: [np.ones((1, 64, 64), np.float32)] * 2)
    save_masks(cast(Any, None), real.load(range(2)), real.layouts()[:2], tmp_path / "masks")
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["00000.png", "00001.png"]
