"""A scene of the built-in world and its truth: a pure function of the seed."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detdiffusion.layout import Box, Layout
from training.core.orphans import end_with
from training.data.papercut.causes import Cause
from training.data.papercut.classes import THINGS
from training.data.papercut.ground import lay_indoors, lay_outdoors
from training.data.papercut.laying import Laid, lay_thing
from training.data.papercut.palette import LIGHTS
from training.data.papercut.placement import plan_things, region_names
from training.data.papercut.sheet import FIRST, Mask, Sheet
from training.data.papercut.things import Zone


@dataclass(frozen=True, slots=True)
class Scene:
    """An image and its truth: boxes before occlusion, without attributes; masks of what is visible.

    The layout lists things from far to near, then stuff from far to near; the masks follow its order.
    """

    image: Image.Image  # RGB
    layout: Layout
    masks: Mask  # [N, H, W]
    causes: tuple[frozenset[Cause], ...]  # [N] what makes each object difficult: the generator never learns it

    @property
    def things(self) -> Layout:
        """The layout without stuff."""
        return replace(self.layout, boxes=tuple(box for box in self.layout.boxes if box.label in THINGS))


def scene(seed: int, size: int = 256, hard_share: float = 0.45, cause: Cause | None = None) -> Scene:
    """The scene of a seed, as an image of size x size pixels.

    `hard_share` is the share of objects (0..1) which are made naturally difficult; `cause`, if given, is the only cause
    of that. The ground, the classes and nearly all places are those of the seed whatever is difficult.
    """
    rng = np.random.default_rng(seed)
    light = LIGHTS[rng.integers(len(LIGHTS))]
    names, zones = region_names(rng)
    sheet = Sheet(size, light, rng)
    indoors = Zone.ROOM in zones
    horizon = rng.uniform(0.52, 0.68) if indoors else rng.uniform(0.34, 0.6)
    (lay_indoors if indoors else lay_outdoors)(sheet, names, horizon)
    regions = sheet.owner.copy()

    laid: list[Laid] = []
    plans = plan_things(horizon, zones, hard_share, rng, cause)
    for plan in plans:
        if thing := lay_thing(sheet, plan, laid):
            laid.append(thing)
    if not laid and (thing := lay_thing(sheet, replace(plans[0], causes=frozenset()), laid)):
        laid.append(thing)
    return _truth(sheet, regions, names, laid)


def _truth(sheet: Sheet, regions: NDArray[np.int16], names: Sequence[str], laid: Sequence[Laid]) -> Scene:
    """The finished scene; the box of stuff is that of its region before things were laid on it."""
    found = [(thing.label, thing.box, sheet.owner == mark) for mark, thing in enumerate(laid, start=FIRST)]
    causes = [thing.causes for thing in laid]
    for index, name in enumerate(names):
        bounds, visible = Image.fromarray(regions == index).getbbox(), sheet.owner == index
        if bounds is not None and visible.any():
            found.append((name, bounds, visible))
            causes.append(frozenset())
    boxes = (Box(label, _fractions(box, sheet.size)) for label, box, _ in found)
    masks = np.stack([mask for *_, mask in found])
    return Scene(sheet.image, Layout(sheet.size, sheet.size, tuple(boxes)), masks, tuple(causes))


def _fractions(box: tuple[int, int, int, int], size: int) -> tuple[float, float, float, float]:
    return box[0] / size, box[1] / size, box[2] / size, box[3] / size


def scenes(
    seeds: Iterable[int],
    size: int = 256,
    hard_share: float = 0.45,
    workers: int = 0,
    cause: Cause | None = None,
) -> Iterator[Scene]:
    """Scenes in the order of the seeds, made by that many processes (0: in this one)."""
    make = partial(scene, size=size, hard_share=hard_share, cause=cause)
    if workers < 1:
        yield from map(make, seeds)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with, (os.getpid(),)) as pool:
        remaining, waiting = iter(seeds), deque[Future[Scene]]()
        waiting.extend(pool.submit(make, seed) for seed in islice(remaining, 16 * workers))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(make, seed) for seed in islice(remaining, 1))
            yield done
