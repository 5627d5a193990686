"""The classifier of causes: crops, words for people, and its folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detdiffusion.core.files import checked
from detdiffusion.errors import CheckpointError, ConfigError
from detdiffusion.layout import Box, Layout
from detdiffusion.models.cause_classifier import CauseClassifier, CauseConfig, counted, load_causes, view

CAUSES = {"colour": "unusual colour", "blur": "blurred", "size": "unusual size"}
SIZES = {"side": 16, "widths": (8, 8), "embedding": 4}
CAR, ROAD = Box("car", (0.2, 0.2, 0.5, 0.6)), Box("road", (0.0, 0.5, 1.0, 1.0))
LAYOUT = Layout(64, 48, (CAR, ROAD))


def classifier(logits: tuple[float, ...] | None = None, **sure: float) -> CauseClassifier:
    """logits: of every object, whatever it looks like."""
    config = CauseConfig(("car", "bus"), CAUSES, sure, **SIZES)  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = config.network()
    if logits is not None:
        last = network.head[-1]
        assert isinstance(last, torch.nn.Linear)
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.tensor(logits))
    return CauseClassifier(config, network)


def picture(width: int = 64, height: int = 48) -> Image.Image:
    """Red tells the column, green the row."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return Image.fromarray(np.stack([columns, rows, 0 * rows], axis=2))


@pytest.mark.parametrize(
    ("box", "window"),
    [
        ((0.25, 0.25, 0.5, 0.5), (12, 6, 36, 30)),  # 16 x 12 pixels about (24, 18): a square of 24
        ((0.0, 0.0, 0.25, 0.25), (0, 0, 24, 24)),  # moved into the image
        ((0.75, 0.75, 1.0, 1.0), (40, 24, 64, 48)),
        ((0.0, 0.5, 1.0, 1.0), (0, 0, 64, 48)),  # as large as the image, at most
    ],
)
def test_a_view_is_a_square_inside_the_image(
    box: tuple[float, float, float, float], window: tuple[int, int, int, int]
) -> None:
    crop, frame = view(picture(), box, side=8)
    left, top, right, bottom = window
    assert crop.shape == (8, 8, 3)
    half = (right - left - 1) / 2 + left, (bottom - top - 1) / 2 + top
    assert crop.mean((0, 1))[:2].tolist() == pytest.approx(half, abs=0.6)
    w, h = right - left, bottom - top
    x1, y1, x2, y2 = box
    in_window = ((64 * x1 - left) / w, (48 * y1 - top) / h, (64 * x2 - left) / w, (48 * y2 - top) / h)
    assert frame == pytest.approx(in_window)


def test_a_class_that_it_does_not_know_has_no_answer() -> None:
    found = classifier().probabilities(picture(), LAYOUT)
    assert found.shape == (2, 4)
    assert ((found[0] > 0) & (found[0] < 1)).all() and np.isnan(found[1]).all()
    assert np.isnan(classifier().probabilities(picture(), Layout(64, 48, (ROAD,)))).all()


@pytest.mark.parametrize(
    ("logits", "sure", "words"),
    [
        ((0, 3, 2, 1), {"colour": 0.9, "blur": 0.8, "size": 0.7}, ("unusual colour", "blurred")),  # at most two
        ((0, 1, 2, 3), {"colour": 0.7, "blur": 0.8, "size": 0.9}, ("unusual size", "blurred")),  # the surest first
        ((0, 3, 2, 1), {"colour": 0.99, "size": 0.7}, ("unusual size",)),  # blur has no threshold: it is never shown
        ((9, 0, 0, 0), {"colour": 0.6}, ()),  # "none" has no words
        ((0, 9, 9, 9), {}, ()),
    ],
)
def test_words_of_what_it_is_sure_of(logits: tuple[float, ...], sure: dict[str, float], words: tuple[str, ...]) -> None:
    assert classifier(logits, **sure).words(picture(), LAYOUT) == (words, ())


@pytest.mark.parametrize(
    ("probabilities", "causes"),
    [
        ((0.9, 0.4, 0.1), ["none"]),
        ((0.1, 0.4, 0.1), ["none"]),  # no cause is likely, whatever "none" says
        ((0.9, 0.5, 0.1), ["colour"]),
        ((0.0, 0.7, 0.6), ["colour", "blur"]),
        ((np.nan, np.nan, np.nan), []),
    ],
)
def test_what_is_counted(probabilities: tuple[float, ...], causes: list[str]) -> None:
    outputs = ("none", "colour", "blur")
    (row,) = counted(outputs, np.array([probabilities], np.float32))
    assert [name for name, yes in zip(outputs, row, strict=True) if yes] == causes


def test_there_and_back(tmp_path: Path) -> None:
    made = classifier(colour=0.8)
    made.save(tmp_path / "causes")
    loaded = load_causes(tmp_path)
    assert loaded is not None and loaded.config == made.config
    np.testing.assert_allclose(
        loaded.probabilities(picture(), LAYOUT), made.probabilities(picture(), LAYOUT), atol=2e-3
    )


def test_a_model_need_not_have_one(tmp_path: Path) -> None:
    assert load_causes(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "config.json is damaged"),
        ("config.json", '{"classes": ["car"]}', "'causes' is missing"),
        ("config.json", None, "config.json cannot be read"),
        ("model.safetensors", "no weights", "model.safetensors is damaged: it has another SHA-256"),
        ("model.safetensors", None, "model.safetensors cannot be loaded"),
    ],
)
def test_a_damaged_folder(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    classifier().save(tmp_path / "causes")
    path = tmp_path / "causes" / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_causes(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sure": {"fog": 0.9}}, "damaged .*sure names fog; known: colour, blur, size"),
        ({"causes": {"none": "nothing"}}, "damaged .*causes other than 'none'"),
        ({"widths": [8, 16]}, "cannot be loaded: .*size mismatch"),
    ],
)
def test_a_config_that_does_not_fit(tmp_path: Path, change: dict[str, object], message: str) -> None:
    classifier().save(tmp_path / "causes")
    path = tmp_path / "causes" / "config.json"
    path.write_text(json.dumps(checked(json.loads(path.read_text())) | change))
    with pytest.raises(CheckpointError, match=message):
        load_causes(tmp_path)


def test_no_class_is_no_classifier() -> None:
    with pytest.raises(ConfigError, match="needs classes"):
        CauseConfig((), CAUSES)
