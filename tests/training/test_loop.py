"""The loop: what the config file may say, the commands that come of it, stages that are done once."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detdiffusion.errors import ConfigError, DataError, DetectorError
from training import loop as closed_loop
from training.core.status import STATUS, RunState, RunStatus
from training.data.papercut.coco_export import write_dataset
from training.loop import LoopConfig, Stage, perform, stages

SMALL = LoopConfig(
    "data",
    "out",
    pictures={"hard": 40},
    annotate="--detector yolo11n.yaml --folds 3",
    trainability="--detector yolo11n",
)


def by_name(config: LoopConfig) -> dict[str, tuple[str, ...]]:
    return {stage.name: stage.words for stage in stages(config)}


def option(words: tuple[str, ...], name: str) -> str:
    return words[words.index(name) + 1]


def test_commands_hand_on_what_they_make() -> None:
    plan = by_name(replace(SMALL, fraction=0.2, train="--set steps=5", generate="--steps 4"))
    assert list(plan) == [
        "data: train",
        "data: val",
        "attributes",
        "autoencoder",
        "generator",
        "images: hard",
        "trainability",
        "report",
    ]
    assert option(plan["data: train"], "--fraction") == "0.2"
    assert "--fraction" not in plan["data: val"] and option(plan["data: val"], "--split") == "val"
    for name in ("attributes", "autoencoder", "generator"):
        assert option(plan[name], "--data") == "out/data" and option(plan[name], "--split") == "train"
    assert option(plan["generator"], "--attributes") == option(plan["attributes"], "--out") == "out/attributes.jsonl"
    assert option(plan["generator"], "--base") == "out/autoencoder/model" and "steps=5" in plan["generator"]
    assert option(plan["images: hard"], "--model") == "out/generator/model"
    assert option(plan["images: hard"], "--count") == "40" and option(plan["images: hard"], "--steps") == "4"
    assert option(plan["trainability"], "--synthetic") == "out/pictures/hard"


def test_a_baseline_and_a_base() -> None:
    plan = by_name(replace(SMALL, base="sd15", preset="sd15-512", pictures={"hard": 4, "origin": 4, "geodiffusion": 4}))
    assert "autoencoder" not in plan and option(plan["generator"], "--base") == "sd15"
    assert option(plan["geodiffusion"], "--preset") == "sd15-512-geodiffusion"
    assert "--attributes" not in plan["geodiffusion"]
    assert option(plan["images: geodiffusion"], "--strategy") == "origin"
    assert option(plan["images: geodiffusion"], "--model") == "out/geodiffusion/model"
    made = [f"out/pictures/{name}" for name in ("hard", "origin", "geodiffusion")]
    assert option(plan["trainability"], "--synthetic").split(",") == made


def test_pictures_of_other_models_are_rows_of_the_table(tmp_path: Path) -> None:
    plan = by_name(replace(SMALL, compare=("a/bundled-hard",)))
    assert option(plan["trainability"], "--synthetic") == "out/pictures/hard,a/bundled-hard"
    (tmp_path / "loop.yaml").write_text(CONFIG + "compare: [others/hard]\n")
    assert LoopConfig.read(tmp_path / "loop.yaml").compare == (str(tmp_path / "others" / "hard"),)


CONFIG = "data: world\nout: run\npictures: {hard: 4}\nannotate: --detector a.yaml\ntrainability: --detector yolo11n\n"


def test_config_file(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").write_text(CONFIG + "fraction: 0.5\n")
    config = LoopConfig.read(tmp_path / "loop.yaml")
    assert (config.data, config.out, config.fraction) == (str(tmp_path / "world"), str(tmp_path / "run"), 0.5)


def test_data_in_one_piece_are_split(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").write_text(CONFIG + "split_by: 0.8\nimages: images\n")
    plan = stages(LoopConfig.read(tmp_path / "loop.yaml"))
    for stage in plan[:2]:
        assert option(stage.words, "--split-by") == "0.8"
        assert option(stage.words, "--images") == str(tmp_path / "pictures")
    assert option(plan[1].words, "--split") == "val"
    closed_loop.check(plan[:2])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]", "needs data and out"),
        (CONFIG + "speed: 3\n", "not speed"),
        (CONFIG + "compare: hard\n", "compare needs a list of folders"),
        (CONFIG.replace("data: world\n", ""), "needs data and out"),
        (CONFIG.replace("hard", "odd"), "origin, easy, hard, geodiffusion"),
        (CONFIG.replace("{hard: 4}", "{hard: 0}"), "whole numbers of 1 or more"),
        (CONFIG.replace("{hard: 4}", "{}"), "images needs numbers"),
        (CONFIG + "fraction: 0\n", "fraction 0"),
        (CONFIG + "split_by: 80\n", "--split-by 80.0 needs to be above 0 and below 1"),
        (CONFIG + "split_by: most\n", "--split-by 'most' needs the form"),
        (CONFIG.replace("--detector a.yaml", "--folds 3"), "each need a --detector"),
        ("data: [", "cannot be read"),
    ],
)
def test_bad_config_files(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        LoopConfig.read(tmp_path / "loop.yaml")


def test_wrong_arguments_are_said_before_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    first = stages(SMALL)[2]
    closed_loop.check([first])
    with pytest.raises(ConfigError, match="what the config says for annotate is wrong"):
        closed_loop.check([replace(first, words=(*first.words, "--speed", "3"))])
    assert "--speed" in capsys.readouterr().err


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set with two splits, and an index of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split, seed in (("train", 0), ("val", 5)):
        write_dataset(tmp_path / split, range(seed, seed + 2), size=64)
        shutil.copytree(tmp_path / split / "images", tmp_path / "data" / split)
        (tmp_path / "data" / "annotations").mkdir(exist_ok=True)
        annotations = tmp_path / "data" / "annotations" / f"instances_{split}.json"
        shutil.copy(tmp_path / split / "annotations" / "instances.json", annotations)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"data": "absent"}, DataError, "absent: no such folder"),
        ({"split": "test"}, DataError, "no split 'test'"),
        ({"validation": "test"}, DataError, "no split 'test'"),
        ({"base": "absent"}, DataError, "absent: no such folder"),
        ({"compare": ("absent",)}, DataError, "absent: no such folder"),
        ({"annotate": "--detector yolo0n.yaml --folds 2"}, DetectorError, "is no built-in architecture"),
        ({"annotate": "--detector absent.pt"}, DetectorError, "no detector at .*absent"),
        ({"annotate": "--detector yolo11n.yaml"}, DetectorError, "no detector at .*yolo11n"),
        ({"trainability": "--detector yolo0n"}, DetectorError, "is no built-in architecture"),
        ({"trainability": "--detector yolo11n --weights absent.pth"}, DataError, "absent.pth: no such file"),
        ({"trainability": "--detector yolo11n --limit 9"}, DataError, "has 2 images to learn from, not --limit 9"),
        ({"trainability": "--detector yolo11n --device cuda:99"}, ConfigError, "--device cuda:99"),
        ({"train": "--detector absent.pt"}, DetectorError, "no detector at .*absent"),
        ({"train": "--device cuda:99"}, ConfigError, "--device cuda:99"),
        ({"train": "--detector none", "generate": "--snap"}, ConfigError, "ask a detector what is there"),
        ({"generate": "--detector none --refine drop"}, ConfigError, "ask a detector what is there"),
        ({"generate": "--detector absent.pt"}, DetectorError, "no detector at .*absent"),
        ({"generate": "--check --check-by absent.pt"}, DetectorError, "no detector at .*absent"),
        ({"generate": "--check --originals absent"}, DataError, "absent: no such folder"),
        ({"generate": "--originals here"}, ConfigError, "say how --check works"),
        ({"generate": "--device cuda:99"}, ConfigError, "--device cuda:99"),
        ({"out": __file__}, ConfigError, "out: .* is a file, and a folder is needed"),
    ],
)
def test_what_is_missing_is_said_before_the_work(
    change: dict[str, Any], error: type[Exception], message: str, data: Path, tmp_path: Path
) -> None:
    config = replace(SMALL, data=str(data), out=str(tmp_path / "out"))
    closed_loop.check_inputs(config, stages(config))
    wrong = replace(config, **change)
    with pytest.raises(error, match=message):
        closed_loop.check_inputs(wrong, stages(wrong))
    assert not (tmp_path / "out").exists()


def test_a_stage_that_version_0_1_finished_stays_finished(tmp_path: Path) -> None:
    done = Stage("table", ("trainability", "--data", "d"), tmp_path / "proof")
    record = closed_loop._Record(tmp_path)
    record.finish(replace(done, words=("trainability", "--real", "d")), 1.0)
    record.check([done])
    with pytest.raises(ConfigError, match="table was done with"):
        record.check([replace(done, words=("trainability", "--data", "e"))])


# --- stages ---------------------------------------------------------------------------------------


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Stage]:
    """Three stages that are small programs: each writes a line into a diary, and its proof."""
    program = (
        "import pathlib, sys; name, proof = sys.argv[1:3]; here = pathlib.Path(proof).parent; "
        "(here / 'diary').open('a').write(name + ' '); "
        "sys.exit(3) if (here / f'no-{name}').exists() else pathlib.Path(proof).touch()"
    )
    (tmp_path / "program.py").write_text(program.replace("; ", "\n"))

    monkeypatch.setattr(closed_loop, "COMMAND", (sys.executable, str(tmp_path / "program.py")))
    return [Stage(name, (name, str(tmp_path / f"{name}.done")), tmp_path / f"{name}.done") for name in "abc"]


def told(out: Path) -> dict[str, RunState]:
    status = RunStatus.read(out / STATUS)
    assert status is not None
    return {stage.name: stage.state for stage in status.stages}


def diary(folder: Path) -> str:
    return (folder / "diary").read_text()


def test_a_failure_is_gone_on_from(plan: list[Stage], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no-b").touch()
    assert perform(plan, tmp_path) == 3
    assert "b ended with code 3" in capsys.readouterr().err
    assert told(tmp_path) == {
        "a": RunState.FINISHED,
        "b": RunState.FAILED,
        "c": RunState.WAITING,
    }
    (tmp_path / "no-b").unlink()
    assert perform(plan, tmp_path) == 0
    assert diary(tmp_path) == "a b b c "
    assert set(told(tmp_path).values()) == {RunState.FINISHED}
    assert perform(plan, tmp_path) == 0
    assert diary(tmp_path) == "a b b c ", "nothing is done twice"


def test_what_was_lost_is_done_again(plan: list[Stage], tmp_path: Path) -> None:
    perform(plan, tmp_path)
    plan[1].proof.unlink()
    perform(plan, tmp_path)
    assert diary(tmp_path) == "a b c b "


def test_a_damaged_record_of_a_stage_is_named(plan: list[Stage], tmp_path: Path) -> None:
    assert perform(plan, tmp_path) == 0
    record = next((tmp_path / "stages").iterdir())
    record.write_text("{")
    with pytest.raises(ConfigError, match=r"is damaged .*; delete it, the stage is then done again"):
        perform(plan, tmp_path)


def test_other_arguments_are_refused(plan: list[Stage], tmp_path: Path) -> None:
    perform(plan, tmp_path)
    changed = [plan[0], replace(plan[1], words=(*plan[1].words, "--more")), plan[2]]
    with pytest.raises(ConfigError, match="b was done with"):
        perform(changed, tmp_path)
    (tmp_path / "stages" / "b.json").unlink()
    assert perform(changed, tmp_path) == 0


def test_what_runs_is_stopped_with_the_loop(tmp_path: Path) -> None:
    stage = tmp_path / "stage.py"
    stage.write_text(
        "import pathlib, os, sys, time\npathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\ntime.sleep(60)"
    )
    loop = tmp_path / "loop.py"
    loop.write_text(
        "import sys\nfrom pathlib import Path\nfrom training import loop as c\n"
        f"c.COMMAND, here = (sys.executable, {str(stage)!r}), Path({str(tmp_path)!r})\n"
        "sys.exit(c.perform([c.Stage('a', (str(here / 'pid'),), here / 'done')], here))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(closed_loop.__file__).parents[1])}
    running = subprocess.Popen([sys.executable, str(loop)], env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.05)
    running.terminate()
    _, said = running.communicate(timeout=30)
    assert running.returncode == 256 - signal.SIGTERM and "a ended with code -15" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert told(tmp_path) == {"a": RunState.FAILED}
