"""One generation at a time, cancelled cleanly, saved with what made it."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.engine import generation
from app.engine.generation import Ask, GenerationService, Progress, Result
from app.engine.studio import Studio
from detdiffusion.attributes import Strategy
from detdiffusion.errors import Cancelled, ConfigError, LayoutError
from detdiffusion.image_record import read_image
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import DEFAULT_GUIDANCE, SamplingConfig

QUICK = SamplingConfig(seed=5, steps=3)


def finish(news: Iterator[Progress | tuple[Result, ...]]) -> tuple[Result, ...]:
    *_, last = news
    assert isinstance(last, tuple)
    return last


def test_an_image_that_could_take_all_memory_is_refused(studio: Studio, layout: Layout) -> None:
    height, width = studio.model.pipeline.native_size
    with pytest.raises(LayoutError, match=r"the studio draws at most .* with this model, 4 times its own"):
        studio.generation.results([Ask(replace(layout, width=8 * width, height=4 * height), QUICK)], "me")


def test_progress_then_results(studio: Studio, layout: Layout) -> None:
    *steps, last = studio.generation.run([Ask(layout, QUICK)], "me")
    assert [(news.step, news.steps) for news in steps if isinstance(news, Progress)] == [(step, 3) for step in range(4)]
    assert isinstance(last, tuple)
    assert last[0].layout == layout
    np.testing.assert_allclose(last[0].confidences, [0.9, 0.8, np.nan], rtol=1e-6)


@pytest.mark.parametrize(
    ("watched", "seconds", "expected"),
    [(True, 0.0, [0, 0, 0, 2, 2, 2, 2]), (True, 60.0, [0] * 7), (False, 0.0, [0] * 7)],
    ids=["slow", "over before one looks", "nobody looks"],
)
def test_previews_are_pictures(
    studio: Studio, layout: Layout, monkeypatch: pytest.MonkeyPatch, watched: bool, seconds: float, expected: list[int]
) -> None:
    monkeypatch.setattr(generation, "PREVIEW_SECONDS", seconds)
    pair = [Ask(layout, SamplingConfig(5, 6), Strategy.EASY), Ask(layout, SamplingConfig(5, 6), Strategy.HARD)]
    *steps, _ = studio.generation.run(pair, "me", watched=watched)
    shown = [sum(one is not None for one in news.previews) for news in steps if isinstance(news, Progress)]
    assert shown == expected


def test_same_seed_same_picture_and_another_another(studio: Studio, layout: Layout) -> None:
    pixels = [
        np.asarray(Image.open(studio.generation.results([Ask(layout, SamplingConfig(seed, 3))], "me")[0].file))
        for seed in (5, 5, 6)
    ]
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] != pixels[2]).any()


def test_picture_file_carries_layout_seed_and_model(studio: Studio, layout: Layout) -> None:
    result = studio.generation.results([Ask(layout, QUICK, Strategy.HARD)], "me")[0]
    kept_layout, record = (kept := read_image(result.file)).layout, kept.to_json()
    assert kept_layout == layout
    with Image.open(result.file) as image:
        assert json.loads(image.info["detdiffusion"])["generated"] is True
    kept = {
        key: record[key] for key in ("seed", "steps", "guidance_scale", "strategy", "model", "model_sha256", "detector")
    }
    assert kept == {
        "seed": 5,
        "steps": 3,
        "guidance_scale": DEFAULT_GUIDANCE,
        "strategy": "hard",
        "model": "tiny",
        "model_sha256": studio.model.sha256,
        "detector": "watcher",
    }


def test_cancel_stops_after_the_step(studio: Studio, layout: Layout) -> None:
    news = studio.generation.run([Ask(layout, SamplingConfig(seed=1, steps=100))], "me")
    next(news)
    studio.generation.cancel("somebody else")
    next(news)
    studio.generation.cancel("me")
    with pytest.raises(Cancelled):
        finish(news)
    assert list(studio.pictures.glob("*.png")) == []
    assert studio.generation.results([Ask(layout, QUICK)], "me")  # and it can go on


def test_a_cancel_that_is_ahead_of_its_run_stops_it(studio: Studio, layout: Layout) -> None:
    with ThreadPoolExecutor(1) as early:
        pressed = early.submit(studio.generation.cancel, "me", 30.0)
        assert not pressed.done()
        with pytest.raises(Cancelled):
            finish(studio.generation.run([Ask(layout, SamplingConfig(seed=1, steps=100))], "me"))
    studio.generation.cancel("me", 0.1)
    assert studio.generation.results([Ask(layout, QUICK)], "me"), "one of a while ago stops nothing"


def test_whoever_waits_sees_it_and_may_cancel(studio: Studio, layout: Layout) -> None:
    first = studio.generation.run([Ask(layout, SamplingConfig(seed=1, steps=100))], "me")
    next(first)
    second = studio.generation.run([Ask(layout, QUICK)], "you")
    waits = next(second)
    assert isinstance(waits, Progress) and (waits.step, waits.before) == (0, 1)
    studio.generation.cancel("you")
    with pytest.raises(Cancelled):
        finish(second)
    assert isinstance(next(first), Progress), "the one at work goes on"
    studio.generation.cancel("me")
    with pytest.raises(Cancelled):
        finish(first)


def test_leaving_the_iterator_stops_the_work(studio: Studio, layout: Layout) -> None:
    news = studio.generation.run([Ask(layout, SamplingConfig(seed=1, steps=100))], "me")
    next(news)
    line = studio.generation._turns._line
    assert len(line) == 1
    news.close()  # type: ignore[attr-defined]  # a generator
    assert not line, "the next one has its turn"


def test_closed_studio_starts_nothing(studio: Studio, layout: Layout) -> None:
    studio.generation.close()
    with pytest.raises(Cancelled):
        studio.generation.results([Ask(layout, QUICK)], "me")


def test_one_generation_at_a_time(studio: Studio, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0
    draw = GenerationService._draw

    def counted(self: GenerationService, *arguments: object) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return draw(self, *arguments)  # type: ignore[arg-type]
        finally:
            running -= 1

    monkeypatch.setattr(GenerationService, "_draw", counted)
    jobs = [
        threading.Thread(target=lambda user=str(i): studio.generation.results([Ask(layout, QUICK)], user))
        for i in range(3)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert (most, running) == (1, 0)


@pytest.mark.usefixtures("_last_is_flagged")
def test_pictures_that_the_safety_checker_made_black_are_not_looked_at(studio: Studio, layout: Layout) -> None:
    easy, hard = finish(
        studio.generation.run([Ask(layout, QUICK, Strategy.EASY), Ask(layout, QUICK, Strategy.HARD)], "me")
    )
    assert (easy.flagged, hard.flagged) == (False, True)
    assert not np.isnan(easy.confidences[:2]).any()
    assert np.isnan(hard.confidences).all()


def test_unknown_class_is_refused_before_the_model_runs(studio: Studio, street: dict[str, Any]) -> None:
    layout = Layout.from_json({**street, "objects": [{"label": "buss", "box": [0, 0, 1, 1]}]})
    with pytest.raises(LayoutError, match="nearest first: bus"):
        studio.generation.results([Ask(layout, QUICK)], "me")


def test_a_sampler_goes_into_picture_and_history(studio: Studio, layout: Layout) -> None:
    own, other = studio.generation.results(
        [Ask(layout, QUICK), Ask(layout, SamplingConfig(5, 3, sampler="ddim"))], "me"
    )
    assert (np.asarray(Image.open(own.file)) != np.asarray(Image.open(other.file))).any()
    assert read_image(other.file).to_json()["sampler"] == "ddim" and "sampler" not in read_image(own.file).to_json()
    assert [entry.sampling.sampler for entry in studio.history.find()] == ["", "ddim"]
    with pytest.raises(ConfigError, match="no sampler 'magic'; choose one of dpm"):
        SamplingConfig(5, 3, sampler="magic")


def test_the_history_keeps_what_the_detector_found(studio: Studio, layout: Layout) -> None:
    studio.generation.results([Ask(layout, QUICK), Ask(layout, replace(QUICK, seed=6))], "me")
    found = [[(one.label, round(one.score, 1)) for one in entry.found or ()] for entry in studio.history.find()]
    assert found == [[("bus", 0.9), ("car", 0.8)], [("bus", 0.9)]]


def test_attribute_guidance_goes_into_the_picture(studio: Studio, layout: Layout) -> None:
    plain, harder = studio.generation.results(
        [Ask(layout, QUICK), Ask(layout, SamplingConfig(5, 3, attribute_guidance=1.5))], "me"
    )
    assert (np.asarray(Image.open(plain.file)) != np.asarray(Image.open(harder.file))).any()
    assert read_image(harder.file).to_json()["attribute_guidance"] == 1.5
    assert "attribute_guidance" not in read_image(plain.file).to_json()
    with pytest.raises(ConfigError, match="attribute guidance 9 needs to be"):
        Ask(layout, SamplingConfig(5, 3, attribute_guidance=9))
