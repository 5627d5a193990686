"""The present model is exchanged between two generations; others are drawn with beside it."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.engine.generation import Ask, Progress, Result
from app.engine.studio import Studio, open_studio
from detdiffusion.diffusion.manifest import model_hash, write_manifest
from detdiffusion.errors import CheckpointError, ConfigError
from detdiffusion.image_record import read_image
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig

QUICK = SamplingConfig(seed=5, steps=3)


def finish(news: Iterator[Progress | tuple[Result, ...]]) -> tuple[Result, ...]:
    *_, last = news
    assert isinstance(last, tuple)
    return last


@pytest.fixture
def second(model_folder: Path, tmp_path: Path) -> Path:
    """Another model: the same weights with a note that changes the hash, and no detector."""
    folder = Path(shutil.copytree(model_folder, tmp_path / "second"))
    vocabulary = folder / "vocabulary.json"
    vocabulary.write_text(vocabulary.read_text() + "\n")
    write_manifest(folder)
    return folder


def test_exchanged_model_makes_the_next_picture(studio: Studio, layout: Layout, second: Path) -> None:
    before, detector = studio.model, studio.model.detector
    studio.models.exchange(second, "street-1")
    record = read_image(studio.generation.results([Ask(layout, QUICK)], "me")[0].file).to_json()
    assert (record["model"], record["model_sha256"]) == ("street-1", model_hash(second))
    assert record["model_sha256"] != before.sha256
    assert studio.model.detector is detector, "the new one has none of its own"
    assert not studio.models.at_home
    studio.models.go_home()
    assert studio.models.at_home
    assert (studio.model.name, studio.model.sha256) == (before.name, before.sha256)


def test_model_is_exchanged_between_two_generations(studio: Studio, layout: Layout, second: Path) -> None:
    news = studio.generation.run([Ask(layout, SamplingConfig(seed=1, steps=8))], "me")
    next(news)
    exchange = threading.Thread(target=studio.models.exchange, args=(second, "street-1"))
    exchange.start()
    (result,) = finish(news)
    assert read_image(result.file).to_json()["model"] == result.model == "tiny"
    exchange.join(60)
    assert studio.model.name == "street-1"


def test_damaged_model_leaves_the_present_one(studio: Studio, layout: Layout, second: Path) -> None:
    before = studio.model
    (second / "vocabulary.json").write_text("{}")
    for folder in (second, second / "nowhere"):
        with pytest.raises(CheckpointError):
            studio.models.exchange(folder, "street-1")
    assert studio.model is before
    assert studio.generation.results([Ask(layout, QUICK)], "me")


def test_models_beside_the_first_one_can_be_chosen(model_folder: Path, studio: Studio, tmp_path: Path) -> None:
    for name in ("one", "two", "silent"):
        shutil.copytree(model_folder, tmp_path / "models" / name)
    shutil.copytree(model_folder, tmp_path / "shipped/silent")
    beside = open_studio(tmp_path / "models/one", tmp_path / "beside", bundled=tmp_path / "shipped/silent")
    assert {name: path.parent.name for name, path in beside.models.folders().items()} == dict.fromkeys(
        ("one", "silent", "two"), "models"
    ), "of two of a name, the one beside the first"


def test_missing_model_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model folder"):
        open_studio(tmp_path / "nowhere", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_several_models_in_one_run(two_models: Studio, layout: Layout) -> None:
    studio = two_models
    assert list(studio.models.folders()) == ["tiny", "silent"]
    assert studio.models.choices() == [("tiny (boxes, attributes)", "tiny"), ("silent (boxes)", "silent")]
    asked = [Ask(layout, QUICK), Ask(layout, QUICK, model="silent"), Ask(layout, SamplingConfig(6, 3), model="silent")]
    first, *steps, last = studio.generation.run(asked, "me")
    assert first.step == 0, "a model may have to be read first"
    assert [(news.step, news.steps) for news in steps] == [(n, 6) for n in range(1, 7)], "the last two were one batch"
    assert [result.model for result in last] == ["tiny", "silent", "silent"]
    assert steps[3].previews[0] is not None, "the first image is shown while the next are drawn"
    assert steps[3].previews[1] is None
    alone = studio.generation.results([Ask(layout, QUICK, model="silent")], "me")[0]
    assert (np.asarray(Image.open(alone.file)) == np.asarray(Image.open(last[1].file))).all()
    with pytest.raises(ConfigError, match="no model 'loud'; choose one of tiny, silent"):
        studio.generation.results([Ask(layout, QUICK, model="loud")], "me")


def test_a_classifier_of_causes_comes_with_its_model(studio: Studio, telling_folder: Path, tmp_path: Path) -> None:
    assert studio.model.classifier is None
    studio.models.exchange(telling_folder, "telling")
    assert studio.model.classifier is not None
    damaged = Path(shutil.copytree(telling_folder, tmp_path / "damaged"))
    (damaged / "causes" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        studio.models.exchange(damaged, "damaged")
    write_manifest(damaged)
    with pytest.raises(CheckpointError, match="'classes' is missing"):
        studio.models.exchange(damaged, "damaged")
