"""A loop that ends with a model folder: its commands, what is checked before, and how the folder is put together."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import pytest
from small_models import add_small_detectors, write_small_model

from detdiffusion.diffusion.examples import read_examples
from detdiffusion.diffusion.manifest import read_vocabulary, verify
from detdiffusion.errors import ConfigError, DetDiffusionError
from detdiffusion.text.vocabulary import Vocabulary
from training.__main__ import main
from training.data.papercut.coco_export import write_dataset
from training.loop.config import StudioModel
from training.loop.stages import LoopConfig, check
from training.loop.studio import check_studio, studio_stages

STUDIO = StudioModel("mine", detector="--arch yolo11n", held_out="--arch yolov8n --seed 1")
LOOP = LoopConfig("data", "out", annotate="--detector yolo11n.yaml --folds 3", studio=STUDIO)
TEXT = """
data: world
out: run
annotate: --detector yolo11n.yaml --folds 2
studio: {detector: --arch yolo11n, held_out: --arch yolov8n}
"""
CELL = {"width": 64, "height": 64, "objects": [{"label": "cell", "box": [0.1, 0.1, 0.5, 0.5]}]}


def option(words: tuple[str, ...], name: str) -> str:
    return words[words.index(name) + 1]


def test_commands_hand_on_what_they_make() -> None:
    more = replace(STUDIO, distill="--steps 4", examples=("a.json", "more"), about="card.md")
    plan = studio_stages(replace(LOOP, studio=more))
    check(plan)
    found = {stage.name: stage.words for stage in plan}
    assert list(found)[2:] == [
        "detector", "held-out", "attributes", "autoencoder", "generator", "student", "model",
    ]  # fmt: skip
    assert option(found["detector"], "--arch") == "yolo11n" and option(found["held-out"], "--seed") == "1"
    for name in ("autoencoder", "generator", "model"):
        assert option(found[name], "--detector") == option(found["detector"], "--out") == "out/detector/yolo11n"
    assert option(found["student"], "--model") == "out/generator/model"
    assert option(found["student"], "--attributes") == option(found["generator"], "--attributes")
    assert option(found["model"], "--model") == "out/student/model"
    assert option(found["model"], "--held-out-detector") == option(found["held-out"], "--out")
    assert found["model"][found["model"].index("--examples") :][:3] == ("--examples", "a.json", "more")
    alone = {stage.name: stage.words for stage in studio_stages(LOOP)}
    assert "student" not in alone and option(alone["model"], "--model") == "out/generator/model"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("generate: --steps 4", "leave generate out"),
        ("pictures: {hard: 4}", "leave pictures out"),
        ("studio: 3", "studio may have name, detector"),
        ("studio: {speed: 3}", "studio may have name, detector"),
        ("studio: {name: ../up, detector: --arch a, held_out: --arch b}", "name of a folder"),
        ("studio: {detector: --arch a}", "held_out needs an --arch"),
        ("studio: {detector: 3, held_out: --arch b}", "detector needs to be text"),
        ("studio: {detector: --arch a, held_out: --arch b, examples: a.json}", "list of files"),
        ("studio: {detector: --arch a, held_out: --arch b, distill: 'a \"b'}", "distill is no command line"),
    ],
)
def test_bad_config_files(more: str, reason: str, tmp_path: Path) -> None:
    text = TEXT.partition("studio:")[0] if more.startswith("studio") else TEXT
    (tmp_path / "loop.yaml").write_text(f"{text}\n{more}\n")
    with pytest.raises(ConfigError, match=reason):
        LoopConfig.read(tmp_path / "loop.yaml")


@pytest.mark.usefixtures("at_home")
def test_what_is_missing_is_said_before_the_work(tmp_path: Path) -> None:
    write_dataset(tmp_path / "world", range(12), size=64)
    (tmp_path / "cell.json").write_text(json.dumps(CELL))
    (tmp_path / "loop.yaml").write_text(TEXT + "split_by: 0.8\n")
    config = LoopConfig.read(tmp_path / "loop.yaml")
    assert config.studio is not None
    for studio, reason in (
        (replace(config.studio, examples=(str(tmp_path / "cell.json"),)), r"cell\.json: .*unknown class 'cell'"),
        (replace(config.studio, about=str(tmp_path / "card.md")), r"card\.md: no such file"),
        (replace(config.studio, detector="--arch yolo99z"), "yolo99z"),
    ):
        wrong = replace(config, studio=studio)
        with pytest.raises(DetDiffusionError, match=reason):
            check_studio(wrong, studio_stages(wrong))
    assert not (tmp_path / "run").exists()


class Parts(TypedDict):
    model: Path
    detector: Path
    other: Path


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """A generator of two classes, and detectors of them, of cars."""
    folder = tmp_path_factory.mktemp("parts")
    model = write_small_model(folder / "model", Vocabulary(things=("cell", "platelet"), stuff=(), grid=(8, 8)))
    for name, labels in (("detector", ("cell", "platelet")), ("other", ("car",))):
        (folder / name).mkdir()
        add_small_detectors(folder / name, labels, "one")
    return {"model": model, "detector": folder / "detector/detectors/one", "other": folder / "other/detectors/one"}


def assemble(parts: Parts, out: Path, *more: str, detector: str = "detector") -> int:
    words = ["assemble", "--model", parts["model"], "--detector", parts[detector], "--out", out]  # type: ignore[literal-required]
    return main([*map(str, words), *more])


def test_a_model_folder_is_put_together(parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cell.json").write_text(json.dumps(CELL))
    (tmp_path / "card.md").write_text("Made of | nothing.")
    stages = tmp_path / "run/stages"
    stages.mkdir(parents=True)
    (stages / "detector.json").write_text(json.dumps({"command": ["detector", "--arch", "a|b"], "seconds": 90}))
    given = {"held-out-detector": parts["detector"], "examples": "cell.json", "about": "card.md", "loop": "run"}
    more = [word for name, place in given.items() for word in (f"--{name}", str(tmp_path / place))]
    out = tmp_path / "mine"
    assert assemble(parts, out, *more, "--dry-run") == 0
    assert not out.exists()
    assert assemble(parts, out, *more) == 0
    verify(out)
    assert list(read_examples(out, read_vocabulary(out)).layouts) == ["Cell"]
    assert sorted(path.name for path in (out / "detectors").iterdir()) == ["bundled", "judge"]
    card = (out / "README.md").read_text()
    for line in (
        "Made of | nothing.",
        "| things | cell, platelet |",
        "| `detectors/judge` | untrained one |",
        r"| detector | `python -m training detector --arch 'a\|b'` | 1.5 |",
    ):
        assert line in card.splitlines()
    capsys.readouterr()
    assert assemble(parts, out, *more) == 2
    assert "is there already" in capsys.readouterr().err


def test_what_does_not_belong_together_is_refused(
    parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, car = tmp_path / "mine", tmp_path / "car.json"
    assert assemble(parts, out, detector="other") == 2
    assert "knows no class of" in capsys.readouterr().err
    car.write_text(json.dumps({**CELL, "objects": [{"label": "car", "box": [0, 0, 1, 1]}]}))
    assert assemble(parts, out, "--examples", str(car)) == 2
    assert "car.json: object 1: unknown class 'car'" in capsys.readouterr().err
    assert not out.exists()
