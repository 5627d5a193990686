"""Real images with more real objects pasted into them: the simplest way to show a detector more of what is rare.

It needs no generator, so it is what generated images are compared with. Objects are cut out by their masks or, where
the data have none, by an oval that fades out around them, as bright as what it is put on. Each object goes near to
where it was, as large as it was, into another image where little is. Nothing is written: images are made when they
are read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from detdiffusion.core.files import json_hash
from detdiffusion.layout import MAX_OBJECTS, Box, Layout
from training.data.datasets import Dataset, LazyMasks, MaskSource, Sample
from training.synthesis.augment import free_place

NAME = "pasted"
MOST = 3  # objects that an image gets
ASKED = 8  # objects that are tried for each that an image gets
MARGIN = 0.2  # of an object's box, on each side: there an oval fades out
MOVED = 0.1  # of the image's side by which an object is moved, at most; not along a side that cuts it
_EDGE = 1e-3  # of the image's side

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CutOut:
    """An object of the data: which image, which of its boxes; chance: how often it is pasted, against the others."""

    place: int
    number: int
    chance: float = 1.0


@dataclass(frozen=True, slots=True)
class _Plan:
    """One image: which one is pasted onto, what, and where; mirrored or not afterwards."""

    onto: int
    cuts: tuple[tuple[CutOut, Box], ...]
    mirrored: bool


@dataclass(frozen=True, slots=True)
class PastedSample(Sample):
    """An image that is made of others when it is read. cuts: whose object, which of its boxes, and where it goes."""

    onto: Sample | None = None
    cuts: tuple[tuple[Sample, int, Box], ...] = ()
    masked: bool = False
    mirror: bool = False

    def load_image(self) -> Image.Image:
        """The image, upright, in RGB; ImageError as of a real one."""
        assert self.onto is not None
        pixels = np.asarray(self.onto.load_image(), np.float32).copy()
        for sample, number, box in self.cuts:
            paste(pixels, box, sample, number, masked=self.masked)
        made = Image.fromarray(pixels.round().astype(np.uint8))
        return ImageOps.mirror(made) if self.mirror else made


class PastedImages:
    """`count` images, of those of `chosen` in turn, each with up to `most` objects more. Of `cuts`, each is pasted as
    often as its chance says, and none again before its turn. The same arguments give the same images."""

    name = NAME

    def __init__(
        self,
        real: Dataset,
        chosen: Sequence[int],
        cuts: Sequence[CutOut],
        count: int,
        *,
        most: int = MOST,
        seed: int = 0,
    ) -> None:
        self.real, self.root, self.things = real, real.root, real.things
        self._plans = list(_plans(real, chosen, cuts, count, most, seed))
        made = [
            (one.onto, one.mirrored, [(cut.place, cut.number, box.xyxy) for cut, box in one.cuts])
            for one in self._plans
        ]
        self.fingerprint = json_hash([real.fingerprint, made])

    def __len__(self) -> int:
        return len(self._plans)

    def __getitem__(self, place: int) -> Sample:
        plan = self._plans[place]
        onto = self.real[plan.onto]
        boxes = (*onto.layout.boxes, *(box for _, box in plan.cuts))
        layout = Layout(onto.layout.width, onto.layout.height, boxes) if boxes else onto.layout
        layout = layout.mirrored() if plan.mirrored else layout
        cuts = tuple((self.real[cut.place], cut.number, box) for cut, box in plan.cuts)
        masks = LazyMasks(layout, (None,) * len(boxes))
        masked = self.real.mask_source is MaskSource.INSTANCES
        return PastedSample(f"{NAME}-{place}", onto.path, layout, masks, (), onto, cuts, masked, plan.mirrored)

    @property
    def used(self) -> int:
        """Different objects that were pasted."""
        return len({(cut.place, cut.number) for plan in self._plans for cut, _ in plan.cuts})


def cut_outs(real: Dataset, chosen: Sequence[int]) -> list[CutOut]:
    """Every object of a class of things of these images, one as often as another."""
    things = frozenset(real.things)
    boxes = ((place, real[place].layout.boxes) for place in chosen)
    return [CutOut(place, number) for place, own in boxes for number, box in enumerate(own) if box.label in things]


def _plans(
    real: Dataset, chosen: Sequence[int], cuts: Sequence[CutOut], count: int, most: int, seed: int
) -> list[_Plan]:
    """An object for which an image has no room waits for the next image."""
    rng = np.random.default_rng(seed)
    wanted = rng.integers(1, most + 1, count)
    waiting = deque(cuts[which] for which in _deck(cuts, int(wanted.sum()), rng))
    layouts = {place: real[place].layout for place in {*chosen, *(cut.place for cut in cuts)}}
    plans = []
    for number in range(count):
        onto = chosen[number % len(chosen)]
        boxes, own = layouts[onto].boxes, list[tuple[CutOut, Box]]()
        others = [box for box in boxes if box.label in real.things]
        room = min(int(wanted[number]), MAX_OBJECTS - len(boxes))
        for _ in range(min(ASKED * room, len(waiting))):
            cut = waiting.popleft()
            box = None if cut.place == onto else _placed(layouts[cut.place].boxes[cut.number], others, rng)
            if box is None:
                waiting.append(cut)
                continue
            others.append(box)
            own.append((cut, box))
            if len(own) == room:
                break
        plans.append(_Plan(onto, tuple(own), bool(rng.random() < 0.5)))
    return plans


def _deck(cuts: Sequence[CutOut], count: int, rng: np.random.Generator) -> list[int]:
    """Which object is pasted when: each as often as its chance says, to within one (systematic resampling)."""
    if not cuts:
        return []
    ends = np.cumsum([cut.chance for cut in cuts])
    drawn = np.searchsorted(ends, (np.arange(count) + rng.random()) / count * ends[-1], side="right")
    return [int(which) for which in rng.permutation(np.minimum(drawn, len(cuts) - 1))]


def _placed(box: Box, others: Sequence[Box], rng: np.random.Generator) -> Box | None:
    x1, y1, x2, y2 = box.xyxy
    across, down = (0.0 if low <= _EDGE or high >= 1 - _EDGE else MOVED for low, high in ((x1, x2), (y1, y2)))
    return free_place(box, others, rng, (across, down))


def paste(pixels: Floats, box: Box, sample: Sample, number: int, *, masked: bool) -> None:
    """Puts an object of an image where the box is, into [H, W, 3]."""
    source = _window(sample.layout.boxes[number], sample.layout.width, sample.layout.height)
    target = _window(box, pixels.shape[1], pixels.shape[0])
    size = target[2] - target[0], target[3] - target[1]
    cut, cover = _cut(sample, number, source, size, masked=masked)
    left, top, right, bottom = target
    inside = np.s_[max(0, -top) : size[1] - max(0, bottom - pixels.shape[0]),
                   max(0, -left) : size[0] - max(0, right - pixels.shape[1])]  # fmt: skip
    cut, cover = cut[inside], cover[inside][..., None]
    onto = pixels[max(0, top) : bottom, max(0, left) : right]
    edge = (cover[..., 0] > 0) & (cover[..., 0] < 0.5)
    shift = onto[edge].mean(axis=0) - cut[edge].mean(axis=0) if edge.any() and not masked else 0
    onto[:] = np.clip(cover * (cut + shift) + (1 - cover) * onto, 0, 255)


def _cut(
    sample: Sample, number: int, window: tuple[int, int, int, int], size: tuple[int, int], *, masked: bool
) -> tuple[Floats, Floats]:
    """What is in a window of an image, and how much of each pixel is taken: [h, w, 3], [h, w]. Outside the image
    nothing is."""
    image = sample.load_image()
    shape = Image.new("L", image.size, 255)
    if masked:
        mask = next(one for place, one in enumerate(sample.masks) if place == number)
        shape = Image.fromarray(mask.astype(np.uint8) * 255)
    cut, cover = (one.crop(window).resize(size, Image.Resampling.BILINEAR) for one in (image, shape))
    share = np.asarray(np.asarray(cover) / 255, np.float32)
    return np.asarray(cut, np.float32), share if masked else np.asarray(share * _oval(size), np.float32)


def _oval(size: tuple[int, int]) -> Floats:
    """1 within the box, which is the window without its margin, fading out to 0 where the margin ends: [h, w]."""
    whole = 1 + 2 * MARGIN
    rows, columns = np.mgrid[: size[1], : size[0]] + 0.5
    across, down = ((2 * values / side - 1) * whole for values, side in ((columns, size[0]), (rows, size[1])))
    return np.asarray(np.clip((whole - np.hypot(across, down)) / (2 * MARGIN), 0, 1), np.float32)


def _window(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """A box with its margin, in pixels, at least one."""
    x1, y1, x2, y2 = box.xyxy
    across, down = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
    left, top = round((x1 - across) * width), round((y1 - down) * height)
    right, bottom = round((x2 + across) * width), round((y2 + down) * height)
    return left, top, max(left + 1, right), max(top + 1, bottom)
