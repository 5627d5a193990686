"""python -m training evaluate --detector-guidance: what it draws, against what, and how honest it is."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detdiffusion.attributes import Strategy
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.errors import ConfigError, DetectorError
from detdiffusion.image_record import read_image
from detdiffusion.text.vocabulary import Vocabulary
from training.data.papercut.classes import STUFF, THINGS
from training.evaluation import command
from training.evaluation.guidance import as_jpeg, plain_of
from training.evaluation.variants import Variant, variants_of

BOTH = [Strategy.EASY, Strategy.HARD]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory, build_world_model: Callable[..., Path]) -> Path:
    words = Vocabulary(things=THINGS, stuff=STUFF, grid=(8, 8), attribute_words=())
    return build_world_model(tmp_path_factory.mktemp("baselines") / "geodiffusion" / "model", words)


def ask(model: Path, out: Path, *words: str) -> dict[str, Any]:
    """Runs the command on two scenes and reads its report."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    few = ["--model", str(model), "--layouts", "papercut:2@900000", "--batch", "2", "--out", str(out)]
    assert command.run(parser.parse_args([*few, *words])) == 0
    report: dict[str, Any] = json.loads(out.read_text())
    return report


def test_guided_variants_stand_beside_those_of_the_words() -> None:
    words = variants_of(BOTH, [1.0], one_hard=False, attributes=True, detector_guidance=1.0)
    assert [one.slug for one in words] == ["easy", "hard", "difficulty-1", "easy-detector-1", "hard-detector-1"]
    assert words[-1].name == "hard, detector guidance 1"
    bare = variants_of([*Strategy], [], one_hard=False, attributes=False, detector_guidance=0.5)
    assert [one.slug for one in bare] == ["origin", "easy-detector-0.5", "hard-detector-0.5"]
    hard = Variant("hard", detector_guidance=1.0)
    assert plain_of(hard, words) == Variant("hard") and plain_of(hard, bare) == Variant("origin")
    assert plain_of(hard, [hard]) is None


def test_a_jpeg_file_takes_fine_noise_away() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    kept = np.asarray(as_jpeg(Image.fromarray(pixels)), float)
    assert kept.shape == pixels.shape and 1 < np.abs(kept - pixels).mean() < 60
    flat = Image.new("RGB", (64, 64), (200, 40, 10))
    assert np.abs(np.asarray(as_jpeg(flat), float) - np.asarray(flat, float)).max() <= 3


@pytest.mark.long
@pytest.mark.model
def test_the_report_says_what_guidance_did(tmp_path: Path) -> None:
    """Of a model without words, by the first of two detectors; images say how they were made; rows what was asked."""
    detectors = ",".join(str(BUNDLED_MODEL / "detectors" / name) for name in ("bundled", "judge"))
    words = ("--detector", detectors, "--strategies", "easy,hard", "--detector-guidance", "1", "--steps", "8")
    report = ask(BUNDLED_MODEL.with_name("papercut-geodiffusion"), tmp_path / "r.json", *words)
    system, names = report["systems"][0], [one["name"] for one in report["detectors"]]
    assert [view["name"] for view in system["views"]] == [
        "origin",
        "easy, detector guidance 1",
        "hard, detector guidance 1",
    ]
    assert "guided" not in system["views"][0]
    for view in system["views"][1:]:
        led = view["guided"]
        assert (led["strength"], led["by"], led["compared_with"]) == (1.0, names[0], "origin")
        assert list(led["drop"]) == list(led["recall_kept"]) == names
        before = system["views"][0]["scores"][names[0]]["mean_confidence"]
        assert led["drop"][names[0]]["mean"] == pytest.approx(
            before - view["scores"][names[0]]["mean_confidence"], abs=1e-5
        )
        assert 0 < led["high_frequency"]["mean"] < 1
    easy, hard = (view["guided"] for view in system["views"][1:])
    assert hard["drop"][names[0]]["mean"] > 0.15 > easy["drop"][names[0]]["mean"]
    assert hard["drop_after_jpeg"]["mean"] > 0.1 and hard["recall_kept"][names[1]]["mean"] > 0.7
    work = tmp_path / "r.work" / system["name"] / "hard-detector-1"
    kept = read_image(next(work.rglob("*.png")))
    assert kept.sampling is not None and (kept.sampling.detector_guidance, kept.detector) == (1.0, names[0])
    rows = [json.loads(line) for line in (tmp_path / "r.work" / "objects.jsonl").read_text().splitlines()]
    asked = {row["attribute"]: row["asked"] for row in rows if row["view"] == "hard, detector guidance 1"}
    assert asked["background"] == "background" and {asked[key] for key in asked if key != "background"} == {"hard"}


def test_what_cannot_guide_is_refused_before_anything_is_drawn(
    baseline: Path, world_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind:
        name, sha256, labels, min_score = "blind", "1" * 64, ("person", "car"), 0.5

        def detect(self, images: Any) -> Any:
            raise NotImplementedError

    monkeypatch.setattr("training.evaluation.inputs.load_detector", lambda *_, **__: Blind())
    with pytest.raises(DetectorError, match="blind cannot guide images"):
        ask(world_model, tmp_path / "r.json", "--detector", "bundled", "--detector-guidance", "1")
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="need a detector that looks at images"):
        ask(baseline, tmp_path / "r.json", "--detector", str(tmp_path / "x.json"), "--detector-guidance", "1")
