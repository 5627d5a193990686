"""Batches that are made ahead are those of the steps, in their order; and no step waits for the device."""

import dataclasses
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from waits import Asked

from detdiffusion.core.devices import send
from detdiffusion.diffusion.denoising import Shown
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.errors import DataError
from training.generator import feed
from training.generator.batch import Batch, SampleStore, make_batch
from training.generator.config import GeneratorConfig
from training.generator.feed import AHEAD, read_batches
from training.generator.learner import Learner
from training.generator.speed import SpeedConfig
from training.generator.step import generator_losses
from training.generator.trainer import train_generator

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PARTS = [range(3), range(3, 4)]
MakeModel = Callable[..., DetDiffusionPipeline]


def tensors(value: Any) -> Iterator[Tensor]:
    """Those of a batch, and of what is shown with it."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from tensors(part)


def same(one: Batch, other: Batch) -> bool:
    pairs = list(zip(tensors(one), tensors(other), strict=True))
    return one.layouts == other.layouts and all(torch.equal(*pair) for pair in pairs) and len(pairs) == 15


def test_what_is_made_ahead_is_what_the_steps_ask_for(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long each part takes to make, and to use."""
    pipe, config = make_model(), dataclasses.replace(tiny, flip=0.0, prompt_dropout=0.3)
    waits = random.Random(0)

    def slowly(*given: Any) -> Batch:
        time.sleep(waits.random() * 0.004)
        return make_batch(*given)

    monkeypatch.setattr(feed, "make_batch", slowly)
    places = [(step, part) for step in range(2, 7) for part in PARTS]
    read = read_batches(pipe, store, config, 1000, range(2, 7), PARTS, CPU)
    for (step, part), found in zip(places, read, strict=True):
        time.sleep(waits.random() * 0.004)
        made = make_batch(store, config, step, 1000, part)
        assert same(found, made._replace(shown=pipe.show_layouts(made.layouts, (8, 8))))


def test_it_does_not_run_far_ahead(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def counted(*given: Any) -> Batch:
        made.append(given[2])
        return make_batch(*given)

    monkeypatch.setattr(feed, "make_batch", counted)
    read = read_batches(make_model(), store, tiny, 1000, range(100), [range(4)], CPU)
    next(read)
    deadline = time.monotonic() + 10
    while len(made) < AHEAD and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert AHEAD <= len(made) <= AHEAD + 1
    read.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_what_goes_wrong_ahead_is_said_at_its_step(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(*given: Any) -> Batch:
        if given[2] == 3:
            raise DataError("chunk-00001.safetensors is damaged")
        return make_batch(*given)

    monkeypatch.setattr(feed, "make_batch", torn)
    read = read_batches(make_model(), store, tiny, 1000, range(8), [range(4)], CPU)
    assert len([next(read) for _ in range(3)]) == 3
    with pytest.raises(DataError, match="is damaged"):
        next(read)


def test_prompts_and_drawings_are_those_of_the_layouts(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig
) -> None:
    pipe = make_model()
    layouts = [None, *store.layouts[:3]]
    shown: Shown = pipe.show_layouts(layouts, (8, 8))
    condition, drawing = pipe.encode_layouts(layouts), pipe.draw_layouts(layouts, (8, 8))
    again = pipe.draw_shown(shown, (8, 8))
    assert drawing is not None and again is not None and torch.equal(again, drawing)
    assert not drawing[0].any() and drawing[1].any()
    for one, other in zip(condition, pipe.encode_shown(shown), strict=True):
        assert torch.equal(one, other)


# --- nothing waits for the device -----------------------------------------------------------------


class Copies(TorchDispatchMode):
    """Remembers what goes from one kind of device to another, and whether somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[str] = []
        self.sent = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        if "copy" in str(function) and len({one.device.type for one in (*tensors(args), *tensors(found))}) > 1:
            at_once = (kwargs or {}).get("non_blocking") or True in args
            self.sent += 1
            if not at_once:
                self.waited.append(f"{function} {tuple(found.shape)}")
        return found


@pytest.fixture
def prepared(make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig) -> tuple[DetDiffusionPipeline, Batch]:
    pipe, batch = make_model(), make_batch(store, tiny, 0, 1000, range(4))
    return pipe, batch._replace(shown=pipe.show_layouts(batch.layouts, (8, 8)))


def test_a_forward_on_a_gpu_waits_for_nothing(
    prepared: tuple[DetDiffusionPipeline, Batch], tiny: GeneratorConfig
) -> None:
    """On tensors that say they are CUDA's and hold nothing: to ask for a value is an error."""
    pipe, batch = prepared
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        Learner.of(pipe, tiny, CUDA)
        schedule.alphas_cumprod = fake.from_tensor(schedule.alphas_cumprod).to(CUDA)  # diffusers does so at its first
        with Copies() as copies:
            given = feed.each_tensor(batch, lambda tensor: send(fake.from_tensor(tensor), CUDA))
            losses = generator_losses(pipe, schedule, given, tiny.loss)
        assert losses.total.device.type == "cuda"
        assert copies.sent == 15 and copies.waited == []
        with pytest.raises(DataDependentOutputException):
            float(losses.total.detach())


def test_a_training_asks_for_no_value(
    make_model: MakeModel, store: SampleStore, tiny: GeneratorConfig, tmp_path: Path
) -> None:
    """All that it looks at is a list of rows, which `tolist` reads at once. Muon has AdamW beside it."""
    looks: list[int] = []
    speed = SpeedConfig(metrics_steps=2)
    config = dataclasses.replace(tiny, optimizer="muon", speed=speed, steps=3, checkpoint_steps=100)
    with Asked() as asked:
        train_generator(make_model(), store, config, tmp_path, CPU, lambda done, *_: looks.append(done))
        assert asked.values == [] and looks == [1, 2, 3]
        assert bool(torch.ones(()) > 0) and asked.values, "the test sees it"
