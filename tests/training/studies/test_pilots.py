"""Pilots in miniature: each learns for its time, is drawn in every way asked for, and has its row in the table."""

import argparse
import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.errors import ConfigError, DataError
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.cause_classifier import CauseClassifier, CauseConfig
from detdiffusion.sampling_config import SamplingConfig
from training.__main__ import main
from training.data.layout_sources import PapercutLayouts
from training.data.papercut.classes import STUFF, THINGS
from training.generator.batch import SampleStore
from training.generator.config import TRAIN_PRESETS, GeneratorConfig
from training.studies import pilots
from training.studies.pilot_scores import told_by
from training.studies.pilot_table import PilotTable
from training.studies.pilots import PilotPlan, read_pilots, run_pilots, seconds_a_step, slug, ways_of

CPU = torch.device("cpu")
PRESET = TRAIN_PRESETS["papercut-cpu"]
WAYS = (SamplingConfig(0, 1, 3.0), SamplingConfig(0, 2, 1.0, sampler="ddpm"))


def fields(config: GeneratorConfig, **changes: Any) -> dict[str, Any]:
    """What differs from the preset, as a file of pilots has it."""
    preset, values = PRESET.to_json(), config.to_json() | {"sample_steps": 0}
    return {name: value for name, value in values.items() if value != preset[name]} | changes


@pytest.fixture
def samples(make_store: Callable[..., SampleStore], tmp_path: Path) -> Path:
    """As `bundle --until attributes` leaves them."""
    run = tmp_path / "samples"
    make_store(run / "attributes")
    for ours, folder in (("bundled", "detector"), ("judge", "judge")):
        shutil.copytree(BUNDLED_MODEL / "detectors" / ours, run / folder / "model")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        SmallAutoencoder((8, 8, 8), (1, 1, 1), 4).save_pretrained(run / "autoencoder" / "model")
        config = CauseConfig((*THINGS, *STUFF), {"colour": "unusual colour", "blur": "blurred"}, widths=(8, 8, 8, 8))
        CauseClassifier(config, config.network()).save(tmp_path / "causes")
    return run


@pytest.mark.long
@pytest.mark.model
def test_in_pieces_to_a_table(
    tiny: GeneratorConfig, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    file, out = tmp_path / "pilots.json", tmp_path / "out"
    plain = {"attributes": False, "head": None, "loss": {**tiny.to_json()["loss"], "perception_weight": 0.0}}
    file.write_text(json.dumps({"geo": fields(tiny, **plain), "muon": fields(tiny, optimizer="muon")}))
    words = ["--samples", samples, "--pilots", file, "--minutes", "0.004", "--layouts", "papercut:2@900000"]
    words += ["--out", out, "--sampling", ":1:3,ddpm:2:1", "--causes", tmp_path / "causes"]
    asked = ["pilots", *map(str, words)]
    assert main([*asked, "--most", "1"]) == 0
    assert "pilots left: 1; the same command goes on" in capsys.readouterr().err
    first = PilotTable.from_json(json.loads((out / "pilots.json").read_text()))
    assert [(row.name, row.sampler) for row in first.rows] == [("geo", ""), ("geo", "ddpm")]
    monkeypatch.setattr(pilots, "seconds_a_step", lambda *_: 0.024)
    assert main(asked) == 0
    table = PilotTable.from_json(json.loads((out / "pilots.json").read_text()))
    assert table.rows[:2] == first.rows, "a result stays"
    assert [row.name for row in table.rows[::2]] == ["geo", "muon"]
    geo, muon = table.rows[::2]
    assert (muon.pace.seconds_a_step, muon.pace.steps, muon.pace.images) == (0.024, 10, 40)
    kept = json.loads((out / "muon" / "config.json").read_text())
    assert kept["config"]["optimizer"] == "muon" and kept["samples"] == 6
    assert len((out / "muon" / "metrics.jsonl").read_text().splitlines()) == 10
    assert not (out / "muon" / "checkpoints").exists()
    assert muon.hard is not None and len(muon.easy.detectors) == 2 and muon.easy.detail > 0
    assert muon.real is not None and muon.hard.told is not None and not math.isnan(muon.drop + muon.mask_iou)
    assert geo.hard is None and math.isnan(geo.drop) and math.isnan(geo.mask_iou) and geo.parameters < muon.parameters
    page = (out / "pilots.md").read_text()
    assert "| muon | own, 1 steps, guidance 3 |" in page and "| geo | ddpm, 2 steps, guidance 1 |" in page
    assert "* **muon**: `unet=" in page and len({line.count("|") for line in page.splitlines() if line[:1] == "|"}) == 1
    with pytest.raises(ConfigError, match=r"minutes was 0\.004, is 1"):
        run_pilots(PilotPlan(1, PapercutLayouts(2, 900_000), WAYS), (), out, CPU)


@pytest.mark.model
def test_a_pilot_has_the_steps_that_it_began_with(
    tiny: GeneratorConfig, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pilots.json").write_text(json.dumps({"one": fields(tiny)}))
    asked = read_pilots(tmp_path / "pilots.json", samples)
    plan = PilotPlan(0.01, PapercutLayouts(2, 900_000), WAYS[:1])
    monkeypatch.setattr("training.generator.bundle.learn", stop)
    for seconds in (0.1, 0.2):
        monkeypatch.setattr(pilots, "seconds_a_step", lambda *_, found=seconds: found)
        with pytest.raises(KeyboardInterrupt, match="6 steps, 0 of them warm up, a checkpoint after 1"):
            run_pilots(plan, asked, tmp_path / "out", CPU)
    other = dataclasses.replace(asked[0], config=dataclasses.replace(asked[0].config, seed=1))
    with pytest.raises(ConfigError, match=r"config\.seed was 0, is 1"):
        run_pilots(plan, [other], tmp_path / "out", CPU)


def stop(config: GeneratorConfig, *_: Any) -> None:
    raise KeyboardInterrupt(
        f"{config.steps} steps, {config.warmup_steps} of them warm up, a checkpoint after {config.checkpoint_steps}"
    )


@pytest.mark.slow
def test_steps_are_timed_on_a_model_that_is_thrown_away(tiny: GeneratorConfig, store: SampleStore) -> None:
    autoencoder = SmallAutoencoder((8, 8, 8), (1, 1, 1), 4)
    assert 0 < seconds_a_step(tiny, autoencoder, store, CPU) < 10


def test_what_a_file_of_pilots_says(tmp_path: Path) -> None:
    path = tmp_path / "pilots.yaml"
    path.write_text("a:\n  batch: 32\nb:\n  preset: papercut-gpu\n  samples: other\n")
    one, other = read_pilots(path, Path("run"))
    assert (one.name, one.samples, one.config) == ("a", Path("run"), dataclasses.replace(PRESET, batch=32))
    assert (other.samples, other.config) == (Path("other"), TRAIN_PRESETS["papercut-gpu"])
    assert (one.changes, other.changes) == ({"batch": 32}, {"preset": "papercut-gpu", "samples": "other"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 3", "a needs to be the name of a folder, with fields and their values under it"),
        ("../a: {}", "a needs to be the name of a folder"),
        ("a: {preset: cpu}", "a names the preset cpu; known: fine-tune, papercut-cpu"),
        ("a: {bach: 3}", "a: bach: there is no such field; did you mean batch"),
    ],
)
def test_what_is_wrong_in_a_file_of_pilots_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pilots.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_pilots(tmp_path / "pilots.yaml", tmp_path)


def test_ways_of_drawing() -> None:
    assert ways_of(":20:3,ddpm:40:1") == (SamplingConfig(0, 20, 3.0), SamplingConfig(0, 40, 1.0, sampler="ddpm"))
    assert [slug(way) for way in ways_of(":20:3,dpm++:40:1.5")] == ["own-20-3", "dpm++-40-1.5"]
    for text in ("", "ddpm", "magic:20:3", "ddpm:0:3", "ddpm:20:x", "ddpm:20:3:4"):
        with pytest.raises(argparse.ArgumentTypeError):
            ways_of(text)


def test_many_causes_are_told_from_their_average() -> None:
    modes = np.repeat(np.eye(4), 3, axis=0) * 0.9
    average = np.full((12, 4), 0.3)
    assert (told_by(modes).sure, told_by(modes).variety) == (1, pytest.approx(4))
    assert told_by(average).sure == 0 and math.isnan(told_by(average).variety)
    half = told_by(np.concatenate([modes[:3], average[:3]]))
    assert (half.sure, half.variety) == (0.5, pytest.approx(1))
    assert math.isnan(told_by(np.zeros((0, 4))).sure)


def test_a_damaged_result_is_named(tiny: GeneratorConfig, tmp_path: Path) -> None:
    pilot = pilots.Pilot("a", {}, tmp_path, tiny)
    path = tmp_path / "a" / "own-1-3" / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(DataError, match=r"result\.json"):
        pilots.tabulate(PilotPlan(1, PapercutLayouts(2, 900_000), WAYS[:1]), [pilot], tmp_path)
