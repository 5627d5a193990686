"""Whatever made an image: the studio, given its file, draws it again to the pixel, also where it was one of a batch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from app.engine.generation import Ask
from app.engine.studio import Studio
from app.studio.layout_files import Opened, open_files
from app.studio.results.form import Form
from app.studio.results.generate import generate
from detdiffusion import __main__ as command
from detdiffusion.attributes import Strategy
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.detection import Detector
from detdiffusion.image_record import ImageRecord, read_image, save_image
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig
from training.__main__ import main as training
from training.evaluation import inputs
from training.synthesis import workers


def draw_again(studio: Studio, file: Path) -> tuple[Opened, SamplingConfig]:
    opened = open_files(studio, [file])
    assert opened.recipe is not None, opened.note
    (again,) = studio.generation.results([Ask(Layout.from_json(opened.layout), opened.recipe)], "me")
    with Image.open(file) as first, Image.open(again.file) as second:
        assert np.array_equal(np.asarray(first), np.asarray(second)), "to the pixel"
    assert "Restored layout, seed and settings" in opened.note
    return opened, opened.recipe


def layouts(folder: Path, street: dict[str, Any]) -> Path:
    path = folder / "layouts.jsonl"
    rows = [street, {**street, "objects": street["objects"][:1]}, {**street, "objects": street["objects"][1:]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_of_the_studio(studio: Studio, street: dict[str, Any]) -> None:
    wide = {**street, "width": 128}
    *_, last = generate(studio, wide, Form(True, 2**48 - 1, 3, 2.5, 0.5, "ddpm"), "me")
    assert last.picture.file is not None
    assert draw_again(studio, last.picture.file)[1] == SamplingConfig(2**48 - 1, 3, 2.5, 0.5, "ddpm")


def test_of_fixed_boxes_and_difficulties(studio: Studio, street: dict[str, Any]) -> None:
    graded = {**street, "objects": [{**street["objects"][0], "difficulty": 0.25}, *street["objects"][1:]]}
    *_, last = generate(studio, graded, Form(True, 5, 3, 2.5, fix_boxes=True), "me")
    assert last.picture.file is not None
    opened, how = draw_again(studio, last.picture.file)
    assert how == SamplingConfig(5, 3, 2.5, fix_boxes=True)
    assert [item.get("difficulty") for item in opened.layout["objects"]] == [0.25, None, None]


def test_of_the_command(
    studio: Studio, street: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "load_detector", lambda *_, **__: studio.model.detector)
    (tmp_path / "layout.json").write_text(json.dumps(street))
    words = [str(tmp_path / "layout.json"), "--model", str(studio.model.folder), "--steps", "2", "--guidance", "5"]
    assert (
        command.main([*words, "--out", str(tmp_path / "one"), "--strategy", "hard", "--attribute-guidance", "1"]) == 0
    )
    opened, how = draw_again(studio, tmp_path / "one" / "image.png")
    assert how == SamplingConfig(7, 2, 5.0, 1.0)
    assert [item["attribute"] for item in opened.layout["objects"]] == ["hard", "hard", "background"]
    assert command.main([*words, "--out", str(tmp_path / "two"), "--compare", "--seeds", "3,4"]) == 0
    for file in sorted((tmp_path / "two" / "pairs").glob("*.png")):
        draw_again(studio, file)


@pytest.mark.parametrize("batch", [1, 16])
def test_of_generate(
    studio: Studio, street: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(workers, "run_local", lambda job, _: workers.work(job))  # in this process: quicker
    threads = torch.get_num_threads()
    words = ["generate", "--model", str(studio.model.folder), "--layouts", str(layouts(tmp_path, street))]
    words += ["--strategy", "hard", "--count", "3", "--steps", "2", "--guidance", "5", "--attribute-guidance", "0.5"]
    words += ["--batch", str(batch)]
    assert training([*words, "--detector", "none", "--device", "cpu", "--out", str(tmp_path / "made")]) == 0
    torch.set_num_threads(threads)
    files = sorted((tmp_path / "made").rglob("*.png"))
    assert len(files) == 3
    for file in files:
        opened, how = draw_again(studio, file)
        assert (how.steps, how.guidance_scale, how.attribute_guidance) == (2, 5.0, 0.5)
        assert {item["attribute"] for item in opened.layout["objects"]} <= {"hard", "background"}
        assert "Generated together" not in opened.note


@pytest.mark.parametrize("batch", [1, 16])
def test_of_evaluate(
    studio: Studio, street: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    watcher: Detector = studio.model.detector
    monkeypatch.setattr(inputs, "load_detector", lambda *_, **__: watcher)
    words = ["evaluate", "--model", str(studio.model.folder), "--layouts", str(layouts(tmp_path, street))]
    words += [
        "--detector",
        str(BUNDLED_MODEL / "detectors" / "bundled"),
        "--steps",
        "2",
        "--guidance",
        "5",
        "--attribute-guidance",
        "1.5",
    ]
    words += ["--one-hard", "--batch", str(batch)]
    assert training([*words, "--device", "cpu", "--out", str(tmp_path / "report.json")]) == 0
    files = sorted((tmp_path / "report.work" / "tiny").rglob("0*.png"))
    assert len(files) == 3 * 5, "origin, easy, hard, more difficult, one hard object"
    strengths = {draw_again(studio, file)[1].attribute_guidance for file in files}
    assert strengths == {0.0, 1.5}


def test_the_note_says_what_differs(studio: Studio, street: dict[str, Any], tmp_path: Path) -> None:
    """It does not claim that all is back where the studio cannot draw the same."""
    file, layout, image = tmp_path / "a.png", Layout.from_json(street), Image.new("RGB", (64, 64))
    own = ("tiny", studio.model.sha256, "watcher")
    how = SamplingConfig(5, 3)
    for record, note in (
        (
            ImageRecord(layout, SamplingConfig(5, 500, 20)),
            "not its settings: the studio does not allow 500 steps (1 to 100), guidance 20 (1 to 15)",
        ),
        (ImageRecord(layout, None), "not its settings: the file names no seed"),
        (ImageRecord(layout, how, model="other", model_sha256="f00"), "Made by another model (other)"),
        (
            ImageRecord(layout, how, Strategy.ORIGIN, *own, "float16", "cuda"),
            "Made in float16 on cuda: ",
        ),
    ):
        save_image(file, image, record)
        assert read_image(file).layout == layout
        opened = open_files(studio, [file])
        assert note in opened.note
        assert opened.layout == street
        assert (opened.recipe is None) == ("not its settings" in note)


def test_the_note_says_that_a_batch_of_an_accelerator_rounds_otherwise(
    studio: Studio, street: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, layout, image = tmp_path / "a.png", Layout.from_json(street), Image.new("RGB", (64, 64))
    monkeypatch.setattr(type(studio.model.pipeline), "computed_in", lambda *_: ("bfloat16", "cuda"))
    own = ("tiny", studio.model.sha256, "watcher", "bfloat16", "cuda")
    for batch, said in ((16, True), (1, False), (0, False)):
        save_image(file, image, ImageRecord(layout, SamplingConfig(5, 3), Strategy.ORIGIN, *own, batch))
        assert ("Generated together with 15 others" in open_files(studio, [file]).note) == said
