"""Device, precision, and the thread that computes."""

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from app.engine.compute import Engine, computing
from app.engine.costs import measure
from app.engine.generation import Ask
from app.engine.insight import Insight, look_inside
from app.engine.studio import Studio
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig


def test_an_accelerator_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(Engine("cpu").torch_device) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("detdiffusion.core.devices._may_have_cuda", lambda: True)
    assert [str(Engine(name).torch_device) for name in (None, "cuda", "cuda:1")] == ["cuda:0", "cuda:0", "cuda:1"]
    with pytest.raises(ConfigError, match="no precision 'half'; choose one of automatic"):
        Engine("cpu", "half")


def test_one_thread_computes() -> None:
    """A second one would have a team of threads of its own, and both would wait asleep."""
    names: list[str] = []

    def look() -> int:
        names.append(threading.current_thread().name)
        return len(names)

    with ThreadPoolExecutor(4) as askers:
        assert sorted(askers.map(lambda _: computing(look), range(8))) == list(range(1, 9))
    assert computing(lambda: computing(look)) == 9, "it does not wait for itself"
    assert len(set(names)) == 1 and names[0] != threading.current_thread().name
    with pytest.raises(ConfigError, match="no precision 'half'"):
        computing(Engine, "cpu", precision="half")


def test_whatever_a_studio_computes_it_computes_there(studio: Studio, layout: Layout) -> None:
    """Drawings of several people, what they cost, and a look inside: every network of the process is asked."""
    threads: set[str] = set()
    hook = register_module_forward_pre_hook(lambda *_: threads.add(threading.current_thread().name))
    try:
        with ThreadPoolExecutor(3) as people:
            asked = [Ask(layout, SamplingConfig(seed=seed, steps=2)) for seed in range(3)]
            drawn = list(people.map(lambda one: studio.generation.results([one], str(one.recipe.seed)), asked))
        list(measure(studio))
        for what in Insight:
            look_inside(studio, drawn[0][0].file, what)
    finally:
        hook.remove()
    assert threads == {computing(lambda: threading.current_thread().name)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_fork_computes_too() -> None:
    computing(int)
    child = multiprocessing.get_context("fork").Process(target=computing, args=(int,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
