"""What makes a training faster on a GPU leaves what it learns as it is."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from detdiffusion.diffusion.checkpoint import save_pipeline
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.errors import ConfigError
from training.generator.batch import SampleStore
from training.generator.config import TRAIN_PRESETS, GeneratorConfig
from training.generator.speed import SpeedConfig, compile_blocks
from training.generator.trainer import train_generator

CPU = torch.device("cpu")
MakeModel = Callable[..., DetDiffusionPipeline]


def train(pipe: DetDiffusionPipeline, store: SampleStore, config: GeneratorConfig, out: Path, **more: Any) -> list[Any]:
    train_generator(pipe, store, config, out, CPU, more.pop("on_step", lambda *_: None), **more)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def totals(rows: list[Any]) -> list[float]:
    return [row["total"] for row in rows]


@pytest.fixture
def expected(make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path) -> list[Any]:
    return train(make_model(), store, tiny, tmp_path / "plain")


def test_losses_may_be_looked_at_every_few_steps(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path, expected: list[Any]
) -> None:
    told: list[int] = []
    config = dataclasses.replace(tiny, speed=SpeedConfig(metrics_steps=5), checkpoint_steps=7)
    found = train(make_model(), store, config, tmp_path, on_step=lambda done, *_: told.append(done))
    assert totals(found) == totals(expected) and told == [row["step"] for row in found] == list(range(1, 9))
    rates = [row["pictures_per_second"] for row in found]
    assert [len(set(rates[first:last])) for first, last in ((0, 5), (5, 7), (7, 8))] == [1, 1, 1]
    assert len(set(rates)) == 3, "looked at behind steps 5, 7 (a checkpoint) and 8 (the end)"


def test_a_stop_waits_for_the_next_look(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path, expected: list[Any]
) -> None:
    asked = iter([False, True, False])
    config = dataclasses.replace(tiny, speed=SpeedConfig(metrics_steps=3), checkpoint_steps=100)
    pipe = make_model()
    assert train_generator(pipe, store, config, tmp_path, CPU, lambda *_: None, stopped=lambda: next(asked)) == 3
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]
    assert totals(train(make_model(), store, config, tmp_path)) == totals(expected)


@pytest.mark.long
def test_channels_last_changes_the_order_of_memory_alone(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path, expected: list[Any]
) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, *_: object) -> None:
        if done == 5:
            assert pipe.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
            raise Killed

    config = dataclasses.replace(tiny, speed=SpeedConfig(channels_last=True))
    whole, pipe, resumed = make_model(), make_model(), make_model()
    assert totals(train(whole, store, config, tmp_path / "whole")) == pytest.approx(totals(expected), rel=1e-5)
    with pytest.raises(Killed):
        train(pipe, store, config, tmp_path / "cut", on_step=kill)
    train(resumed, store, config, tmp_path / "cut")
    save_pipeline(resumed, tmp_path / "model")
    again = load_pipeline(tmp_path / "model").unet.state_dict()
    for name, tensor in whole.unet.state_dict().items():
        assert torch.equal(resumed.unet.state_dict()[name], tensor) and tensor.is_contiguous(), name
        torch.testing.assert_close(again[name], tensor, atol=1e-2, rtol=1e-2)  # files hold half precision


@pytest.mark.long
def test_compiled_blocks_compute_the_same(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path, expected: list[Any]
) -> None:
    """By the compiler's front end alone: its back end takes minutes at first."""
    pipe = make_model()
    assert compile_blocks([pipe.unet], CPU, backend="eager")
    blocks = [module for module in pipe.unet.modules() if type(module).__name__ == "BasicTransformerBlock"]
    assert blocks and all(block._compiled_call_impl is not None for block in blocks)
    found = train(pipe, store, dataclasses.replace(tiny, steps=2, checkpoint_steps=100), tmp_path)
    assert totals(found)[:1] == pytest.approx(totals(expected)[:1], rel=1e-5)


def test_where_nothing_can_be_compiled_a_notice_says_why(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = make_model()
    assert not compile_blocks([pipe.unet], CPU, backend="no such compiler")
    assert "speed.compile_blocks is on, and nothing is compiled: " in capsys.readouterr().err
    assert all(module._compiled_call_impl is None for module in pipe.unet.modules())
    flat = torch.nn.Linear(1, 1)
    assert not compile_blocks([flat], CPU, backend="eager"), "nothing in it is repeated"


def test_steps_between_looks_are_1_or_more() -> None:
    with pytest.raises(ConfigError, match=r"speed.metrics_steps is 0, and needs to be 1 or more"):
        SpeedConfig(metrics_steps=0)


def test_presets_for_a_gpu_are_laid_out_for_it() -> None:
    for name, config in TRAIN_PRESETS.items():
        on_gpu = name.startswith(("sd15", "papercut-gpu"))
        assert config.speed == (SpeedConfig(metrics_steps=10, channels_last=True) if on_gpu else SpeedConfig()), name
