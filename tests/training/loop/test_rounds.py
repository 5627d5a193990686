"""The closed loop: its commands, when it is over, that it goes on after kill -9, and a whole round of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from detdiffusion.core.files import read_json, write_json
from detdiffusion.detectors.folder import MIN_SCORE, TORCHVISION, Description, save_detector
from detdiffusion.errors import CheckpointError, ConfigError, DataError, DetectorError
from training.__main__ import main
from training.core.status import STATUS, RunState, RunStatus
from training.data.papercut.coco_export import write_dataset
from training.detector.config import DetectorTraining
from training.detector.recipe import new_model
from training.loop import perform as performing
from training.loop.config import Rounds
from training.loop.rounds import FILE, FIRST, PAGE, check_rounds, ending, round_stages, row_name
from training.loop.stages import LoopConfig, Stage, check
from training.report.study_tables import TRAINABILITY_SCORES
from training.studies.trainability_rows import Row
from training.studies.trainability_table import result_path, summarise

Kill = Callable[[Callable[[], object], Callable[[], bool]], None]
SMALL = "fasterrcnn_resnet18_fpn"
CONFIG = LoopConfig(
    "data",
    "out",
    model="model",
    generate="--detector none",
    trainability=f"--detector {SMALL} --seeds 4,5",
    rounds=Rounds(most=2, images=6, diagnosed="test"),
)


def by_name(config: LoopConfig) -> dict[str, tuple[str, ...]]:
    return {stage.name: stage.words for stage in round_stages(config)}


def option(words: tuple[str, ...], name: str) -> str:
    return words[len(words) - 1 - words[::-1].index(name) + 1]  # the last one counts


# --- commands -------------------------------------------------------------------------------------


def test_commands_hand_on_what_they_make() -> None:
    plan = by_name(replace(CONFIG, rounds=Rounds(2, 6, "test", diagnose="--min-score 0.3", plan="--coverage 0.1")))
    rounds = [
        f"round {n}: {name}" for n in (1, 2) for name in ("plan", "images", "training", "diagnosis", "change", "report")
    ]
    assert list(plan) == ["data: train", "data: val", "data: diagnosed", FIRST, "diagnosis", *rounds]
    assert option(plan["data: diagnosed"], "--split") == "test"
    assert option(plan[FIRST], "--rows") == "real" and option(plan[FIRST], "--seeds") == "4"
    learned = "out/round-0/table/runs/real-only-seed4/detector"
    assert option(plan["diagnosis"], "--detector") == learned and option(plan["diagnosis"], "--split") == "diagnosed"
    assert option(plan["round 1: plan"], "--diagnosis") == "out/round-0/diagnosis"
    assert option(plan["round 1: plan"], "--coverage") == "0.1" and option(plan["diagnosis"], "--min-score") == "0.3"
    images, training = plan["round 2: images"], plan["round 2: training"]
    assert option(images, "--layouts") == option(plan["round 2: plan"], "--out") == "out/round-2/layouts.jsonl"
    assert "--check" in images and (option(images, "--model"), option(images, "--seed")) == ("model", "2")
    assert (
        option(training, "--also") == "out/images/round-1" and option(training, "--synthetic") == "out/images/round-2"
    )
    assert option(training, "--seeds") == "4,5" and "--keep" in training and "--also" not in plan["round 1: training"]
    after = "out/round-2/table/runs/real+round-1+round-2-seed4/detector"
    assert option(plan["round 2: diagnosis"], "--detector") == after
    assert plan["round 2: change"][2:4] == ("out/round-1/diagnosis", "out/round-2/diagnosis")
    check(round_stages(CONFIG))


def test_a_share_is_set_aside_to_be_diagnosed_on() -> None:
    plan = by_name(replace(CONFIG, seed=3, rounds=Rounds(1, 6, 0.25)))
    assert list(plan)[:4] == ["data: pool", "data: train", "data: val", "data: diagnosed"]
    for name, part in (("data: train", "train"), ("data: diagnosed", "val")):
        assert option(plan[name], "--data") == "out/pool" and option(plan[name], "--split-by") == "0.75@3"
        assert option(plan[name], "--split") == part and option(plan[name], "--out") == "out/data"
    assert option(plan["data: val"], "--data") == "data"


def test_without_a_model_one_is_trained_first_and_its_images_are_checked_by_the_first_detector() -> None:
    config = replace(
        CONFIG, model=None, base="sd15", preset="sd15-512", annotate="--detector a.yaml --folds 2", generate=""
    )
    plan = by_name(config)
    assert list(plan)[3:6] == ["attributes", "generator", FIRST]
    assert option(plan["round 1: images"], "--model") == "out/generator/model"
    assert option(plan["round 2: images"], "--detector") == "out/round-0/table/runs/real-only-seed4/detector"


# --- what is said before the work -----------------------------------------------------------------

TEXT = f"data: d\nout: o\nmodel: m\ntrainability: --detector {SMALL} --seeds 0,1\n"


def test_a_config_file_with_rounds(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").write_text(TEXT + "rounds: {most: 4, diagnosed: 0.3}\n")
    config = LoopConfig.read(tmp_path / "loop.yaml")
    assert config.rounds == Rounds(4, 400, 0.3) and config.model == str(tmp_path / "m")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TEXT, "model goes with rounds"),
        (TEXT + "rounds: 3\n", "rounds may have most, images"),
        (TEXT + "rounds: {speed: 3}\n", "rounds may have most, images"),
        (TEXT + "rounds: {most: 0}\n", "most 0 needs to be a whole number"),
        (TEXT + "rounds: {images: many}\n", "images many needs to be a whole number"),
        (TEXT + "rounds: {diagnosed: 1.5}\n", "diagnosed 1.5 needs to be a split, or a share"),
        (TEXT + "rounds: {plan: 3}\n", "rounds: plan needs to be text"),
        (TEXT + "rounds: {plan: '\"'}\n", "rounds: plan is no command line"),
        (TEXT + "rounds: {}\npictures: {hard: 3}\n", "leave pictures and compare out"),
        (TEXT.replace("model: m\n", "") + "rounds: {}\n", "each need a --detector"),
    ],
)
def test_bad_config_files(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        LoopConfig.read(tmp_path / "loop.yaml")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with two splits."""
    root = tmp_path_factory.mktemp("world")
    (root / "data" / "annotations").mkdir(parents=True)
    for split, seeds in (("train", range(10)), ("val", range(50, 53))):
        write_dataset(root / split, seeds, size=64)
        (root / split / "images").rename(root / "data" / split)
        (root / split / "annotations" / "instances.json").rename(
            root / "data" / "annotations" / f"instances_{split}.json"
        )
    return root / "data"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": "absent"}, DataError, "absent: no such folder"),
        ({"model": str(Path(__file__).parent)}, CheckpointError, "is no model folder"),
        ({"validation": "test"}, DataError, "no split 'test'"),
        ({"rounds": Rounds(diagnosed="test")}, DataError, "no split 'test'"),
        ({"rounds": Rounds(diagnosed="val")}, ConfigError, "diagnosed and validation are both val"),
        ({"trainability": f"--detector {SMALL} --seeds 3"}, ConfigError, "two or more, and no --most"),
        ({"trainability": f"--detector {SMALL} --most 3"}, ConfigError, "two or more, and no --most"),
        ({"trainability": "--detector yolo0n"}, DetectorError, "is no built-in architecture"),
        ({"trainability": f"--detector {SMALL} --limit 99"}, DataError, "99 were asked for"),
        ({"out": __file__}, ConfigError, "out: .* is a file, and a folder is needed"),
    ],
)
def test_what_is_missing_is_said_before_the_work(
    change: dict[str, Any],
    error: type[Exception],
    message: str,
    world: Path,
    world_model: Path,
    tmp_path: Path,
    at_home: None,
) -> None:
    config = replace(CONFIG, data=str(world), out=str(tmp_path / "out"), model=str(world_model), rounds=Rounds())
    check_rounds(config, round_stages(config))
    wrong = replace(config, **change)
    with pytest.raises(error, match=message):
        check_rounds(wrong, round_stages(wrong))
    assert not (tmp_path / "out").exists()


# --- when it is over ------------------------------------------------------------------------------


def write_round(out: Path, number: int, gains: tuple[float, ...], accepted: int = 5) -> None:
    """What a round's stages leave: a table in which each seed has this gain, and annotations."""
    rows = (Row(row_name(number - 1), (), 4, 0), Row(row_name(number), (), 4, 6, part=f"round-{number}"))
    table = out / f"round-{number}" / "table"
    for row, values in zip(rows, ([0.4] * len(gains), [0.4 + gain for gain in gains]), strict=True):
        for seed, value in enumerate(values):
            scores = dict.fromkeys(TRAINABILITY_SCORES, value)
            write_json(result_path(table, row, seed), {**scores, "by_class": {}})
    write_json(table / "trainability.json", summarise(rows, range(len(gains)), table, {}).to_json())
    images = [{"id": one, "file_name": f"{one}.png", "width": 9, "height": 9} for one in range(accepted)]
    write_json(out / "images" / f"round-{number}" / "annotations.json", {"images": images, "annotations": []})


def test_it_is_over_when_a_gain_includes_zero(tmp_path: Path) -> None:
    config = replace(CONFIG, out=str(tmp_path), rounds=Rounds(most=3, images=6))
    stages = {stage.name: stage for stage in round_stages(config)}
    ends = ending(config)
    assert ends(stages["round 1: plan"]) is None, "it asks after images and reports alone"
    write_round(tmp_path, 1, (0.02, 0.022))
    assert ends(stages["round 1: images"]) is None and ends(stages["round 1: report"]) is None
    told = read_json(tmp_path / FILE, dict, DataError)
    assert told["over"] is None and told["best"] == 1 and told["rounds"][0]["helps"] is True
    assert told["rounds"][0] | {"gain": 0} == {"round": 1, "accepted": 5, "asked": 6, "gain": 0, "helps": True}
    write_round(tmp_path, 2, (0.02, -0.01))
    reason = ends(stages["round 2: report"])
    assert reason is not None and reason.startswith("the gain of round 2, +0.5 [") and reason.endswith("or is below it")
    told = read_json(tmp_path / FILE, dict, DataError)
    assert told["best"] == 1 and told["detector"] == "round-1/table/runs/real+round-1-seed4/detector"
    assert [one["helps"] for one in told["rounds"]] == [True, False] and told["over"] == reason
    page = (tmp_path / PAGE).read_text().replace("\u00a0", " ")
    assert "+2.1 [0.8, 3.4]" in page and "5 of 6" in page and "It is over" in page
    assert ends(stages["round 1: report"]) is None, "asked again after a stop, it says the same"


def test_it_is_over_after_the_last_round_or_without_images(tmp_path: Path) -> None:
    config = replace(CONFIG, out=str(tmp_path), rounds=Rounds(most=1, images=6))
    last, images = round_stages(config)[-1], next(one for one in round_stages(config) if one.name.endswith("images"))
    write_round(tmp_path, 1, (0.02, 0.022))
    assert "all 1 rounds are done" in str(ending(config)(last))
    more = replace(config, rounds=Rounds(most=2, images=6))
    assert ending(more)(last) is None, "with more rounds it goes on"
    write_round(tmp_path, 1, (0.02, 0.022), accepted=0)
    assert "all images of round 1 were refused" in str(ending(config)(images))
    assert read_json(tmp_path / FILE, dict, DataError)["best"] == 0


def test_stages_after_the_end_are_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def run(command: Any) -> int:
        done.append(command[-1])
        Path(command[-1]).touch()
        return 0

    monkeypatch.setattr(performing, "_run", run)
    plan = [Stage(name, (str(tmp_path / name),), tmp_path / name) for name in "abc"]
    for _ in range(2):
        assert performing.perform(plan, tmp_path, lambda stage: "enough" if stage.name == "b" else None) == 0
        assert [Path(one).name for one in done] == ["a", "b"]
        status = RunStatus.read(tmp_path / STATUS)
        assert status is not None and status.state is RunState.FINISHED and (status.done, status.total) == (2, 2)


# --- a whole round --------------------------------------------------------------------------------


@pytest.fixture
def config(world: Path, world_model: Path, tmp_path: Path) -> Path:
    """The smallest closed loop: one update, two images that a detector of kites alone looks at."""
    about = Description("kites", SMALL, ("kite",), 64, MIN_SCORE, "", TORCHVISION)
    kites = new_model(DetectorTraining(SMALL, 64, 1), 1, torch.device("cpu"), None)
    save_detector(kites, tmp_path / "kites", about)
    loop = {"data": str(world), "out": "run", "model": str(world_model)}
    loop["generate"] = f"--steps 1 --detector {tmp_path / 'kites'} --check-by {tmp_path / 'kites'}"
    loop["trainability"] = f"--detector {SMALL} --updates 1 --batch 4 --image-size 64 --seeds 0,1"
    rounds = {"most": 2, "images": 2, "diagnosed": 0.3}
    (tmp_path / "loop.yaml").write_text(yaml.safe_dump({**loop, "rounds": rounds}))
    return tmp_path / "loop.yaml"


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.usefixtures("at_home")
@pytest.mark.long
def test_a_round_is_killed_and_goes_on(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: Kill
) -> None:
    """kill -9 while detectors of the round are trained: what was done stays as it was, and nothing is there twice."""
    from training.synthesis import workers

    monkeypatch.setattr(performing, "_run", lambda command: main(command[len(performing.COMMAND) :]))
    monkeypatch.setattr(
        workers, "run_local", lambda job, _: workers.work(job)
    )  # processes would import torch for seconds
    out, words = tmp_path / "run", ["loop", "--config", str(config)]
    assert main([*words, "--dry-run"]) == 0 and not out.exists()
    killed(lambda: main(words), lambda: len(list((out / "round-1" / "table" / "runs").glob("*/result.json"))) >= 2)
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (*out.rglob("*.png"), *out.rglob("result.json"))
    }
    assert len([path for path in before if path.is_relative_to(out / "images")]) == 2
    assert main(words) == 0
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert len(list((out / "round-1" / "table").rglob("result.json"))) == 4
    assert main(["verify", str(out / "images" / "round-1")]) == 0
    told = json.loads((out / FILE).read_text())
    assert told["rounds"][0]["accepted"] == 2 and not told["rounds"][0]["helps"] and told["best"] == 0
    assert "includes zero" in told["over"] and not (out / "round-2").exists()
    assert (out / told["detector"] / "detector.json").is_file()
    assert "Findings" in (out / "round-1" / "report" / "report.html").read_text()
    assert (out / "round-1" / "change" / "comparison.json").is_file()
    assert main(words) == 0, "again"
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
