"""The student that ships beside the bundled model: small, its teacher's, and able to do in two steps what it is for."""

from pathlib import Path

import numpy as np
import pytest

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.core.parts import part_folder
from detdiffusion.detectors import BUNDLED, load_detector
from detdiffusion.diffusion.manifest import read_teacher, weights_hash
from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.evaluation.comparison import object_confidences
from detdiffusion.sampling_config import Recommended
from training.data.layout_sources import papercut_layouts

pytestmark = pytest.mark.model

MODELS = Path(__file__).resolve().parents[2] / "assets/models"
FAST, FULL = MODELS / "papercut-fast", MODELS / "papercut"


def test_it_shares_all_but_its_unet_with_its_teacher() -> None:
    assert {path.name for path in FAST.iterdir() if path.is_dir()} == {"layouts", "scheduler", "unet"}
    assert all(part_folder(FAST, part) == FULL / part for part in ("vae", "text_encoder", "detectors", "causes"))
    teacher = read_teacher(FAST)
    assert teacher is not None and teacher.sha256 == weights_hash(FULL)


def test_two_steps_are_enough_to_be_found_and_to_be_missed() -> None:
    """Of unseen layouts; on 200 it is 95 of 100 easy things, and a loss of 0.68 (model card)."""
    pipe, detector = load_pipeline(FAST), load_detector(BUNDLED, FULL)
    assert pipe.recommended == Recommended(2, 1.0, fewest_steps=2, most_steps=2)
    source = papercut_layouts("papercut:8@960000")
    layouts = [pipe.vocabulary.resolve(source.layout(place, pipe.native_size)) for place in range(len(source))]
    found = {}
    for strategy in (Strategy.EASY, Strategy.HARD):
        asked = [apply_strategy(layout, strategy) for layout in layouts]
        seen = detector.detect(pipe(asked, seeds=range(len(asked))).images)
        each = [object_confidences(layout, one) for layout, one in zip(asked, seen, strict=True)]
        found[strategy] = np.concatenate(each)
    easy, hard = (found[strategy][~np.isnan(found[strategy])] for strategy in found)
    assert len(easy) >= 15 and float((easy >= 0.5).mean()) >= 0.8
    assert float((easy - hard).mean()) >= 0.4
