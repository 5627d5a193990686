"""python -m training evaluate: its arguments, and a whole report with a tiny model and made-up detectors."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detdiffusion.attributes import Strategy
from detdiffusion.detection import Detections
from detdiffusion.errors import ConfigError
from detdiffusion.evaluation.effect import measure
from detdiffusion.layout import Attribute, Box, Layout
from training import evaluate as command
from training.papercut import STUFF, THINGS, scene

SEEDS = range(900_000, 900_003)


class Oracle:
    """Sees the true boxes of all scenes in every picture, the surer the brighter it is."""

    sha256, labels, min_score = "2" * 64, THINGS, 0.5

    def __init__(self, name: str) -> None:
        self.name = name
        self.boxes = [box for seed in SEEDS for box in scene(seed, size=64).layout.boxes if box.label in THINGS]
        self.seen = 0

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        self.seen += len(images)
        return [self._look(float(np.asarray(image).mean() / 255)) for image in images]

    def _look(self, score: float) -> Detections:
        boxes = np.array([box.xyxy for box in self.boxes], np.float32)
        return Detections(tuple(box.label for box in self.boxes), np.full(len(boxes), score, np.float32), boxes)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("papercut:200@900000", range(900_000, 900_200)), ("papercut:1@0", range(1))],
)
def test_layout_names(text: str, seeds: range) -> None:
    assert command.papercut_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "papercut", "papercut:0@1", "papercut:5", "papercut:5@-1", "coco:5@1", "papercut:5@x"]
)
def test_bad_layout_names(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="papercut:COUNT@FIRST_SEED"):
        command.papercut_seeds(text)


def test_strategy_lists() -> None:
    assert command.strategy_list("hard,origin") == [Strategy.HARD, Strategy.ORIGIN]
    for text in ("", "easy,easy", "odd", "easy,"):
        with pytest.raises(argparse.ArgumentTypeError):
            command.strategy_list(text)


def parse(*words: str | Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_defaults(tmp_path: Path) -> None:
    given = parse("--model", tmp_path, "--layouts", "papercut:2@900000", "--out", tmp_path / "r.json")
    assert (given.strategies, given.detector, given.steps) == (list(Strategy), "bundled", 20)


@pytest.mark.parametrize("words", [["--detector", "other"], ["--steps", "0"], ["--strategies", "odd"]])
def test_bad_arguments(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--model", tmp_path, "--layouts", "papercut:2@900000", "--out", tmp_path / "r.json", *words)
    assert caught.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_report_path_is_checked_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command.check_report_path(tmp_path / "new" / "deep" / "report.json")
    for path in (tmp_path, tmp_path / "file" / "report.json"):
        with pytest.raises(ConfigError):
            command.check_report_path(path)


def test_autoencoder_keeps_a_share_of_the_easy() -> None:
    box = (0.0, 0.0, 0.5, 0.5)
    layouts = [Layout(8, 8, (Box("car", box, Attribute.EASY), Box("car", (0.5, 0.5, 1, 1), Attribute.HARD)))]

    def block(score: float) -> Any:
        found = Detections(("car",), np.array([score], np.float32), np.array([box], np.float32))
        return measure(layouts, [found], Oracle("x"))

    assert command.autoencoder_report(block(0.8), block(0.6))["kept"] == pytest.approx(0.75)
    assert command.autoencoder_report(block(0.0), block(0.6))["kept"] is None


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of random weights that draws 64 pixels and knows the built-in world."""
    from detdiffusion.checkpoint import save_pipeline
    from detdiffusion.models.autoencoder import SmallAutoencoder
    from detdiffusion.pipeline import new_pipeline
    from detdiffusion.vocabulary import Vocabulary

    unet = {"sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
    blocks = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    pipeline = new_pipeline(
        Vocabulary(things=THINGS, stuff=STUFF, grid=(8, 8)),
        unet_config={**unet, **blocks, "attention_head_dim": 2},
        text_config={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        autoencoder=SmallAutoencoder((8, 8, 8), (1, 1, 1), 4),
        scheduler_config={"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
        blueprint_config={},
        head_config=None,
        seed=0,
    )
    folder = tmp_path_factory.mktemp("evaluate") / "tiny"
    save_pipeline(pipeline, folder)
    (folder / "detectors" / "judge").mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", ["bundled", "judge"])
def test_whole_report(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    eyes = {known: Oracle(known) for known in ("bundled", "judge")}
    monkeypatch.setattr(command, "load_detector", lambda which, folder: eyes[which])
    monkeypatch.setattr(command, "BATCH", 2)
    out = tmp_path / "new" / "report.json"
    words = ["--model", model, "--layouts", f"papercut:{len(SEEDS)}@900000", "--strategies", "origin,easy,hard"]
    sheet = out.with_name("sheet.png")
    assert command.run(parse(*words, "--detector", name, "--steps", "1", "--out", out, "--sheet", sheet)) == 0
    report = json.loads(out.read_text())
    for block in (report["real"], *report["strategies"].values()):
        assert {"mAP", "AP50", "AP75", "recall50", "mean_confidence", "by_attribute"} <= set(block)
        assert block["objects"] == report["real"]["objects"]
    assert list(report["strategies"]) == ["origin", "easy", "hard"]
    assert report["detector"] == {"name": name, "sha256": "2" * 64, "min_score": 0.5}
    assert report["attributes_by"]["name"] == "bundled"
    means = {strategy: block["mean_confidence"] for strategy, block in report["strategies"].items()}
    assert report["drop"]["mean"] == pytest.approx(means["easy"] - means["hard"], abs=1e-5)
    assert report["drop"]["ci95"][0] <= report["drop"]["mean"] <= report["drop"]["ci95"][1]
    assert 0 <= report["real"]["hard_share"] <= 1
    assert eyes[name].seen == len(SEEDS) * 5 + (len(SEEDS) if name == "bundled" else 0)
    assert report["judge"]["name"] == "judge" and report["judge"]["hard"]["objects"] == report["real"]["objects"]
    asked, there = report["judge"]["hard"]["recall50"], report["judge"]["real"]["by_attribute"]["hard"]["recall50"]
    assert report["judge"]["hard_found"] == (pytest.approx(asked / there, abs=1e-5) if there else None)
    assert sorted(folder.name for folder in sheet.parent.iterdir()) == ["report.json", "sheet.png"]
    with Image.open(sheet) as picture:
        assert picture.size == ((64 + 4) * len(SEEDS) - 4, (64 + 4) * 4 - 4)


def test_drop_needs_both_strategies(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "load_detector", lambda which, folder: Oracle(which))
    report, _ = command.evaluate(model, range(900_000, 900_001), [Strategy.EASY], steps=1)
    assert report["drop"] is None
    assert list(report["strategies"]) == ["easy"]
