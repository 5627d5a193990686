"""The classifier of causes learns, goes on after a kill, and knows every cause of the world by words."""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from detdiffusion.errors import ConfigError
from detdiffusion.layout import Box, Layout
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.cause_classifier import CauseClassifier, CauseConfig
from training.causes import command
from training.causes.config import WORDS, CauseTrainingConfig
from training.causes.objects import Objects, read_or_make_objects
from training.causes.recipe import draw_batch, mirror, train_network
from training.causes.run import train_causes
from training.data.papercut.causes import Cause
from training.data.papercut.classes import THINGS
from training.data.papercut.scene import Scene, scene, scenes

CPU = torch.device("cpu")
ABOUT = CauseConfig(("car", "cat"), {"colour": "unusual colour", "size": "unusual size"}, side=16, widths=(8, 8))
FEW = {
    "scenes": 4,
    "alone_scenes": 1,
    "held_out_scenes": 2,
    "unseen_scenes": 2,
    "steps": 4,
    "batch": 4,
    "checkpoint_steps": 2,
}
TINY = CauseTrainingConfig(**FEW)  # type: ignore[arg-type]


class Killed(Exception):
    pass


def objects(count: int = 64) -> Objects:
    """Cars are red and cats are blue; what is not has an unusual colour."""
    rng = np.random.default_rng(0)
    labels, odd = torch.from_numpy(rng.integers(2, size=count)), torch.from_numpy(rng.integers(2, size=count))
    crops = torch.zeros(count, 16, 16, 3, dtype=torch.uint8)
    crops[torch.arange(count), :, :, 2 * (labels ^ odd)] = 200
    boxes = torch.tensor([[0.2, 0.3, 0.6, 0.8]]).repeat(count, 1)
    truth = torch.stack([1 - odd, odd, 0 * odd], dim=1).float()
    return Objects(crops, boxes, boxes, labels, truth, torch.zeros(count, dtype=torch.bool))


def test_every_cause_has_words_of_its_own() -> None:
    assert list(WORDS) == list(Cause) and len(set(WORDS.values())) == len(Cause)


@pytest.mark.slow
def test_it_learns_what_is_unusual_for_a_class(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, steps=60, batch=16, checkpoint_steps=60, warmup_steps=5, learning_rate=1e-2)
    losses: list[float] = []
    network = train_network(objects(), ABOUT, config, tmp_path, CPU, lambda *told: losses.append(told[2]["loss"]))
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])
    picture = Image.new("RGB", (16, 16), (200, 0, 0))
    classifier = CauseClassifier(dataclasses.replace(ABOUT, sure={"colour": 0.5}), network)
    layouts = [Layout(16, 16, (Box(label, (0.2, 0.3, 0.6, 0.8)),)) for label in ABOUT.classes]
    assert [classifier.words(picture, layout) for layout in layouts] == [((),), (("unusual colour",),)]


def test_a_killed_training_goes_on_bit_equal(tmp_path: Path) -> None:
    def kill(done: int, total: int, metrics: dict[str, float]) -> None:
        if done == 3:
            raise Killed

    whole = train_network(objects(), ABOUT, TINY, tmp_path / "whole", CPU, lambda *_: None)
    with pytest.raises(Killed):
        train_network(objects(), ABOUT, TINY, tmp_path / "cut", CPU, kill)
    resumed = train_network(objects(), ABOUT, TINY, tmp_path / "cut", CPU, lambda *_: None)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    one, again, next_step = (draw_batch(objects(), TINY, step) for step in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], next_step[0])
    assert mirror(torch.tensor([[0.25, 0.3, 0.5, 0.8]]))[0].tolist() == pytest.approx([0.5, 0.3, 0.75, 0.8])


def read(path: Path, restored: float = 0.0) -> Objects:
    def grey(images: Sequence[Image.Image]) -> list[Image.Image]:
        return [ImageOps.grayscale(image).convert("RGB") for image in images]

    about = CauseConfig(THINGS, dict(WORDS), side=16)
    return read_or_make_objects(path, range(3), about, size=64, hard_share=0.9, restored=restored, restore=grey)


def test_objects_are_the_things_of_scenes(tmp_path: Path) -> None:
    made = read(tmp_path / "objects.npz")
    scenes = [scene(seed, 64, 0.9) for seed in range(3)]
    things = [
        (box, causes)
        for one in scenes
        for box, causes in zip(one.layout.boxes, one.causes, strict=True)
        if box.label in THINGS
    ]
    assert len(made) == len(things) and made.crops.shape == (len(things), 16, 16, 3)
    assert [THINGS[number] for number in made.labels.tolist()] == [box.label for box, _ in things]
    wanted = [[not causes, *(cause in causes for cause in Cause)] for _, causes in things]
    assert made.truth.bool().tolist() == wanted and not made.restored.any()
    assert torch.equal(read(tmp_path / "objects.npz").crops, made.crops), "read, not made again"


def test_a_scene_may_have_no_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(tmp_path / "whole.npz")

    def emptied(seeds: Sequence[int], *how: Any) -> Iterator[Scene]:
        for one in scenes(seeds, *how):
            chosen = [place for place, box in enumerate(one.layout.boxes) if box.label not in THINGS]
            boxes = tuple(one.layout.boxes[place] for place in chosen)
            yield dataclasses.replace(
                one, layout=dataclasses.replace(one.layout, boxes=boxes), causes=tuple(one.causes[i] for i in chosen)
            )

    monkeypatch.setattr("training.causes.objects.scenes", emptied)
    none = read(tmp_path / "none.npz")
    assert len(none) == 0
    assert torch.equal(Objects.join([none, whole]).crops, whole.crops)


def test_a_share_of_the_scenes_is_restored(tmp_path: Path) -> None:
    plain, half, all_of_them = (read(tmp_path / f"{share}.npz", share) for share in (0.0, 0.5, 1.0))
    grey = all_of_them.crops.float().std(3).amax((1, 2)) == 0
    assert all_of_them.restored.all() and grey.all()
    assert torch.equal(half.crops[~half.restored], plain.crops[~half.restored])
    assert torch.equal(half.crops[half.restored], all_of_them.crops[half.restored])


@pytest.mark.slow
def test_from_scenes_to_a_classifier(tmp_path: Path, at_home: None) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        SmallAutoencoder((8, 8, 8), (1, 1, 1), 4).save_pretrained(tmp_path / "vae")
    settings = [f"{name}={value}" for name, value in FEW.items() if name not in ("scenes", "steps")]
    words = ["--scenes", "4", "--steps", "4", "--size", "64", "--workers", "1", "--autoencoder", str(tmp_path)]
    assert run(tmp_path / "run", *words, "--set", *settings, "restored=0.5") == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["plain"]["objects"] and list(report["plain"]["by_cause"]) == ["none", *Cause]
    made = scene(900_000, 64)
    classifier = CauseClassifier.load(tmp_path / "run" / "model")
    assert classifier.probabilities(made.image, made.layout).shape == (len(made.layout.boxes), 1 + len(Cause))
    before = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    assert run(tmp_path / "run", *words, "--set", *settings, "restored=0.5") == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == before
    with pytest.raises(ConfigError, match=r"steps was 4, is 5"):
        train_causes(dataclasses.replace(TINY, restored=0.5, steps=5), tmp_path / "run", CPU, size=64)


def run(out: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(["--out", str(out), *words]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps 0 needs to be a number above 0"),
        ({"restored": 1.5}, "restored 1.5 needs to be a number from 0 to 1"),
        ({"weight_decay": -1.0}, "weight_decay -1.0 needs to be a number of 0 or more"),
        ({"first_scene": 899_999}, "scenes from 900000 up are held out"),
    ],
)
def test_settings_out_of_range(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(TINY, **change)  # type: ignore[arg-type]
