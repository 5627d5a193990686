"""The probe: a grid and a row at intervals, rows of a killed run go, a model without attributes draws origin only."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detdiffusion.detection import Detections
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.text.vocabulary import Vocabulary
from training.generator.batch import SampleStore
from training.generator.config import GeneratorConfig
from training.generator.probe import Probe, knows_any

CPU = torch.device("cpu")
STRATEGIES = ("origin", "easy", "hard")


class Believer:
    """Finds a car in the left upper part of every picture, and nothing else."""

    name, min_score, labels, sha256 = "believer", 0.5, ("car",), "b" * 64

    def __init__(self) -> None:
        self.seen: list[Image.Image] = []

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        self.seen += images
        box = np.array([[0.1, 0.1, 0.6, 0.6]], np.float32)
        return [Detections(("car",), np.array([0.75], np.float32), box) for _ in images]


@pytest.fixture
def pipe(make_model: Callable[..., DetDiffusionPipeline]) -> DetDiffusionPipeline:
    return make_model()


@pytest.fixture
def config(tiny: GeneratorConfig) -> GeneratorConfig:
    return dataclasses.replace(tiny, sample_layouts=3, sampler_steps=1)


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "probe.jsonl").read_text().splitlines()]


def test_layouts_are_spread_over_the_data(
    pipe: DetDiffusionPipeline, store: SampleStore, config: GeneratorConfig, tmp_path: Path
) -> None:
    probe = Probe.of(pipe, store, config, None, tmp_path, 0)
    assert probe.layouts == tuple(store.layouts[i] for i in (0, 2, 4))
    assert Probe.of(pipe, store, dataclasses.replace(config, sample_layouts=99), None, tmp_path, 0).layouts == (
        store.layouts
    )


def test_a_grid_and_a_row(
    pipe: DetDiffusionPipeline, store: SampleStore, config: GeneratorConfig, tmp_path: Path
) -> None:
    detector = Believer()
    probe = Probe.of(pipe, store, config, detector, tmp_path, 0)
    probe(4)
    probe(8)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["step-00000004.png", "step-00000008.png"]
    first, second = (Image.open(tmp_path / "samples" / f"step-0000000{step}.png") for step in (4, 8))
    assert first.width >= 3 * 64 and first.height >= 3 * 64, "rows origin, easy, hard; a column for each layout"
    assert first.tobytes() == second.tobytes(), "the same weights, layouts and noise"
    rows = read(tmp_path)
    assert [row["step"] for row in rows] == [4, 8]
    names = {f"{kind}_{strategy}" for kind in ("recall", "confidence") for strategy in STRATEGIES}
    assert set(rows[0]) == {"step", *names}
    for strategy in STRATEGIES:  # every car is where it is believed to be, cats are unknown to it
        assert (rows[0][f"recall_{strategy}"], rows[0][f"confidence_{strategy}"]) == (1.0, 0.75)
    assert {kept.size for kept in detector.seen} <= {(64, 64)} and len(detector.seen) == 2 * 3 * 3


def test_the_weights_are_as_they_were(
    pipe: DetDiffusionPipeline, store: SampleStore, config: GeneratorConfig, tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in pipe.unet.state_dict().items()}
    Probe.of(pipe, store, config, None, tmp_path, 0)(4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in pipe.unet.state_dict().items())
    assert not (tmp_path / "probe.jsonl").exists(), "without a detector there is no row"


@pytest.mark.parametrize(("start", "left"), [(0, []), (4, [4]), (5, [4]), (8, [4, 8]), (100, [4, 8])])
def test_rows_behind_the_step_go(
    pipe: DetDiffusionPipeline, store: SampleStore, config: GeneratorConfig, tmp_path: Path, start: int, left: list[int]
) -> None:
    (tmp_path / "probe.jsonl").write_text('{"step": 4, "recall_easy": 0.5}\n{"step": 8, "recall_easy": 0.75}\n')
    Probe.of(pipe, store, config, Believer(), tmp_path, start)
    assert [row["step"] for row in read(tmp_path)] == left


def test_a_step_stands_once(
    pipe: DetDiffusionPipeline, store: SampleStore, config: GeneratorConfig, tmp_path: Path
) -> None:
    """Where the newest checkpoint is damaged, the run goes on from an older one than the probe was told."""
    probe = Probe.of(pipe, store, config, Believer(), tmp_path, 8)
    for step in (4, 8, 4, 8):
        probe(step)
    assert [row["step"] for row in read(tmp_path)] == [4, 8]


def test_a_model_without_attributes_draws_origin_only(
    pipe: DetDiffusionPipeline, store: SampleStore, config: GeneratorConfig, tmp_path: Path
) -> None:
    pipe.vocabulary = Vocabulary(("car", "cat"), ("grass",), config.grid, attribute_words=())
    detector = Believer()
    Probe.of(pipe, store, config, detector, tmp_path, 0)(4)
    assert set(read(tmp_path)[0]) == {"step", "recall_origin", "confidence_origin"}
    assert len(detector.seen) == 3
    grid = Image.open(tmp_path / "samples" / "step-00000004.png")
    assert grid.width > 2 * grid.height, "one row"


def test_what_a_detector_knows() -> None:
    assert knows_any(Believer(), ("cat", "car")) and not knows_any(Believer(), ("cat",))
    assert not knows_any(Believer(), ())
