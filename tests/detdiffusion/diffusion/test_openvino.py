"""OpenVINO draws what torch draws, from what it keeps in the cache folder; what is damaged there is made again."""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detdiffusion.core import devices
from detdiffusion.core.devices import check_device
from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.openvino import SignalStack
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Layout
from detdiffusion.text.vocabulary import Vocabulary

LayoutOf = Callable[..., Layout]
SAME = 0.01 / 255  # of a level of grey
ROUNDED = 3 / 255  # levels of grey, where a processor prefers bfloat16

pytestmark = [
    pytest.mark.skipif(find_spec("openvino") is None, reason="requirements-openvino.txt is not installed"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One for all: to trace a network takes seconds."""
    home = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home / "detdiffusion/openvino"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_pipeline: DetDiffusionPipeline) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_pipeline(tiny_pipeline, folder)
    return folder


def draw(pipe: DetDiffusionPipeline, layouts: list[Layout], **options: Any) -> np.ndarray:
    """In float32 where no other arithmetic is asked for: in bfloat16, which some processors prefer, each rounds its own
    way."""
    how = {"seeds": range(len(layouts)), "steps": 2, "output_type": "np", "dtype": torch.float32, **options}
    images: np.ndarray = pipe(layouts, **how).images
    return images


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"guidance_scale": 1.0}, marks=pytest.mark.long),
        pytest.param({"attribute_guidance": 0.5}, marks=pytest.mark.long),
        pytest.param({"dtype": None}, marks=pytest.mark.long),
    ],
)
def test_images_are_those_of_torch(model: Path, cache: Path, layout_of: LayoutOf, options: dict[str, Any]) -> None:
    """Of prompts of other lengths, with guidance of both kinds; two networks, whatever the words are."""
    theirs, ours = load_pipeline(model), load_pipeline(model, device="openvino")
    layouts = [layout_of(1), layout_of(30)]
    difference = abs(draw(theirs, layouts, **options) - draw(ours, layouts, **options)).max()
    assert difference < (ROUNDED if "dtype" in options else SAME)
    assert ours.computed_in() == (theirs.computed_in()[0], "openvino")
    assert len(list(cache.glob("*/seal.json"))) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="signals are handled elsewhere")
def test_signals_are_handled_where_they_were(model: Path, cache: Path, layout_of: LayoutOf) -> None:
    """Where OpenVINO had them handled while it lived is gone afterwards: a Ctrl-C would end in a segmentation fault."""
    before = signal_stack()
    draw(load_pipeline(model, device="openvino"), [layout_of(1)])
    gc.collect()
    assert signal_stack() == before


def signal_stack() -> tuple[int | None, int, int]:
    found = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
    return found.start, found.flags, found.size


@pytest.mark.long
def test_what_is_kept_is_read_again_and_what_is_damaged_made_again(
    model: Path, cache: Path, layout_of: LayoutOf, capfd: pytest.CaptureFixture[str]
) -> None:
    layouts = [layout_of(2)]
    first = draw(load_pipeline(model, device="openvino"), layouts)
    capfd.readouterr()
    assert np.array_equal(draw(load_pipeline(model, device="openvino"), layouts), first)
    assert "preparing" not in capfd.readouterr().err
    for weights in cache.glob("decoder-*/network.bin"):
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 0x40
        weights.write_bytes(content)
    assert np.array_equal(draw(load_pipeline(model, device="openvino"), layouts), first)
    assert "OpenVINO: preparing the decoder" in capfd.readouterr().err


@pytest.mark.long
def test_a_controlnet_is_part_of_it_in_any_size(
    make_pipeline: Callable[..., DetDiffusionPipeline], vocabulary: Vocabulary, cache: Path, layout_of: LayoutOf
) -> None:
    words, none = replace(vocabulary, padding=True), {"blueprint_config": None, "head_config": None}
    pipe = make_pipeline(words, **none, control_config={"embedding_channels": (4, 4, 8, 8)})
    layouts = [Layout(128, 64, layout_of(2).boxes)]
    expected = draw(pipe, layouts)
    pipe.draw_on("openvino", "a" * 64)
    assert abs(draw(pipe, layouts) - expected).max() < SAME
    pipe.draw_on("cpu", "a" * 64)
    assert np.array_equal(draw(pipe, layouts), expected)


def test_it_only_draws_and_says_what_is_missing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="OpenVINO draws images and does nothing else here; use cpu"):
        check_device("openvino")
    monkeypatch.setattr(devices, "has_openvino", lambda: False)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-openvino\.txt"):
        load_pipeline(model, device="openvino")
