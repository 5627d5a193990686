"""python -m detdiffusion: bad input, and whole runs with a tiny model of random weights."""

import argparse
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detdiffusion import __main__ as command
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.detection import Detections
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.manifest import model_hash
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.image_record import read_image
from detdiffusion.layout import Attribute
from detdiffusion.sampling_config import DEFAULT_GUIDANCE
from detdiffusion.text.vocabulary import Vocabulary

CAR = {"label": "car", "box": [0.1, 0.2, 0.5, 0.6]}
LIGHT = {"label": "traffic light", "box": [0.6, 0.1, 0.8, 0.6], "attribute": "hard"}
ROAD = {"label": "road", "box": [0.0, 0.6, 1.0, 1.0]}


class Guard:
    """Finds a car where CAR is, the surer the brighter the picture; never finds anything else."""

    name, sha256, labels, min_score = "guard", "1" * 64, ("car", "traffic light"), 0.5

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        box = np.array([CAR["box"]], np.float32)
        return [Detections(("car",), np.array([self.score(image)], np.float32), box) for image in images]

    def score(self, image: Image.Image) -> float:
        return float(np.asarray(image).mean() / 255)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: DetDiffusionPipeline) -> Path:
    folder = tmp_path_factory.mktemp("command") / "tiny"
    save_pipeline(tiny_pipeline, folder)
    return folder


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Guard:
    guard = Guard()
    monkeypatch.setattr(command, "load_detector", lambda *_, **__: guard)
    return guard


def write(folder: Path, *objects: Any, text: str | None = None, **changes: Any) -> Path:
    file = folder / "layout.json"
    values = {"width": 64, "height": 64, "objects": list(objects), **changes}
    file.write_text(json.dumps(values) if text is None else text)
    return file


def refused(capsys: pytest.CaptureFixture[str], message: str, *arguments: str | Path) -> None:
    assert command.main([str(word) for word in arguments]) == 2
    check_refusal(message, *capsys.readouterr())


def check_refusal(message: str, out: str, error: str) -> None:
    lines = error.splitlines()
    assert (len(lines), out) == (1, ""), error
    assert lines[0].startswith("error: ")
    assert message in lines[0]


def test_help_reads_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("LAYOUT.json", "--strategy", "--compare", "--seeds", "easy", "Exit code"))


@pytest.mark.process
def test_a_bad_layout_through_a_process(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "detdiffusion", write(tmp_path, text="{"), "--out", tmp_path / "out"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    check_refusal("this is not JSON", done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"text": "{"}, "this is not JSON"),
        ({"objects": []}, "no objects"),
        ({"objects": [CAR] * 101}, "101 objects; at most 100"),
        ({"objects": [{**CAR, "box": [0.5, 0.2, 0.1, 0.6]}]}, "object 1 (car): box [0.5, 0.2, 0.1, 0.6] is inverted"),
        ({"objects": [CAR, {**CAR, "box": [0.1, 0.2, 0.5, float("nan")]}]}, "object 2 (car): box"),
    ],
)
def test_bad_layouts(tmp_path: Path, content: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, message, write(tmp_path, **content), "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: LAYOUT.json, --out"),
        (["a.json", "--out", "o", "--strategy", "odd"], "--strategy"),
        (["a.json", "--out", "o", "--seed", "-1"], "--seed"),
        (["a.json", "--out", "o", "--seed", str(2**48)], "is not a seed"),
        (["a.json", "--out", "o", "--steps", "0"], "number of steps from 1 to 1000"),
        (["a.json", "--out", "o", "--guidance", "inf"], "--guidance: 'inf' is not a number"),
        (["a.json", "--out", "o", "--attribute-guidance", "a"], "--attribute-guidance: 'a' is not a number"),
        (["a.json", "--out", "o", "--seeds", "0:2"], "--seeds belongs to --compare"),
        (["a.json", "--out", "o", "--compare", "--seeds", "2:2"], "at least one seed"),
        (["a.json", "--out", "o", "--compare", "--seed", "2"], "leave --strategy and --seed out"),
        (["a.json", "--out", "o", "--compare", "--strategy", "easy"], "leave --strategy and --seed out"),
    ],
)
def test_bad_arguments(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(words)
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said


@pytest.mark.parametrize(
    ("text", "seeds"), [("0:3", [0, 1, 2]), ("7", [7]), ("3,8,11", [3, 8, 11]), ("900000:900002", [900000, 900001])]
)
def test_seed_lists(text: str, seeds: list[int]) -> None:
    assert command.seed_list(text) == seeds


@pytest.mark.parametrize("text", ["", ":", "1:", "a", "1,1", "1,,2", "3:1", "-1:2", "0.5"])
def test_bad_seed_lists(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        command.seed_list(text)


@pytest.mark.parametrize("device", ["nonsense", "meta", "cuda:999"])
def test_a_device_that_is_not_there(
    tmp_path: Path, model: Path, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, out = write(tmp_path, CAR), tmp_path / "out"
    refused(capsys, f"--device {device}: ", layout, "--out", out, "--model", model, "--device", device)
    assert not out.exists()


def test_missing_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "nowhere.json: no such file", tmp_path / "nowhere.json", "--out", tmp_path)
    absent = ("--model", tmp_path / "nowhere")
    refused(capsys, "is no model folder", write(tmp_path, CAR), "--out", tmp_path / "out", *absent)


def test_unknown_class_offers_the_nearest(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, CAR, {**CAR, "label": "caar"})
    refused(capsys, "nearest first: car, ", file, "--out", tmp_path / "out", "--model", model)


@pytest.mark.model
def test_which_detector_looks(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one that is asked for; without one, the bundled model's where the model has none."""
    out = tmp_path / "out"
    words = [str(write(tmp_path, CAR)), "--out", str(out), "--model", str(model), "--steps", "1"]
    assert command.main(words) == 0
    assert json.loads((out / "result.json").read_text())["detector"]["name"] == "yolo11n"
    assert command.main([*words, "--detector", str(BUNDLED_MODEL / "detectors" / "judge")]) == 0
    assert json.loads((out / "result.json").read_text())["detector"]["name"] == "yolov8n"
    assert command.main([*words, "--detector", "nowhere"]) == 2
    assert "no such detector 'nowhere'" in capsys.readouterr().err


def test_the_old_name_of_attribute_guidance_is_taken_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--attribute-guidance", "--difficulty"):
        assert command._parse(["a.json", "--out", "o", flag, "-1.5"]).attribute_guidance == -1.5
    assert command._parse(["a.json", "--out", "o"]).attribute_guidance == 0
    with pytest.raises(SystemExit):
        command._parse(["--help"])
    said = capsys.readouterr().out
    assert "--attribute-guidance A" in said and "difficulty" not in said


@pytest.mark.usefixtures("guarded")
@pytest.mark.slow
def test_guidance_reaches_the_picture(tmp_path: Path, model: Path) -> None:
    pictures, words = [], [str(write(tmp_path, CAR)), "--model", str(model), "--steps", "2"]
    strength = "--attribute-guidance"
    for number, more in enumerate(([], ["--guidance", "1"], [strength, "2"], [strength, "-2"])):
        out = tmp_path / str(number)
        assert command.main([*words, "--out", str(out), *more]) == 0
        with Image.open(out / "image.png") as image:
            pictures.append(np.asarray(image).astype(int))
        made = dict(zip((word[2:] for word in more[::2]), map(float, more[1::2]), strict=True))
        record = read_image(out / "image.png").to_json()
        asked = {"guidance": record["guidance_scale"], "attribute-guidance": record.get("attribute_guidance")}
        assert {name: value for name, value in asked.items() if value is not None} == {
            "guidance": DEFAULT_GUIDANCE
        } | made
        result = json.loads((out / "result.json").read_text())
        said = {"guidance": result["guidance"], "attribute-guidance": result.get("attribute_guidance")}
        assert said == asked
    for a, b in itertools.combinations(pictures, 2):
        assert abs(a - b).max() > 0


@pytest.mark.usefixtures("guarded")
@pytest.mark.slow
def test_the_sampler_reaches_the_picture(tmp_path: Path, model: Path) -> None:
    words, pictures = [str(write(tmp_path, CAR)), "--model", str(model), "--steps", "3"], []
    for name, more in (("own", []), ("ddpm", ["--sampler", "ddpm"]), ("again", ["--sampler", "ddpm"])):
        assert command.main([*words, "--out", str(tmp_path / name), *more]) == 0
        pictures.append((tmp_path / name / "image.png").read_bytes())
        sampler = read_image(tmp_path / name / "image.png").to_json().get("sampler")
        assert (
            sampler == json.loads((tmp_path / name / "result.json").read_text()).get("sampler") == (more or [None])[-1]
        )
    assert pictures[0] != pictures[1] == pictures[2]


@pytest.mark.usefixtures("guarded")
def test_model_without_attributes(
    tmp_path: Path, make_pipeline: Any, vocabulary: Vocabulary, capsys: pytest.CaptureFixture[str]
) -> None:
    save_pipeline(make_pipeline(replace(vocabulary, attribute_words=())), tmp_path / "plain")
    words = [str(write(tmp_path, CAR)), "--out", str(tmp_path / "out"), "--model", str(tmp_path / "plain")]
    assert command.main([*words, "--steps", "1"]) == 0
    for more in (["--compare"], ["--strategy", "hard"], ["--attribute-guidance", "1"], ["--difficulty", "1"]):
        assert command.main([*words, *more]) == 2
        assert "knows no easy and hard objects" in capsys.readouterr().err


def test_damaged_weights_are_refused(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = Path(shutil.copytree(model, tmp_path / "damaged"))
    file = next((damaged / "unet").glob("*.safetensors"))
    weights = bytearray(file.read_bytes())
    weights[-100] ^= 1
    file.write_bytes(weights)
    assert command.main([str(write(tmp_path, CAR)), "--out", str(tmp_path / "out"), "--model", str(damaged)]) == 2
    assert re.search(rf"{file.name} is damaged: .*[0-9a-f]{{64}}.*[0-9a-f]{{64}}", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_one_picture(tmp_path: Path, model: Path, guarded: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "out"
    words = [write(tmp_path, CAR, LIGHT, ROAD), "--out", out, "--model", model, "--steps", "2", "--seed", "5"]
    assert command.main([*map(str, words), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.strip() == str(out / "result.json")
    result = json.loads((out / "result.json").read_text())
    with Image.open(out / "image.png") as image:
        score = round(guarded.score(image), 6)
    assert result["objects"] == [
        {**CAR, "attribute": "easy", "confidence": pytest.approx(score, abs=1e-6), "found": score >= 0.5},
        {**LIGHT, "confidence": 0.0, "found": False},
        {**ROAD, "attribute": "background", "confidence": None, "found": None},
    ]
    assert result["model"] == {"name": "tiny", "sha256": model_hash(model)}
    assert result["detector"] == {"name": "guard", "sha256": "1" * 64, "min_score": 0.5}
    assert result["seconds"] > 0
    layout, record = (kept := read_image(out / "image.png")).layout, kept.to_json()
    assert [box.attribute for box in layout.boxes] == [Attribute.EASY, Attribute.HARD, Attribute.BACKGROUND]
    assert (record["seed"], record["strategy"], record["model"]) == (5, "origin", "tiny")
    assert record["device"] == "cpu"


@pytest.mark.usefixtures("guarded")
def test_strategy_and_a_picture_as_layout(tmp_path: Path, model: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    common = ["--model", str(model), "--steps", "2"]
    assert command.main([str(write(tmp_path, CAR, LIGHT)), "--out", str(first), "--strategy", "hard", *common]) == 0
    assert command.main([str(first / "image.png"), "--out", str(second), *common]) == 0
    names = [item["attribute"] for item in json.loads((second / "result.json").read_text())["objects"]]
    assert names == ["hard", "hard"]
    with Image.open(first / "image.png") as a, Image.open(second / "image.png") as b:
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))  # the same layout and noise


def test_pairs(tmp_path: Path, model: Path, guarded: Guard) -> None:
    out, seeds = tmp_path / "out", [3, 4, 9, 10, 11, 12, 13, 14, 15, 16]
    words = [str(write(tmp_path, CAR, ROAD)), "--out", str(out), "--model", str(model), "--steps", "1"]
    assert command.main([*words, "--compare", "--seeds", ",".join(map(str, seeds))]) == 0
    result = json.loads((out / "comparison.json").read_text())
    scores = {}
    for seed in seeds:
        for name in ("easy", "hard"):
            with Image.open(out / "pairs" / f"{seed:04d}-{name}.png") as image:
                scores[seed, name] = guarded.score(image)
    car, road = result["objects"]
    assert [pair["seed"] for pair in car["pairs"]] == seeds
    assert [pair["easy"] for pair in car["pairs"]] == pytest.approx([scores[s, "easy"] for s in seeds], abs=1e-6)
    drop = np.mean([scores[s, "easy"] - scores[s, "hard"] for s in seeds])
    assert result["mean_drop"] == pytest.approx(drop, abs=2e-6)
    assert car["drop"] == pytest.approx(drop, abs=2e-6)
    assert result["ci95"][0] <= drop <= result["ci95"][1]
    for name in ("easy", "hard"):
        assert result[f"miss_rate_{name}"] == pytest.approx(np.mean([scores[s, name] < 0.5 for s in seeds]))
    assert (road["easy"], road["drop"], road["pairs"]) == (None, None, [])


@pytest.mark.usefixtures("guarded")
def test_nothing_to_compare(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(write(tmp_path, ROAD)), "--out", str(tmp_path / "out"), "--model", str(model), "--compare"]
    assert command.main(words) == 2
    assert "everything in this layout is background" in capsys.readouterr().err


@pytest.mark.usefixtures("guarded")
def test_out_that_is_a_file(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    words = [str(write(tmp_path, CAR)), "--out", str(tmp_path / "file" / "out"), "--model", str(model), "--steps", "1"]
    with pytest.raises(SystemExit) as end:
        command.main(words)
    assert end.value.code == 2
    assert "is a file, so nothing can be written below it" in capsys.readouterr().err


@pytest.mark.model
def test_a_detector_guides_a_model_without_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bundled detector and the words-free baseline: it is less sure of an object that is asked to be hard, and the
    files say how they were made."""
    tv = {"label": "tv", "box": [0.2, 0.3, 0.7, 0.7]}
    layout = write(tmp_path, tv, width=256, height=256)
    model = BUNDLED_MODEL.with_name("papercut-geodiffusion")
    words = [str(layout), "--model", str(model), "--steps", "20", "--seed", "3", "--device", "cpu"]
    sure = {}
    for strategy in ("easy", "hard"):
        out = tmp_path / strategy
        led = ["--strategy", strategy, "--detector-guidance", "1.0", "--out", str(out)]
        assert command.main([*words, *led]) == 0
        result = json.loads((out / "result.json").read_text())
        sure[strategy] = result["objects"][0]["confidence"]
        kept = read_image(out / "image.png").sampling
        assert kept is not None and (result["detector_guidance"], kept.detector_guidance) == (1.0, 1.0)
    assert sure["hard"] < sure["easy"] - 0.2
    capsys.readouterr()
    refused(capsys, "(--detector-guidance 1)", *words, "--strategy", "hard", "--out", tmp_path / "none")


def test_detectors_without_a_gradient_guide_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Blind:
        name, sha256, labels, min_score = "blind", "1" * 64, ("car",), 0.5

    monkeypatch.setattr(command, "load_detector", lambda *_, **__: Blind())
    words = [write(tmp_path, CAR), "--model", model, "--detector-guidance", "1", "--out", tmp_path / "out"]
    refused(capsys, "blind cannot guide images: it gives no gradient", *words)
    assert not (tmp_path / "out").exists()
