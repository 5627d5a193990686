"""One model, one generation at a time, cancelled cleanly, saved with what made it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.services import MAX_SEED, Progress, Recipe, Result, Studio
from detdiffusion.attributes import Strategy
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
    *steps, last = studio.run({Strategy.ORIGIN: layout}, QUICK, "me")
    assert [(news.step, news.steps) for news in steps if isinstance(news, Progress)] == [(1, 3), (2, 3), (3, 3)]
    assert isinstance(last, tuple)
    assert last[0].layout == layout
    np.testing.assert_allclose(last[0].confidences, [0.9, 0.8, np.nan], rtol=1e-6)


def test_previews_are_pictures(studio: Studio, layout: Layout) -> None:
    *steps, _ = studio.run({Strategy.EASY: layout, Strategy.HARD: layout}, Recipe(seed=5, steps=6), "me")
    assert [len(news.previews) for news in steps if isinstance(news, Progress)] == [0, 0, 2, 2, 2, 2]


def test_same_seed_same_picture_and_another_another(studio: Studio, layout: Layout) -> None:
    pixels = [
        np.asarray(Image.open(finish(studio.run({Strategy.ORIGIN: layout}, Recipe(seed, 3), "me"))[0].file))
        for seed in (5, 5, 6)
    ]
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] != pixels[2]).any()


def test_picture_file_carries_layout_seed_and_model(studio: Studio, layout: Layout) -> None:
    result = finish(studio.run({Strategy.HARD: layout}, QUICK, "me"))[0]
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
        "model_sha256": studio.model_hash,
        "detector": "watcher",
    }


def test_cancel_stops_after_the_step(studio: Studio, layout: Layout) -> None:
    news = studio.run({Strategy.ORIGIN: layout}, Recipe(seed=1, steps=100), "me")
    next(news)
    studio.cancel("somebody else")
    next(news)
    studio.cancel("me")
    with pytest.raises(Cancelled):
        finish(news)
    assert list(studio.pictures.iterdir()) == []
    assert finish(studio.run({Strategy.ORIGIN: layout}, QUICK, "me"))  # and it can go on


def test_leaving_the_iterator_stops_the_work(studio: Studio, layout: Layout) -> None:
    before = threading.active_count()
    news = studio.run({Strategy.ORIGIN: layout}, Recipe(seed=1, steps=100), "me")
    next(news)
    news.close()  # type: ignore[attr-defined]  # a generator
    assert threading.active_count() == before


def test_closed_studio_starts_nothing(studio: Studio, layout: Layout) -> None:
    studio.close()
    with pytest.raises(Cancelled):
        finish(studio.run({Strategy.ORIGIN: layout}, QUICK, "me"))


def test_one_generation_at_a_time(studio: Studio, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0
    generate = Studio._generate

    def counted(self: Studio, *arguments: object) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return generate(self, *arguments)  # type: ignore[arg-type]
        finally:
            running -= 1

    monkeypatch.setattr(Studio, "_generate", counted)
    jobs = [
        threading.Thread(target=lambda user=str(i): finish(studio.run({Strategy.ORIGIN: layout}, QUICK, user)))
        for i in range(3)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert (most, running) == (1, 0)


def test_unknown_class_is_refused_before_the_model_runs(studio: Studio, street: dict[str, Any]) -> None:
    layout = Layout.from_json({**street, "objects": [{"label": "buss", "box": [0, 0, 1, 1]}]})
    with pytest.raises(LayoutError, match="nearest first: bus"):
        finish(studio.run({Strategy.ORIGIN: layout}, QUICK, "me"))


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
