"""How fine a change is: waves of known length."""

import math

import numpy as np
import pytest
from PIL import Image

from detdiffusion.evaluation.frequency import high_frequency_share


def waves(*lengths: int, size: int = 64) -> Image.Image:
    """Grey, with a wave to the right of each length in pixels."""
    x = np.arange(size)
    rows = 128 + sum(20 * np.cos(2 * np.pi * x / length) for length in lengths) if lengths else np.full(size, 128.0)
    return Image.fromarray(np.repeat(np.tile(rows.round().astype(np.uint8), (size, 1))[..., None], 3, axis=2))


@pytest.mark.parametrize(("lengths", "share"), [((64,), 0.0), ((16,), 0.0), ((8,), 1.0), ((2,), 1.0), ((32, 4), 0.5)])
def test_waves_shorter_than_two_cells_are_fine(lengths: tuple[int, ...], share: float) -> None:
    assert high_frequency_share(waves(*lengths), waves(), 8) == pytest.approx(share, abs=0.02)
    assert high_frequency_share(waves(*lengths).rotate(90), waves(), 8) == pytest.approx(share, abs=0.02)


def test_of_no_change_there_is_no_share() -> None:
    assert math.isnan(high_frequency_share(waves(4), waves(4), 8))
