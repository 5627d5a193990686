"""The ablation in miniature: every row is trained and scored, in pieces, and the table is what the results say."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from detdiffusion.core.arguments import seed_list
from detdiffusion.core.files import claim
from detdiffusion.errors import ConfigError
from training.__main__ import main
from training.data.papercut.classes import HELD_OUT_SEED
from training.generator.config import GeneratorConfig, SampleConfig
from training.report.study_tables import SeedEstimate, percent
from training.studies import ablation
from training.studies.ablation import (
    ROWS,
    result_path,
    summarise,
    train_all,
    variant_config,
)
from training.studies.config import ABLATIONS, AblationConfig

CPU = torch.device("cpu")
FEW = (ROWS[0], ROWS[-1])  # with everything, and with nothing


@pytest.fixture
def config(tiny: GeneratorConfig) -> AblationConfig:
    generator = dataclasses.replace(tiny, steps=2, batch=2, micro_batch=2)
    return AblationConfig(generator, SampleConfig(scenes=4, chunk=4), layouts=2, sampler_steps=1)


def test_every_row_leaves_out_what_it_says() -> None:
    whole = ABLATIONS["small"].generator
    made = {row.name: variant_config(whole, row, 3) for row in ROWS}
    assert made["full"] == dataclasses.replace(whole, seed=3)
    assert not made["without sqrt(alpha_bar)"].loss.use_alpha_bar and not made["without dice"].loss.use_dice
    assert made["without perception loss"].head is None and made["without perception loss"].attributes
    assert made["without blueprint"].blueprint is None and made["without blueprint"].head is not None
    assert not made["without attributes"].attributes and made["without attributes"].head is not None
    none = made["GeoDiffusion (none of them)"]
    assert none.head is None and none.blueprint is None and not none.attributes
    assert len(set(map(str, made.values()))) == len(ROWS)
    assert {(one.steps, one.batch, one.seed) for one in made.values()} == {(whole.steps, whole.batch, 3)}


@pytest.mark.long
@pytest.mark.model
def test_in_pieces_to_a_table(config: AblationConfig, tmp_path: Path) -> None:
    full, geodiffusion = FEW
    assert train_all(config, [0, 1], tmp_path, CPU, most=1, rows=FEW) == 3
    first = result_path(tmp_path, full, 0)
    assert first.exists() and not result_path(tmp_path, geodiffusion, 0).exists()
    assert not (first.parent / "checkpoints").exists() and (first.parent / "model" / "manifest.json").exists()
    written = first.stat().st_mtime_ns
    assert train_all(config, [0, 1], tmp_path, CPU, rows=FEW) == 0
    assert first.stat().st_mtime_ns == written, "a result stays"
    table = summarise(config, "small", [0, 1], tmp_path, FEW)
    assert [row.seeds for row in table.rows] == [(0, 1), (0, 1)]
    assert table.rows[0].drop is not None
    assert table.rows[1].drop is None, "it knows no easy and no hard"
    assert [row.mask_iou is None for row in table.rows] == [False, True], "it has no perception head"
    json.dumps(table.to_json(), allow_nan=False)
    with pytest.raises(ConfigError, match=r"layouts was 2, is 3"):
        train_all(dataclasses.replace(config, layouts=3), [0], tmp_path, CPU)


@pytest.mark.model
@pytest.mark.long
def test_several_processes_share_the_work(config: AblationConfig, tmp_path: Path) -> None:
    full, geodiffusion = (result_path(tmp_path, row, 0) for row in FEW)
    with claim(full.with_name("claim")):  # as the other process holds it
        train_all(config, [0], tmp_path, CPU, rows=FEW)
    assert not full.exists() and geodiffusion.exists()
    train_all(config, [0], tmp_path, CPU, rows=FEW)
    assert full.exists()


def test_the_table_of_given_results(config: AblationConfig, tmp_path: Path) -> None:
    for seed, value in ((0, 0.3), (1, 0.4), (2, 0.5)):
        path = result_path(tmp_path, ROWS[0], seed)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"mAP": value, "AP50": 0.5, "AP75": None, "drop": 0.2, "mask_iou": 0.6}))
    table = summarise(config, "small", [0, 1, 2], tmp_path)
    full, *others = table.to_json()["rows"]
    # Student's t for 2 degrees of freedom is 4.3027; the deviation is 0.1.
    assert full["mAP"]["mean"] == 0.4 and full["mAP"]["ci95"] == pytest.approx([0.151586, 0.648414], abs=1e-5)
    assert full["AP75"] is None and all(row["mAP"] is None and row["seeds"] == [] for row in others)
    head, shown, *rest = table.lines()
    assert head.split() == ["mAP", "AP50", "AP75", "drop", "mask_iou", "seeds"]
    assert " ".join(shown.split()) == "full 40.0 +- 24.8 50.0 +- 0.0 - 20.0 +- 0.0 60.0 +- 0.0 3"
    assert rest[0].split()[-6:] == ["-", "-", "-", "-", "-", "0"]


def test_one_seed_has_no_interval() -> None:
    one = SeedEstimate.of([0.5])
    assert one is not None and (one.mean, one.values) == (0.5, (0.5,)) and all(map(math.isnan, one.ci95))
    assert percent(one) == "50.0"
    assert SeedEstimate.of([None]) is None and SeedEstimate.of([]) is None


@pytest.mark.parametrize("text", ["", "a", "1,1", "-1", "1,,2"])
def test_seeds_are_whole_numbers(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["ablation", "--preset", "small", "--out", "x", f"--seeds={text}"])
    assert "--seeds" in capsys.readouterr().err
    assert (seed_list("3,1"), seed_list("0:3")) == ([3, 1], [0, 1, 2])


@pytest.mark.model
def test_some_rows_with_steps_of_their_own(
    config: AblationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ABLATIONS, "small", config)  # type: ignore[index]
    asked = ["ablation", "--preset", "small", "--seeds", "0", "--rows", "no-blueprint", "--steps", "1"]
    assert main([*asked, "--out", str(tmp_path)]) == 0
    table = json.loads((tmp_path / ablation.RESULT).read_text())
    assert [row["name"] for row in table["rows"]] == ["without blueprint"]
    assert table["settings"]["generator"]["steps"] == 1
    with pytest.raises(SystemExit):
        main([*asked[:-3], "no-such-row", "--out", str(tmp_path)])
    assert "some of full, no-alpha-bar" in capsys.readouterr().err


def test_nothing_held_out_is_learned() -> None:
    for preset in ABLATIONS.values():
        assert preset.samples.first_scene + preset.samples.scenes <= HELD_OUT_SEED
    with pytest.raises(ConfigError, match="held out"):
        dataclasses.replace(ABLATIONS["small"], samples=SampleConfig(scenes=10, first_scene=HELD_OUT_SEED - 5))
