"""One model, one generation at a time, cancelled cleanly, saved with what made it."""

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from app.engine import services
from app.engine.services import MAX_SEED, Ask, Engine, Progress, Recipe, Result, Studio
from detdiffusion.attributes import Strategy
from detdiffusion.detectors import BUNDLED
from detdiffusion.diffusion.checkpoint import model_hash, write_manifest
from detdiffusion.errors import Cancelled, CheckpointError, ConfigError, LayoutError
from detdiffusion.layout import Layout, read_png

QUICK = Recipe(seed=5, steps=3)


@pytest.fixture
def layout(street: dict[str, Any]) -> Layout:
    return Layout.from_json(street)


def finish(news: Iterator[Progress | tuple[Result, ...]]) -> tuple[Result, ...]:
    *_, last = news
    assert isinstance(last, tuple)
    return last


def test_progress_then_results(studio: Studio, layout: Layout) -> None:
    *steps, last = studio.run([Ask(layout, QUICK)], "me")
    assert [(news.step, news.steps) for news in steps if isinstance(news, Progress)] == [(1, 3), (2, 3), (3, 3)]
    assert isinstance(last, tuple)
    assert last[0].layout == layout
    np.testing.assert_allclose(last[0].confidences, [0.9, 0.8, np.nan], rtol=1e-6)


def test_previews_are_pictures(studio: Studio, layout: Layout) -> None:
    *steps, _ = studio.run([Ask(layout, Recipe(5, 6), Strategy.EASY), Ask(layout, Recipe(5, 6), Strategy.HARD)], "me")
    shown = [sum(one is not None for one in news.previews) for news in steps if isinstance(news, Progress)]
    assert shown == [0, 0, 2, 2, 2, 2]


def test_same_seed_same_picture_and_another_another(studio: Studio, layout: Layout) -> None:
    pixels = [
        np.asarray(Image.open(finish(studio.run([Ask(layout, Recipe(seed, 3))], "me"))[0].file)) for seed in (5, 5, 6)
    ]
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] != pixels[2]).any()


def test_picture_file_carries_layout_seed_and_model(studio: Studio, layout: Layout) -> None:
    result = finish(studio.run([Ask(layout, QUICK, Strategy.HARD)], "me"))[0]
    kept_layout, record = read_png(result.file)
    assert kept_layout == layout
    assert record["generated"] is True
    kept = {key: record[key] for key in ("seed", "steps", "guidance", "strategy", "model", "model_sha256", "detector")}
    assert kept == {
        "seed": 5,
        "steps": 3,
        "guidance": 3.0,
        "strategy": "hard",
        "model": "tiny",
        "model_sha256": studio.model.sha256,
        "detector": "watcher",
    }


def test_cancel_stops_after_the_step(studio: Studio, layout: Layout) -> None:
    news = studio.run([Ask(layout, Recipe(seed=1, steps=100))], "me")
    next(news)
    studio.cancel("somebody else")
    next(news)
    studio.cancel("me")
    with pytest.raises(Cancelled):
        finish(news)
    assert list(studio.pictures.iterdir()) == []
    assert finish(studio.run([Ask(layout, QUICK)], "me"))  # and it can go on


def test_whoever_waits_sees_it_and_may_cancel(studio: Studio, layout: Layout) -> None:
    first = studio.run([Ask(layout, Recipe(seed=1, steps=100))], "me")
    next(first)
    second = studio.run([Ask(layout, QUICK)], "you")
    waits = next(second)
    assert isinstance(waits, Progress) and (waits.step, waits.before) == (0, 1)
    studio.cancel("you")
    with pytest.raises(Cancelled):
        finish(second)
    assert isinstance(next(first), Progress), "the one at work goes on"
    studio.cancel("me")
    with pytest.raises(Cancelled):
        finish(first)


def test_leaving_the_iterator_stops_the_work(studio: Studio, layout: Layout) -> None:
    news = studio.run([Ask(layout, Recipe(seed=1, steps=100))], "me")
    next(news)
    assert services.WORKER in [thread.name for thread in threading.enumerate()]
    news.close()  # type: ignore[attr-defined]  # a generator
    assert services.WORKER not in [thread.name for thread in threading.enumerate()]


def test_closed_studio_starts_nothing(studio: Studio, layout: Layout) -> None:
    studio.close()
    with pytest.raises(Cancelled):
        finish(studio.run([Ask(layout, QUICK)], "me"))


def test_one_generation_at_a_time(studio: Studio, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0
    generate = Studio._draw

    def counted(self: Studio, *arguments: object) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return generate(self, *arguments)  # type: ignore[arg-type]
        finally:
            running -= 1

    monkeypatch.setattr(Studio, "_draw", counted)
    jobs = [
        threading.Thread(target=lambda user=str(i): finish(studio.run([Ask(layout, QUICK)], user))) for i in range(3)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert (most, running) == (1, 0)


@pytest.fixture
def second(model_folder: Path, tmp_path: Path) -> Path:
    """Another model: the same weights with a note that changes the hash, and no detector."""
    folder = Path(shutil.copytree(model_folder, tmp_path / "second"))
    vocabulary = folder / "vocabulary.json"
    vocabulary.write_text(vocabulary.read_text() + "\n")
    write_manifest(folder)
    return folder


def test_exchanged_model_makes_the_next_picture(studio: Studio, layout: Layout, second: Path) -> None:
    before, detector = studio.model, studio.detector
    studio.exchange(second, "street-1")
    record = read_png(finish(studio.run([Ask(layout, QUICK)], "me"))[0].file)[1]
    assert (record["model"], record["model_sha256"]) == ("street-1", model_hash(second))
    assert record["model_sha256"] != before.sha256
    assert studio.detector is detector, "the new one has none of its own"
    assert not studio.at_home
    studio.go_home()
    assert studio.at_home
    assert (studio.model.name, studio.model.sha256) == (before.name, before.sha256)


@pytest.mark.parametrize(
    ("owners", "knows", "used"),
    [
        (("own", "home", "bundled"), {"own": "bus", "home": "bus", "bundled": "bus"}, "own"),
        (("home", "bundled"), {"home": "road", "bundled": "bus"}, "home"),
        (("bundled",), {"bundled": "bus"}, "bundled"),
        (("bundled",), {"bundled": "submarine"}, "no detector"),
        (("own", "bundled"), {"own": "submarine", "bundled": "bus"}, "no detector"),
        ((), {}, "no detector"),
    ],
)
def test_who_looks_at_a_models_pictures(
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owners: tuple[str, ...],
    knows: dict[str, str],
    used: str,
) -> None:
    folders = {name: Path(shutil.copytree(model_folder, tmp_path / name)) for name in ("own", "home", "bundled")}
    for name in owners:
        (folders[name] / "detectors/bundled").mkdir(parents=True)

    def load(name: str, folder: Path) -> services.NoDetector:
        return services.NoDetector(folder.name, labels=(knows[folder.name],))

    monkeypatch.setattr(services, "load_detector", load)
    studio = Studio(folders["home"], tmp_path / "workspace", folders["bundled"])
    studio.exchange(folders["own"], "street-1")
    assert studio.detector.name == used


def test_without_a_detector_nothing_is_said_of_objects(model_folder: Path, tmp_path: Path, layout: Layout) -> None:
    studio = Studio(model_folder, tmp_path / "workspace", bundled=tmp_path)
    (result,) = finish(studio.run([Ask(layout, QUICK)], "me"))
    assert len(result.detections) == 0
    assert np.isnan(result.confidences).all()
    assert read_png(result.file)[1]["detector"] == "no detector"


@pytest.mark.usefixtures("_last_is_flagged")
def test_pictures_that_the_safety_checker_made_black_are_not_looked_at(studio: Studio, layout: Layout) -> None:
    easy, hard = finish(studio.run([Ask(layout, QUICK, Strategy.EASY), Ask(layout, QUICK, Strategy.HARD)], "me"))
    assert (easy.flagged, hard.flagged) == (False, True)
    assert not np.isnan(easy.confidences[:2]).any()
    assert np.isnan(hard.confidences).all()


def test_model_is_exchanged_between_two_generations(studio: Studio, layout: Layout, second: Path) -> None:
    news = studio.run([Ask(layout, Recipe(seed=1, steps=8))], "me")
    next(news)
    exchange = threading.Thread(target=studio.exchange, args=(second, "street-1"))
    exchange.start()
    (result,) = finish(news)
    assert read_png(result.file)[1]["model"] == result.model.name == "tiny"
    exchange.join(60)
    assert studio.model.name == "street-1"


def test_damaged_model_leaves_the_present_one(studio: Studio, layout: Layout, second: Path) -> None:
    before = studio.model
    (second / "vocabulary.json").write_text("{}")
    for folder in (second, second / "nowhere"):
        with pytest.raises(CheckpointError):
            studio.exchange(folder, "street-1")
    assert studio.model is before
    assert finish(studio.run([Ask(layout, QUICK)], "me"))


def test_unknown_class_is_refused_before_the_model_runs(studio: Studio, street: dict[str, Any]) -> None:
    layout = Layout.from_json({**street, "objects": [{"label": "buss", "box": [0, 0, 1, 1]}]})
    with pytest.raises(LayoutError, match="nearest first: bus"):
        finish(studio.run([Ask(layout, QUICK)], "me"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed -1"),
        ({"seed": MAX_SEED + 1}, "seed"),
        ({"seed": 1, "steps": 0}, "0 steps; choose 1 to 100"),
        ({"seed": 1, "steps": 101}, "101 steps"),
        ({"seed": 1, "guidance": 0.5}, "guidance 0.5"),
        ({"seed": 1, "guidance": float("nan")}, "guidance nan"),
    ],
)
def test_recipe_is_checked(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe(**values)  # type: ignore[arg-type]


def test_missing_model_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model folder"):
        Studio(tmp_path / "nowhere", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_several_models_in_one_run(two_models: Studio, layout: Layout) -> None:
    studio = two_models
    assert list(studio.models()) == ["tiny", "silent"]
    asked = [Ask(layout, QUICK), Ask(layout, QUICK, model="silent"), Ask(layout, Recipe(6, 3), model="silent")]
    *steps, last = studio.run(asked, "me")
    assert [(news.step, news.steps) for news in steps] == [(n, 6) for n in range(1, 7)], "the last two were one batch"
    assert [result.model.name for result in last] == ["tiny", "silent", "silent"]
    assert steps[3].previews[0] is not None, "the first picture is shown while the next are drawn"
    assert steps[3].previews[1] is None
    alone = finish(studio.run([Ask(layout, QUICK, model="silent")], "me"))[0]
    assert (np.asarray(Image.open(alone.file)) == np.asarray(Image.open(last[1].file))).all()
    with pytest.raises(ConfigError, match="no model 'loud'; choose one of tiny, silent"):
        finish(studio.run([Ask(layout, QUICK, model="loud")], "me"))


def test_two_detectors_look_at_one_picture(studio: Studio, layout: Layout) -> None:
    assert studio.detectors() == [BUNDLED]
    assert len(finish(studio.run([Ask(layout, QUICK)], "me"))[0].looks) == 1
    (result,) = finish(studio.run([Ask(layout, QUICK, detectors=(BUNDLED, BUNDLED))], "me"))
    assert len(result.looks) == 2
    np.testing.assert_array_equal(result.looks[1].confidences, result.confidences)
    with pytest.raises(ConfigError, match="no detector 'nobody'; choose one of bundled"):
        finish(studio.run([Ask(layout, QUICK, detectors=("nobody",))], "me"))


def test_a_sampler_goes_into_picture_and_history(studio: Studio, layout: Layout) -> None:
    own, other = finish(studio.run([Ask(layout, QUICK), Ask(layout, Recipe(5, 3, sampler="ddim"))], "me"))
    assert (np.asarray(Image.open(own.file)) != np.asarray(Image.open(other.file))).any()
    assert read_png(other.file)[1]["sampler"] == "ddim" and "sampler" not in read_png(own.file)[1]
    assert [entry.sampler for entry in studio.history.find()] == ["", "ddim"]
    with pytest.raises(ConfigError, match="no sampler 'magic'; choose one of dpm"):
        Recipe(5, 3, sampler="magic")


def test_an_accelerator_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(Engine("cpu").torch_device) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [str(Engine(name).torch_device) for name in (None, "cuda", "cuda:1")] == ["cuda:0", "cuda:0", "cuda:1"]
    with pytest.raises(ConfigError, match="no precision 'half'; choose one of automatic"):
        Engine("cpu", "half")


def test_the_history_keeps_what_the_detector_found(studio: Studio, layout: Layout) -> None:
    finish(studio.run([Ask(layout, QUICK), Ask(layout, replace(QUICK, seed=6))], "me"))
    found = [[(one.label, round(one.score, 1)) for one in entry.found or ()] for entry in studio.history.find()]
    assert found == [[("bus", 0.9), ("car", 0.8)], [("bus", 0.9)]]


def test_difficulty_goes_into_the_picture(studio: Studio, layout: Layout) -> None:
    plain, harder = finish(studio.run([Ask(layout, QUICK), Ask(layout, Recipe(5, 3, difficulty=1.5))], "me"))
    assert (np.asarray(Image.open(plain.file)) != np.asarray(Image.open(harder.file))).any()
    assert read_png(harder.file)[1]["difficulty"] == 1.5
    assert "difficulty" not in read_png(plain.file)[1]
    with pytest.raises(ConfigError, match="difficulty 9 needs to be"):
        Recipe(5, 3, difficulty=9)
