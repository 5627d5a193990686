"""The whole bundle in miniature: from nothing to a model folder that loads; killed and resumed on the way."""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.detectors import BUNDLED, HELD_OUT, load_detector
from detdiffusion.diffusion.manifest import verify
from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Layout
from detdiffusion.models.cause_classifier import load_causes
from training.__main__ import main
from training.autoencoder.config import AutoencoderConfig
from training.causes.config import CauseTrainingConfig
from training.data.papercut.causes import Cause
from training.data.papercut.scene import scene
from training.generator import bundle, bundle_command
from training.generator.batch import SampleStore
from training.generator.bundle import baseline_folder, train_bundle, training_scenes, validation_scenes
from training.generator.chunk import write_chunk
from training.generator.config import PRESETS, BundleConfig, SampleConfig, Stage
from training.generator.detector_config import DetectorConfig
from training.generator.samples import summarise

CPU = torch.device("cpu")
_DETECTOR = DetectorConfig(
    "yolo11n.yaml", scenes=8, first_scene=0, hard_share=0.1, epochs=1, image_size=32, batch=4, validation_scenes=2
)
TINY = BundleConfig(
    detector=_DETECTOR,
    held_out=dataclasses.replace(_DETECTOR, architecture="yolov8n.yaml", first_scene=20, seed=1, centred=True),
    autoencoder=AutoencoderConfig(
        *((8, 8, 8), (1, 1, 1), 4, (8, 8, 8), (1, 1, 1)),
        scenes=4,
        steps=3,
        decoder_steps=2,
        batch=2,
        crop=32,
        checkpoint_steps=2,
    ),
    samples=SampleConfig(scenes=10, chunk=4),
    causes=CauseTrainingConfig(
        scenes=4, alone_scenes=0, held_out_scenes=2, unseen_scenes=2, steps=3, batch=4, checkpoint_steps=2
    ),
    generator=dataclasses.replace(
        PRESETS["cpu"].generator,
        unet={
            **PRESETS["cpu"].generator.unet,
            "sample_size": 8,
            "block_out_channels": (16, 16, 16, 16),
            "norm_num_groups": 8,
        },
        text={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        head={"width": 8},
        size=(64, 64),
        grid=(8, 8),
        steps=4,
        batch=2,
        checkpoint_steps=2,
    ),
)


class Killed(Exception):
    pass


@pytest.mark.slow
@pytest.mark.process
def test_from_nothing_to_a_model_that_the_studio_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_bundle(TINY, tmp_path, CPU, until=Stage.ATTRIBUTES, workers=1)
    assert not (tmp_path / "model" / "model_index.json").exists()
    store = SampleStore.load(tmp_path / Stage.ATTRIBUTES)
    assert store.shape == (4, 8, 8) and len(store.layouts) == 10
    assert all(box.attribute is not None for layout in store.layouts for box in layout.boxes)

    original = bundle.train_generator

    def killed(*arguments: object) -> None:
        def report(done: int, total: int, metrics: dict[str, float]) -> None:
            if done == 3:
                raise Killed

        original(*arguments[:-1], report)  # type: ignore[arg-type]

    monkeypatch.setattr(bundle, "train_generator", killed)
    with pytest.raises(Killed):
        train_bundle(TINY, tmp_path, CPU, workers=1)
    monkeypatch.setattr(bundle, "train_generator", original)
    with pytest.raises(ConfigError, match=r"generator\.steps was 4, is 5"):
        train_bundle(
            dataclasses.replace(TINY, generator=dataclasses.replace(TINY.generator, steps=5)), tmp_path, CPU, workers=1
        )
    folder = train_bundle(TINY, tmp_path, CPU, workers=1)
    steps = [json.loads(row)["step"] for row in (tmp_path / Stage.GENERATOR / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4], "the run went on from the checkpoint of step 2, and each step stands once"

    verify(folder)
    pipe = load_pipeline(folder)
    picture = pipe([scene(900_000, size=64).layout], seeds=[1], steps=2).images[0]
    assert picture.size == (64, 64)
    for name in (BUNDLED, HELD_OUT):
        assert len(load_detector(name, folder).detect([picture])) == 1
    threshold = json.loads((tmp_path / Stage.HELD_OUT / "threshold.json").read_text())
    assert threshold.keys() == {"score", "precision", "recall", "f1"}

    classifier = load_causes(folder)
    assert classifier is not None and classifier.probabilities(picture, scene(900_000, size=64).layout).shape[1] == 13

    hashes = (folder / "manifest.json").read_bytes()
    shutil.rmtree(folder)
    train_bundle(TINY, tmp_path, CPU, workers=1, baselines=["geodiffusion"])
    assert (folder / "manifest.json").read_bytes() == hashes, "a model folder that went missing is written again"
    baseline = load_pipeline(tmp_path / "baselines" / "geodiffusion" / "model")
    assert (
        baseline.vocabulary.attribute_words == ()
        and baseline.perception_head is None
        and baseline.blueprint is not None
    )
    ours, its = (model.vae.state_dict() for model in (pipe, baseline))
    assert all(torch.equal(ours[name], its[name]) for name in ours), "they share the autoencoder"

    train_bundle(TINY, tmp_path, CPU, workers=1, baselines=["no-blueprint"], baseline_steps=2)
    metrics = (tmp_path / "baselines" / "no-blueprint" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in metrics] == [1, 2], "a baseline may learn for less long"


def test_nothing_held_out_is_trained_on() -> None:
    with pytest.raises(ConfigError, match="held out"):
        dataclasses.replace(TINY, samples=SampleConfig(scenes=10, first_scene=899_995))


def test_the_detector_has_not_seen_what_it_labels() -> None:
    for preset in PRESETS.values():
        labelled = range(preset.samples.first_scene, preset.samples.first_scene + preset.samples.scenes)
        seen = preset.detector.first_scene + preset.detector.scenes + preset.detector.validation_scenes
        assert seen <= labelled.start


def test_a_detector_sees_every_cause_alone_beside_the_mixture() -> None:
    config = dataclasses.replace(_DETECTOR, scenes=3, first_scene=700, hard_share=0.0, alone_scenes=2)
    made = list(training_scenes(config, 32, 0))
    found = [set[Cause]().union(*one.causes) for one in made]
    assert found[:3] == [set()] * 3, "of the mixture, which here is ordinary"
    expected = [{cause} for cause in Cause for _ in range(2)]
    assert all(causes <= only for causes, only in zip(found[3:], expected, strict=True))
    assert sum(map(bool, found[3:])) > len(Cause), "a cause that fits nowhere in a scene is left out"
    validated = {scene(seed, 32, 0.0).layout for seed in (703, 704)}
    assert {one.layout for one in validation_scenes(config, 32, 0)} == validated
    assert not validated & {one.layout for one in made}


def test_settings_of_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[BundleConfig] = []
    monkeypatch.setattr(bundle, "train_bundle", lambda config, out, *_, **__: asked.append(config) or out)
    few = ["bundle", "--preset", "cpu", "--out", str(tmp_path)]
    start = str(BUNDLED_MODEL)
    assert main([*few, "--set", "generator.steps=5", "held_out.alone_scenes=7", f"generator.start={start}"]) == 0
    (config,) = asked
    assert (config.generator.steps, config.held_out.alone_scenes, config.generator.start) == (5, 7, start)
    assert main([*few, "--set", "generator.start=DIR"]) == 2
    assert main([*few, "--set", "generator.step=5"]) == 2


def test_the_summary_counts_things_and_their_hard_share(tmp_path: Path) -> None:
    boxes = [("car", "easy"), ("car", "hard"), ("cat", "easy"), ("road", "background")]
    objects = [{"label": label, "box": [0, 0, 1, 1], "attribute": attribute} for label, attribute in boxes]
    layout = Layout.from_json({"width": 8, "height": 8, "objects": objects})
    write_chunk(tmp_path / "chunk-00000.json", [layout], {"latents": torch.zeros(1)})
    assert summarise(tmp_path) == {
        "objects": {"car": {"easy": 1, "hard": 1}, "cat": {"easy": 1}, "road": {"background": 1}},
        "hard_share": pytest.approx(1 / 3),
    }


def test_the_old_names_of_flags(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    bundle_command.add_arguments(parser)
    few = ["--preset", "cpu", "--out", str(tmp_path)]
    old = parser.parse_args([*few, "--rivals", "geodiffusion,controlnet", "--rival-steps", "7"])
    new = parser.parse_args([*few, "--baselines", "geodiffusion,controlnet", "--baseline-steps", "7"])
    assert old == new and len(old.baselines) == 2 and old.baseline_steps == 7
    assert parser.parse_args(few).baselines == () and parser.parse_args(few).baseline_steps is None
    assert "rival" not in parser.format_help() and "--baseline-steps" in parser.format_help()


def test_a_baseline_that_version_0_1_began_goes_on_where_it_is(tmp_path: Path) -> None:
    assert baseline_folder(tmp_path, "geodiffusion") == tmp_path / "baselines" / "geodiffusion"
    (tmp_path / "rivals" / "geodiffusion").mkdir(parents=True)
    assert baseline_folder(tmp_path, "geodiffusion") == tmp_path / "rivals" / "geodiffusion"


def test_a_run_that_version_0_1_began_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = TINY.to_json()
    kept["judge"] = kept.pop("held_out")
    del kept["causes"]
    for name in ("detector", "judge", "samples"):
        kept[name]["difficulty"] = kept[name].pop("hard_share")
    (tmp_path / "config.json").write_text(json.dumps(kept))
    stages: list[Stage] = []
    monkeypatch.setattr(bundle, "_run_stage", lambda stage, *_: stages.append(stage))
    train_bundle(TINY, tmp_path, CPU, until=Stage.HELD_OUT)
    assert stages == [Stage.DETECTOR, Stage.HELD_OUT]
    other = dataclasses.replace(TINY, detector=dataclasses.replace(TINY.detector, hard_share=0.3))
    with pytest.raises(ConfigError, match=r"detector\.hard_share was 0\.1, is 0\.3"):
        train_bundle(other, tmp_path, CPU)
