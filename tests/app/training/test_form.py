"""What a person orders -> commands, and why some orders are refused before anything starts."""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest

from app.runs.form import Source
from app.runs.jobs import Runs
from app.training import form as training_orders
from app.training.form import Order, Plan, check_disk, first_order, make_plan, presets, rehearse
from detdiffusion.errors import ConfigError
from training.generator.config import FINE_TUNE

PRESET = "papercut-cpu"
DRAWN = Order(Source.PAPERCUT, scenes="24", folder="", preset=PRESET)

# In place of `python -m training`: writes down how it was called, and fails if it is told to.
TRAINER = """
import json, os, pathlib, sys
data = pathlib.Path(sys.argv[sys.argv.index("--data") + 1])
found = sorted(str(path.relative_to(data)) for path in data.rglob("*.*"))
pathlib.Path(os.environ["CALLS"]).write_text(json.dumps({"argv": sys.argv[1:], "found": found}))
if problem := os.environ.get("PROBLEM"):
    print("reading", file=sys.stderr)
    sys.exit(problem)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A model folder with a detector."""
    folder = tmp_path / "home"
    (folder / "detectors/bundled").mkdir(parents=True)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "workspace/runs")


def words(command: Sequence[str]) -> dict[str, str]:
    """Option -> value."""
    return dict(pairwise(command))


def settings(command: Sequence[str]) -> list[str]:
    """What follows --set, up to the next option."""
    after = command[command.index("--set") + 1 :]
    return list(takewhile(lambda word: not word.startswith("--"), after))


def test_the_untouched_form_fine_tunes_the_present_model(runs: Runs, home: Path, tmp_path: Path) -> None:
    plan = make_plan(first_order(), runs, home, tmp_path / "present")
    assert words(plan.commands[-1])["--preset"] == FINE_TUNE
    assert words(plan.commands[-1])["--base"] == str(tmp_path / "present")
    assert plan.about["base"] == "from present" and plan.status[-1] == "status.json"
    (tmp_path / "other").mkdir()
    other = make_plan(replace(first_order(), base=str(tmp_path / "other")), runs, home, tmp_path / "present")
    assert words(other.commands[-1])["--base"] == str(tmp_path / "other")


def test_papercut_is_drawn_labelled_and_trained_on(runs: Runs, home: Path) -> None:
    plan = make_plan(replace(DRAWN, steps="1,050", batch=" 2 ", rate="1e-3", seed="0"), runs, home)
    run = runs.folder(f"{PRESET}-1")
    assert [command[:3] for command in plan.commands] == [(sys.executable, "-m", "training")] * 3
    papercut, annotate, train = plan.commands
    assert (papercut[3], annotate[3], train[3]) == ("papercut", "annotate", "train")
    assert words(papercut)["--images"] == "24"
    assert words(papercut)["--seed"] == "100000", "no scene that the bundled detector was trained on"
    data, attributes = str(run / "data"), str(run / "attributes.jsonl")
    assert [words(command)[option] for command, option in ((papercut, "--out"), (annotate, "--data"))] == [data] * 2
    assert [words(command)["--data"] for command in (annotate, train)] == [data] * 2
    assert words(annotate)["--detector"] == str(home / "detectors/bundled")
    assert words(annotate)["--out"] == words(train)["--attributes"] == attributes
    assert (words(train)["--preset"], words(train)["--out"]) == (PRESET, str(run))
    assert settings(train) == ["steps=1050", "batch=2", "learning_rate=0.001", "seed=0"]
    assert plan.about == {"data": "Papercut, 24 scenes", "preset": PRESET}
    assert not run.exists()


def test_what_is_left_empty_is_left_to_the_preset(runs: Runs, home: Path) -> None:
    train = make_plan(DRAWN, runs, home).commands[-1]
    assert "--set" not in train
    assert "--base" not in train


def test_a_folder_is_used_where_it_lies(runs: Runs, home: Path, tmp_path: Path) -> None:
    data = tmp_path / "my data"
    data.mkdir()
    detector = tmp_path / "mine.pt"
    detector.write_bytes(b"PK")
    order = Order(Source.FOLDER, "", f" {data} ", PRESET, str(home), detector=str(detector), name="mine")
    plan = make_plan(replace(order, settings="loss.perception_weight=0.1\n\n sample_steps=5 "), runs, home)
    annotate, train = plan.commands
    assert words(annotate)["--detector"] == str(detector)
    assert words(train)["--data"] == str(data)
    assert words(train)["--base"] == str(home)
    assert settings(train) == ["loss.perception_weight=0.1", "sample_steps=5"]
    assert (plan.name, plan.online, plan.bytes_needed) == ("mine", False, 0)
    assert plan.about == {"data": "my data", "preset": PRESET, "base": "autoencoder of home"}
    tuned = make_plan(replace(order, preset="sd15-256", name="tuned"), runs, home)
    assert tuned.about["base"] == "from home"


@pytest.mark.parametrize(("typed", "folder"), [("", "bundled"), ("bundled", "bundled"), (" judge ", "judge")])
def test_detectors_of_the_studio_go_by_name(runs: Runs, home: Path, typed: str, folder: str) -> None:
    (home / "detectors/judge").mkdir()
    annotate = make_plan(replace(DRAWN, detector=typed), runs, home).commands[1]
    assert words(annotate)["--detector"] == str(home / "detectors" / folder)


def test_detectors_of_every_kind_go_by_their_whole_path(
    runs: Runs, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("own.pt", "own.pth", "results.json"):
        (tmp_path / name).write_bytes(b"PK")
    monkeypatch.chdir(tmp_path)
    prefix = "fasterrcnn_resnet50_fpn="
    for typed, path in (
        ("own.pt", str(tmp_path / "own.pt")),
        (f"{prefix}own.pth", f"{prefix}{tmp_path / 'own.pth'}"),
        ("results.json", str(tmp_path / "results.json")),
    ):
        annotate = make_plan(replace(DRAWN, detector=typed), runs, home).commands[1]
        assert words(annotate)["--detector"] == path


def test_a_hub_id_is_the_only_thing_that_may_ask_the_network(runs: Runs, home: Path) -> None:
    plan = make_plan(replace(DRAWN, preset="sd15-256", base="someone/some-model"), runs, home)
    assert plan.online
    assert words(plan.commands[-1])["--base"] == "someone/some-model"
    assert plan.about["base"] == "from someone/some-model" and "--revision" not in plan.commands[-1]
    fixed = make_plan(replace(DRAWN, preset="sd15-256", base="someone/some-model@v1.5"), runs, home)
    named = words(fixed.commands[-1])
    assert (named["--base"], named["--revision"]) == ("someone/some-model", "v1.5") and fixed.online


def test_a_preset_without_attributes_needs_no_detector(runs: Runs, home: Path) -> None:
    without = next(name for name in presets() if "geodiffusion" in name)
    plan = make_plan(replace(DRAWN, preset=without, detector="nowhere"), runs, home)
    assert [command[3] for command in plan.commands] == ["papercut", "train"]
    assert "--attributes" not in plan.commands[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "papercut-abacus"}, "no preset 'papercut-abacus'; choose one of"),
        ({"scenes": " "}, "enter the number of scenes"),
        ({"scenes": "0"}, "scenes '0' needs to be a whole number from 1"),
        ({"scenes": "2.5"}, "scenes '2.5'"),
        ({"steps": "0"}, "steps '0'"),
        ({"batch": "many"}, "batch 'many'"),
        ({"seed": "-1"}, "seed '-1'"),
        ({"seed": "9" * 30}, "seed '999"),
        ({"rate": "0"}, "learning rate '0' needs to be a number above 0"),
        ({"rate": "nan"}, "learning rate 'nan'"),
        ({"rate": "fast"}, "learning rate 'fast'"),
        ({"source": Source.FOLDER}, "enter the folder"),
        ({"source": Source.FOLDER, "folder": "nowhere-at-all"}, "nowhere-at-all is not a folder"),
        ({"detector": "nowhere.pt"}, "no detector at .*nowhere.pt"),
        ({"base": "no such thing"}, "neither a folder nor the id"),
        ({"settings": "--out=elsewhere"}, "is not a setting"),
        ({"settings": "batch 3"}, "is not a setting"),
        ({"name": "../escape"}, "is not a valid name"),
        ({"name": "taken"}, "there is a run 'taken' already"),
    ],
)
def test_orders_that_cannot_work(runs: Runs, home: Path, change: dict[str, Any], message: str) -> None:
    runs.folder("taken").mkdir(parents=True)
    with pytest.raises(ConfigError, match=message):
        make_plan(replace(DRAWN, **change), runs, home)


def test_full_disk_is_seen_before_it_is_full(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    check_disk(tmp_path / "not/yet/there", free // 2)
    with pytest.raises(ConfigError, match="free some space, or choose fewer scenes"):
        check_disk(tmp_path / "not/yet/there", free * 2)


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A trainer that only writes down how it was called; the environment that it is to be called with."""
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    monkeypatch.setattr(training_orders, "TRAINING", (sys.executable, str(script)))
    return {"CALLS": str(tmp_path / "calls.json")}


def called(environment: dict[str, str]) -> dict[str, list[str]]:
    calls: dict[str, list[str]] = json.loads(Path(environment["CALLS"]).read_text())
    return calls


def test_scenes_are_stood_in_for_while_the_trainer_is_asked(runs: Runs, home: Path, trainer: dict[str, str]) -> None:
    plan = make_plan(DRAWN, runs, home)
    rehearse(plan, trainer)
    call = called(trainer)
    assert call["argv"][-2:] == ["--dry-run", "before-attributes"]
    assert "--attributes" not in call["argv"], "there are none yet"
    assert words(call["argv"])["--data"] != plan.data
    assert sum(name.endswith(".png") for name in call["found"]) == 4
    assert not runs.folder(plan.name).exists()


def test_a_folder_is_shown_to_the_trainer_itself(
    runs: Runs, home: Path, tmp_path: Path, trainer: dict[str, str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "picture.jpg").touch()
    plan: Plan = make_plan(Order(Source.FOLDER, "", str(tmp_path / "data"), PRESET), runs, home)
    rehearse(plan, trainer)
    assert called(trainer)["found"] == ["picture.jpg"]


@pytest.mark.parametrize(
    "said",
    [
        "error: no field 'bach'; did you mean batch?",
        "python -m training train: error: no field 'bach'; did you mean batch?",
    ],
)
def test_the_trainer_s_reason_is_passed_on(runs: Runs, home: Path, trainer: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=r"^no field 'bach'; did you mean batch\?$"):
        rehearse(make_plan(DRAWN, runs, home), {**trainer, "PROBLEM": said})
