"""All scores of a YOLO detector moved alike."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.detectors import load_detector
from detdiffusion.detectors.folder import Description, save_detector
from detdiffusion.detectors.ultralytics.calibration import centre_scores
from detdiffusion.detectors.ultralytics.library import build, contained
from detdiffusion.errors import DetectorError
from training.data.papercut.scene import scene


def _logits(scores: np.ndarray) -> np.ndarray:
    clear = scores[(scores > 0.05) & (scores < 0.95)].astype(float)
    return np.log(clear / (1 - clear))


@pytest.mark.model
@pytest.mark.parametrize("name", ["bundled", "judge"])
def test_a_score_becomes_a_half_and_nothing_else_changes(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "detector"
    shutil.copytree(BUNDLED_MODEL / "detectors" / name, folder)
    images = [scene(seed, hard_share=0.5).image for seed in range(900_000, 900_004)]
    before, about = load_detector(folder).detect(images), load_detector(folder)
    centre_scores(folder, 0.3)
    after = load_detector(folder)
    assert after.name == about.name and after.min_score == about.min_score and after.sha256 != about.sha256
    moved = 0
    for old, new in zip(before, after.detect(images), strict=True):
        clear = int((old.scores > 0.1).sum())
        assert new.labels[:clear] == old.labels[:clear]
        np.testing.assert_allclose(new.boxes_xyxy[:clear], old.boxes_xyxy[:clear], atol=0.01)
        both = (old.scores[:clear] < 0.9) & (new.scores[:clear] < 0.95)
        by = _logits(new.scores[:clear][both]) - _logits(old.scores[:clear][both])
        np.testing.assert_allclose(by, -np.log(0.3 / 0.7), atol=0.05)
        moved += len(by)
    assert moved > 3


def test_a_detector_without_such_scores_is_refused(tmp_path: Path) -> None:
    with contained():
        model = build("rtdetr-l.yaml", ("cat",))
    save_detector(model, tmp_path, Description("mine", "rtdetr-l.yaml", ("cat",), 64, 0.5, sha256=""))
    with pytest.raises(DetectorError, match="no class scores"):
        centre_scores(tmp_path, 0.3)
