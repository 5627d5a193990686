"""What settings cost on this machine: time and memory, measured with the present model."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from app.engine.compute import AUTOMATIC, PRECISIONS, Engine, computing
from app.engine.models import Model
from app.engine.studio import Studio
from detdiffusion.core.devices import memory_gb
from detdiffusion.layout import Box, Layout

STEPS = 4  # of a measurement, after one that warms up
ROUNDS = 2  # the quicker one counts: the first one finds a cold machine, and others may work on it


@dataclass(frozen=True, slots=True)
class CostRow:
    """What one setting costs: so many seconds per unit."""

    setting: str
    choice: str
    unit: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What settings cost here; empty before anything was measured.

    title: the model; about: its size, device and memory; progress: more is being measured.
    """

    rows: tuple[CostRow, ...] = ()
    title: str = ""
    about: str = ""
    progress: bool = False


def measure(studio: Studio) -> Iterator[Costs]:
    """A picture of the present model's own size, setting by setting; others may draw in between.

    Raises:
        CheckpointError, DetectorError: as `GenerationService.run` does.
    """
    plan = list(_plan(studio))
    quickest: dict[int, float] = {}
    yield Costs(progress=True)
    for turn in range(ROUNDS * len(plan)):
        place = turn % len(plan)
        with studio.models.lend(None) as model:
            seconds = computing(plan[place][-1], model)
        quickest[place] = min(seconds, quickest.get(place, seconds))
        rows = [CostRow(*plan[number][:3], took) for number, took in quickest.items()]
        yield _costs(studio, rows, done=turn + 1 == ROUNDS * len(plan))


def _plan(studio: Studio) -> Iterator[tuple[str, str, str, Callable[[Model], float]]]:
    step, engine = "per step", studio.models.engine
    yield "Guidance", "above 1", step, lambda model: _step(model, engine, guidance_scale=3.0)
    yield "Guidance", "1", step, lambda model: _step(model, engine, guidance_scale=1.0)
    if studio.model.tags_matter:
        yield "Attribute guidance", "other than 0", step, lambda model: _step(model, engine, attribute_guidance=1.0)
    for precision in (name for name in PRECISIONS if name != AUTOMATIC):
        chosen = Engine(engine.device, precision)
        yield "Precision", precision, step, lambda model, chosen=chosen: _step(model, chosen)  # type: ignore[misc]
    yield "Image", "decoded from latents", "per image", lambda model: _decode(model, engine)
    yield "Detector", studio.model.detector.name, "per image", _look


def _step(model: Model, engine: Engine, **how: Any) -> float:
    """Seconds of a step of one picture: the quickest one, for other work on the machine only adds to it."""
    marks: list[float] = []
    model.pipeline(
        _layout(model),
        seeds=[0],
        steps=1 + STEPS,
        on_step=lambda _: marks.append(time.perf_counter()),
        output_type="latent",
        dtype=engine.dtype,
        **how,
    )
    return min(after - before for before, after in pairwise(marks))


def _decode(model: Model, engine: Engine) -> float:
    marks: list[float] = []
    model.pipeline(
        _layout(model), seeds=[0], steps=1, on_step=lambda _: marks.append(time.perf_counter()), dtype=engine.dtype
    )
    return time.perf_counter() - marks[-1]


def _look(model: Model) -> float:
    drawn = model.pipeline(_layout(model), seeds=[0], steps=1).images
    model.detector.detect(drawn)
    began = time.perf_counter()
    model.detector.detect(drawn)
    return time.perf_counter() - began


def _layout(model: Model) -> Layout:
    """A thing in the middle of a picture of the model's own size."""
    height, width = model.pipeline.native_size
    return Layout(width, height, (Box(model.vocabulary.labels[0], (0.25, 0.25, 0.75, 0.75)),))


def _costs(studio: Studio, rows: list[CostRow], *, done: bool) -> Costs:
    device = studio.models.engine.torch_device
    modules = [part for part in studio.model.pipeline.components.values() if isinstance(part, nn.Module)]
    parameters = sum(weight.numel() for module in modules for weight in module.parameters())
    about = f"{parameters / 1e6:.1f} M parameters on {studio.models.engine.place} · {memory_gb(device):.1f} GB at most"
    return Costs(tuple(rows), studio.model.name, about, progress=not done)
