"""A model's own detectors by name: the held-out one has a folder that version 0.1 named otherwise."""

from pathlib import Path

import pytest

from detdiffusion.detectors import BUNDLED, HELD_OUT, detector_path, load_detector, own_detectors
from detdiffusion.errors import DetectorError


def test_held_out_and_its_old_name_are_one(tmp_path: Path) -> None:
    old = tmp_path / "detectors" / "judge"
    old.mkdir(parents=True)
    assert detector_path("held-out", tmp_path) == detector_path("judge", tmp_path) == str(old)
    assert own_detectors(tmp_path) == [HELD_OUT]
    new = tmp_path / "detectors" / "held-out"
    new.mkdir()
    assert detector_path("held-out", tmp_path) == str(new) and detector_path("judge", tmp_path) == str(old)
    (tmp_path / "detectors" / "bundled").mkdir()
    assert own_detectors(tmp_path) == [BUNDLED, HELD_OUT]


@pytest.mark.model
def test_both_names_load_what_ships() -> None:
    from detdiffusion.core.assets import BUNDLED_MODEL

    assert load_detector("held-out", BUNDLED_MODEL).sha256 == load_detector("judge", BUNDLED_MODEL).sha256


def test_a_model_without_one(tmp_path: Path) -> None:
    assert own_detectors(tmp_path) == []
    with pytest.raises(DetectorError, match="held-out"):
        detector_path("held-out", tmp_path)
