"""python -m training train: what it prints, refuses and leaves behind. Kills, stops and faults: see test_trainer.py
and test_latents.py; many processes: test_processes.py."""

import argparse
import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from hub_server import hub_server
from huggingface_hub import constants

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.detectors import BUNDLED, load_detector
from detdiffusion.diffusion.manifest import verify
from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.errors import ConfigError
from training.__main__ import main
from training.data.datasets import open_dataset
from training.generator import command as train
from training.generator import detector_choice
from training.generator.batch import SampleStore
from training.generator.config import TRAIN_PRESETS
from training.generator.detector_choice import choose_detector
from training.generator.model import new_model
from training.generator.needs import Needs, check_disk, needs

ROOT = Path(__file__).resolve().parents[3]
MODEL = ROOT / "assets" / "models" / "papercut"

pytestmark = [pytest.mark.usefixtures("at_home"), pytest.mark.slow]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def status(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "status.json").read_text()))


def test_a_dry_run_prints_everything_and_writes_nothing(
    papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(papercut.data.parent.rglob("*"))
    assert main([*papercut.words(tmp_path / "run", "loss.use_dice=false"), "--steps", "77", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    tree, end = json.JSONDecoder().raw_decode(printed)
    assert tree["preset"] == "papercut-cpu" and tree["steps"] == 77 and tree["loss"]["use_dice"] is False
    assert set(TRAIN_PRESETS["papercut-cpu"].to_json()) < set(tree), "the whole config"
    rest = printed[end:]
    assert "10 kept" in rest and "detector of the probe: none" in rest
    assert "GB for weights, gradients, AdamW and the average" in rest
    assert "disk: " in rest and "latents" in rest and "checkpoints" in rest
    assert not (tmp_path / "run").exists() and sorted(papercut.data.parent.rglob("*")) == before


def test_a_run_leaves_a_model_that_draws(papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kite = BUNDLED_MODEL / "layouts/kite-hill.json"
    assert main([*papercut.words(tmp_path), "--examples", str(kite)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "model")
    verify(tmp_path / "model")
    assert [path.name for path in (tmp_path / "model/layouts").iterdir()] == ["01-Kite-hill.json"]
    pipe = load_pipeline(tmp_path / "model")
    layout = apply_strategy(pipe.vocabulary.resolve(SampleStore.load(tmp_path / "latents").layouts[0]), Strategy.HARD)
    easy, again = (pipe([layout], seeds=[3], steps=2).images[0] for _ in range(2))
    assert easy.size == (64, 64) and easy.tobytes() == again.tobytes()
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["preset"] == "papercut-cpu" and saved["config"]["steps"] == 8
    assert saved["data"]["masks"] == "instances" and len(saved["data"]["fingerprint"]) == 64
    assert len(saved["attributes"]) == 64 and saved["base"] == str(papercut.base)
    assert (status(tmp_path)["state"], status(tmp_path)["done"]) == ("finished", 8)
    labels = {box.attribute for layout in SampleStore.load(tmp_path / "latents").layouts for box in layout.boxes}
    assert len(labels) == 3, "the attributes of the file"


def request(*words: object) -> train.TrainRequest:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return train.request_of(parser.parse_args(["--data", "data", "--out", "run", *map(str, words)]))


def test_the_config_of_a_run_is_a_config_for_another(papercut: Any, tmp_path: Path) -> None:
    words = papercut.words(tmp_path / "one", "steps=1", "betas=[0.5, 0.9]", "loss.use_dice=false")
    assert main(words) == 0
    saved = tmp_path / "one" / "config.json"
    began, again = request(*words[words.index("--preset") :]), request("--config", saved)
    assert again.config == began.config
    assert (again.preset, again.base) == ("papercut-cpu", str(papercut.base))
    given = ["--data", papercut.data, "--attributes", papercut.attributes, "--detector", "none"]
    assert main(["train", "--config", str(saved), *map(str, given), "--out", str(tmp_path / "two")]) == 0
    assert json.loads((tmp_path / "two" / "config.json").read_text()) == json.loads(saved.read_text())
    model = [(tmp_path / name / "model" / "manifest.json").read_bytes() for name in ("one", "two")]
    assert model[0] == model[1]
    assert request("--config", saved, "--set", "steps=5", "--base", "b").config.steps == 5, "what is typed counts more"


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@pytest.mark.parametrize("preset", ["papercut-cpu", "sd15-512-controlnet"])
def test_a_whole_config_needs_no_preset(tmp_path: Path, preset: str, suffix: str) -> None:
    file = tmp_path / f"config.{suffix}"
    tree = TRAIN_PRESETS[preset].to_json()
    file.write_text(json.dumps(tree) if suffix == "json" else yaml.safe_dump(tree))
    assert request("--config", file).config == TRAIN_PRESETS[preset]
    assert request("--config", file).preset is None


def test_a_part_of_a_config_lies_over_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "part.yaml"
    file.write_text("steps: 9\nlearning_rate: 1e-5\nloss: {use_mask: false}\nblueprint: null\ncontrolnet: {}\n")
    config = request("--preset", "papercut-cpu", "--config", file).config
    base = TRAIN_PRESETS["papercut-cpu"]
    loss = dataclasses.replace(base.loss, use_mask=False)
    changes = {"steps": 9, "learning_rate": 1e-5, "loss": loss, "blueprint": None, "controlnet": {}}
    assert config == dataclasses.replace(base, **changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 9", "give --preset, or a --config that names one or brings unet and text"),
        (
            "{preset: papercut-tpu, config: {steps: 9}}",
            "there is no preset papercut-tpu; known: fine-tune, papercut-cpu",
        ),
        ("{preset: papercut-cpu, config: {stepz: 9}}", r"bad\.yaml: stepz: there is no such field; did you mean steps"),
        ("{preset: papercut-cpu, config: {loss: {use_dise: 1}}}", "loss.use_dise: there is no such field"),
        ("{preset: papercut-cpu, config: {steps: many}}", "steps=many: needs a value like 15000"),
        ("- steps", "needs fields and their values"),
        ("steps: [", "cannot be read"),
    ],
)
def test_a_config_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        request("--config", tmp_path / "bad.yaml")


@pytest.mark.parametrize("preset", ["papercut-cpu-geodiffusion", "papercut-gpu-geodiffusion"])
def test_geodiffusion_trains_without_attributes(papercut: Any, tmp_path: Path, preset: str) -> None:
    assert main(papercut.words(tmp_path, "steps=1", "sample_steps=1", preset=preset, attributes=False)) == 0
    pipe = load_pipeline(tmp_path / "model")
    assert pipe.vocabulary.attribute_words == () and pipe.perception_head is None
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert (rows[0]["mask"], rows[0]["dice"]) == (0, 0) and rows[0]["total"] == rows[0]["denoise"]
    assert (tmp_path / "samples" / "step-00000001.png").is_file()


@pytest.mark.parametrize("variant", ["no-alpha-bar", "no-dice", "no-perception"])
def test_the_ablations_train(papercut: Any, tmp_path: Path, variant: str) -> None:
    assert main(papercut.words(tmp_path, "steps=1", preset=f"papercut-cpu-{variant}")) == 0
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert (row["dice"] == 0) == (variant != "no-alpha-bar") and (row["mask"] == 0) == (variant == "no-perception")


@pytest.mark.model
def test_the_bases_detector_watches_and_goes_along(papercut: Any, tmp_path: Path) -> None:
    words = papercut.words(tmp_path, "steps=2", "sample_steps=2", "sample_layouts=2")
    words.remove("--detector")
    words.remove("none")
    assert main(words) == 0
    row = json.loads((tmp_path / "probe.jsonl").read_text())
    assert row["step"] == 2 and 0 <= row["recall_easy"] <= 1 and {"recall_hard", "confidence_origin"} < set(row)
    verify(tmp_path / "model")
    ours, theirs = load_detector(BUNDLED, tmp_path / "model"), load_detector(BUNDLED, MODEL)
    assert ours.sha256 == theirs.sha256


def test_a_detector_that_knows_nothing_of_the_data(
    papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector_choice, "load_detector", lambda *_: SimpleNamespace(name="zebras", labels=("zebra",)))
    dataset = open_dataset(papercut.data)
    assert choose_detector(None, str(MODEL), dataset) is None, "not asked for: the probe does without"
    assert choose_detector("none", None, dataset) is None
    words = papercut.words(tmp_path / "run")
    (tmp_path / "zebras.pt").write_bytes(b"PK")
    words[words.index("none")] = str(tmp_path / "zebras.pt")
    assert main(words) == 2
    assert "zebras knows none of the data's classes of things; give --detector none" in said(capsys)


def test_a_results_file_cannot_watch(papercut: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    results = SimpleNamespace(name="found", labels=("car",), ids=("1",), for_images=lambda *_: [])
    monkeypatch.setattr(detector_choice, "load_detector", lambda *_: results)
    with pytest.raises(ConfigError, match="found is a file of results, which cannot look at samples"):
        choose_detector("found.json", None, open_dataset(papercut.data))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("--data", "absent"), "absent: no such folder"),
        (("--attributes", "absent.jsonl"), "absent.jsonl: no such file; make or finish it with: python -m training"),
        (("--base", "absent"), "absent has no autoencoder; give a model folder"),
        (("--detector", "absent"), "absent"),
    ],
)
def test_what_is_not_there_is_said(
    papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], reason: str
) -> None:
    words = papercut.words(tmp_path / "run")
    words[words.index(change[0]) + 1] = change[1]
    assert main(words) == 2
    line = said(capsys)
    assert line.startswith("error: ") and reason in line
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_an_out_below_a_file_is_refused_at_once(papercut: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(papercut.words(Path(__file__) / "run"))
    assert end.value.code == 2 and said(capsys).endswith("is a file, so nothing can be written below it")


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("stepz=3", "did you mean steps?"),
        ("size=[60, 64]", "size is 64x60 pixels; both sides need to be multiples of 8"),
        ("batch=0", "batch is 0"),
    ],
)
def test_what_cannot_be_is_said(
    papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, reason: str
) -> None:
    assert main(papercut.words(tmp_path / "run", setting)) == 2
    assert reason in said(capsys)


def test_attributes_are_asked_for(papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(papercut.words(tmp_path / "run", attributes=False)) == 2
    line = said(capsys)
    assert "this preset learns attributes: make them with `python -m training annotate --data " in line
    assert "--attributes attributes.jsonl" in line


def test_stable_diffusion_is_asked_for(papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--preset", "sd15-512-geodiffusion", "--data", papercut.data, "--out", tmp_path / "run"]
    assert main([str(word) for word in command]) == 2
    assert "give its folder (or hub id) with --base" in said(capsys)


def test_a_revision_of_a_hub_id_is_trained_from_and_no_token_is_written(
    papercut: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    published: ModuleType,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    out, settings = tmp_path / "run", ["size=[64, 64]", "steps=1", "batch=2", "micro_batch=2", "grid=[8, 8]"]
    command = ["train", "--preset", "sd15-256-geodiffusion", "--data", papercut.data, "--out", out, "--device", "cpu"]
    words = [*map(str, command), "--detector", "none", "--base", "someone/sd", "--set", *settings]
    with hub_server(monkeypatch) as hub:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        hub.put("someone/sd", published.write_stable_diffusion(tmp_path / "sd", safety=False), branch="v1.5")
        hub.needs_token = "hf_secret"
        assert main(words) == 2 and "the hub did not give it" in said(capsys), "it has no main"
        assert main([*words, "--revision", "v1.5"]) == 0
    kept = json.loads((out / "config.json").read_text())
    assert (kept["base"], kept["revision"]) == ("someone/sd", "v1.5")
    again = request("--config", out / "config.json")
    assert (again.base, again.revision) == ("someone/sd", "v1.5")
    assert request("--config", out / "config.json", "--base", "other/sd").revision is None
    written = [path for path in tmp_path.rglob("*") if path.is_file() and b"hf_secret" in path.read_bytes()]
    assert written == [] and "hf_secret" not in "".join(capsys.readouterr())
    words[words.index("--base") + 1] = str(tmp_path / "sd")
    assert main([*words, "--revision", "v1.5"]) == 2
    assert f"--revision is for a hub id, and --base {tmp_path / 'sd'} is none" in said(capsys)


def test_too_little_disk_is_said_before_the_start(
    papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    out = tmp_path / "run"
    for words in (papercut.words(out), [*papercut.words(out), "--dry-run"]):
        assert main(words) == 2
        line = said(capsys)
        assert "the run needs about" in line and "has 0.00 GB: free some space, lower keep, or set flip=0" in line
        assert not (out / "latents").exists() and not (out / "checkpoints").exists()


def test_what_a_run_wrote_counts_as_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    needed = Needs(memory=0, latents=500, checkpoints=1_000, model=500)
    with pytest.raises(train.DataError, match="needs about"):
        check_disk(tmp_path / "run", needed)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state").write_bytes(b"x" * 1_000)
    check_disk(tmp_path / "run", needed)


def test_the_stated_disk_is_enough_and_near(papercut: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = papercut.words(out, "keep=2")
    assert main(words) == 0
    dataset = open_dataset(papercut.data)
    config = train.with_settings(TRAIN_PRESETS["papercut-cpu"], words[words.index("--set") + 1 :])
    needed = needs(new_model(config, dataset, str(papercut.base)), config, dataset)
    sizes = {
        name: sum(path.stat().st_size for path in (out / name).rglob("*") if path.is_file())
        for name in ("latents", "checkpoints")
    }
    one = sizes["checkpoints"] / 2
    assert needed.latents == pytest.approx(sizes["latents"], rel=0.05)
    assert needed.checkpoints == pytest.approx(3 * one, rel=0.1), "keep, and one while it is written"


def test_a_signal_before_the_training_ends_the_command(
    papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load: Callable[..., Any] = train.open_dataset

    def stopped_by_a_person(*arguments: Any, **more: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return load(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(train, "open_dataset", stopped_by_a_person)
        assert main(papercut.words(tmp_path)) == 130
    assert "run the same command to resume" in said(capsys)
    assert (status(tmp_path)["state"], status(tmp_path)["done"]) == ("stopped", 0)
    assert main(papercut.words(tmp_path, "steps=1")) == 0


def test_a_second_signal_ends_a_training_at_once(
    papercut: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.core.status import StatusWriter

    progress = StatusWriter.progress

    def insist(self: StatusWriter, step: int, *words: Any, **more: Any) -> None:
        progress(self, step, *words, **more)
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(StatusWriter, "progress", insist)
        assert main(papercut.words(tmp_path)) == 130
    assert status(tmp_path)["state"] == "stopped" and not (tmp_path / "model").exists()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]
    assert main(papercut.words(tmp_path)) == 0


def test_a_run_fails_and_says_where(
    papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from detdiffusion.errors import DataError
    from training.core.status import StatusWriter

    progress = StatusWriter.progress

    def fail(self: StatusWriter, step: int, *words: Any, **more: Any) -> None:
        progress(self, step, *words, **more)
        if step == 5:
            raise DataError("the reason\nin two lines")

    with monkeypatch.context() as patch:
        patch.setattr(StatusWriter, "progress", fail)
        assert main(papercut.words(tmp_path)) == 2
    assert said(capsys) == "error: the reason in two lines"
    found = status(tmp_path)
    assert (found["state"], found["message"]) == ("failed", "the reason in two lines") and found["done"] >= 1


def test_a_damaged_base_is_refused(papercut: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(papercut.base, tmp_path / "base")
    (weights,) = (tmp_path / "base" / "vae").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    words = papercut.words(tmp_path / "run")
    words[words.index("--base") + 1] = str(tmp_path / "base")
    assert main(words) == 2
    assert "has no autoencoder that can be read" in said(capsys)


def test_threads_are_as_they_were(papercut: Any, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    assert main(papercut.words(tmp_path, "steps=1")) == 0
    assert torch.get_num_threads() == before
