"""Objects that are not where they were asked for are drawn again, and things that nobody asked for are washed out.

After ReCon (Region-Controllable data augmentation, NeurIPS 2025), which corrects regions while it samples. Ours looks
at whole images: a detector says which boxes are wrong, the image gets noise up to a fraction of the schedule, and the
wrong regions alone are drawn again from there, with words for their own objects and stronger guidance; all other
cells keep their clean latents. Only the boxes that are right now are taken, and only if the whole image then has fewer
faults than before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from detdiffusion.detection import Detections, Detector, iou
from detdiffusion.diffusion.sampling import Begin, Steer
from detdiffusion.diffusion.steering.detector_guidance import box_mask, difficulty_of
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Box, Layout
from detdiffusion.sampling_config import MAX_SEED

FRACTIONS = (0.9, 0.8)  # of the schedule: how noisy the wrong regions get, round by round
GUIDANCE = 5.0  # at least, of the rounds: an object looks more like its class
MIN_IOU = 0.5  # with a detection, from which on an object is in its place
STRANGE_IOU = 0.3  # with every asked box, below which a detection is of something that nobody asked for
AT_ONCE = 6  # objects that one round draws again in an image: words for few are obeyed best

Look = Callable[[Tensor], list[Image.Image]]  # latents [B, C, h, w] -> images


@dataclass(frozen=True, slots=True)
class Redraw:
    """One image that is drawn again in part: the layout of its wrong regions, and where they are [h, w], 1 inside."""

    layout: Layout
    region: Tensor


# Layouts, seeds of their noise, what steers, and where to begin -> latents.
Draw = Callable[[Sequence[Layout], Sequence[int], Steer, Begin], Tensor]


@dataclass(frozen=True, slots=True)
class Faults:
    """Of one image: asked objects that are missing or displaced, and boxes of things that nobody asked for."""

    missing: tuple[Box, ...]
    strange: tuple[Box, ...]

    def __len__(self) -> int:
        return len(self.missing) + len(self.strange)


def faults_of(layout: Layout, found: Detections, detector: Detector) -> Faults:
    """By what a detector found. Objects that are asked to be rather hard than easy may be missed."""
    sure = found.at_least(detector.min_score)
    overlaps = iou(np.array([box.xyxy for box in layout.boxes]), sure.boxes_xyxy)  # [N, M]
    names = np.array(sure.labels, dtype=object)
    missing = tuple(
        box
        for box, row in zip(layout.boxes, overlaps, strict=True)
        if _should_be_found(box, detector) and not np.any((row >= MIN_IOU) & (names == box.label))
    )
    nowhere = overlaps.max(axis=0, initial=0.0) < STRANGE_IOU  # [M]
    strange = tuple(
        Box(sure.labels[i], (x1, y1, x2, y2))
        for i, (x1, y1, x2, y2) in enumerate(sure.boxes_xyxy.astype(float).clip(0, 1).tolist())
        if nowhere[i] and x1 < x2 and y1 < y2
    )
    return Faults(missing, strange)


def _should_be_found(box: Box, detector: Detector) -> bool:
    difficulty = difficulty_of(box)
    return difficulty is not None and difficulty < 0.5 and box.label in detector.labels


def redraw_of(layout: Layout, faults: Faults, size: Sequence[int]) -> Redraw:
    """What one round draws again: the first `AT_ONCE` missing objects, with the background's words but no other
    object's, and all that is strange. size: (h, w) of the latents."""
    again = faults.missing[:AT_ONCE]
    background = [box for box in layout.boxes if difficulty_of(box) is None]
    region = torch.zeros(tuple(size))
    for box in (*again, *faults.strange):
        region = torch.maximum(region, box_mask(box, size))
    boxes = (*again, *background) or layout.boxes
    return Redraw(replace(layout, boxes=tuple(boxes)), region)


def round_guidance(asked: float) -> float:
    """Scale of classifier-free guidance of a round, for that of the whole image; 1 or less: it stays switched off."""
    return max(asked, GUIDANCE) if asked > 1 else asked


def composed(regions: Tensor, known: Tensor, new: Tensor) -> Tensor:
    """New latents inside of the regions [B, h, w], the known ones outside: [B, C, h, w]."""
    return torch.where(regions[:, None].to(known.device) > 0, new, known)


def keep_outside(regions: Tensor, known: Tensor) -> Steer:
    """Steers a sampling: clean latents outside of the regions [B, h, w] are the known ones [B, C, h, w]."""

    def steer(number: int, timesteps: Sequence[int], trained: int, clean: Callable[[], Tensor]) -> Tensor:
        return composed(regions, known, clean().to(known))

    return steer


def mended(before: Faults, after: Faults, redraw: Redraw) -> Tensor:
    """Where a round did what it was for: the boxes of missing objects that it drew and that are found now, and of what
    was strange and is gone. 1 inside, [h, w]."""
    left = np.array([box.xyxy for box in after.strange])
    found = [box for box in before.missing if box in redraw.layout.boxes and box not in after.missing]
    gone = [box for box in before.strange if not (iou(np.array([box.xyxy]), left) >= STRANGE_IOU).any()]
    region = torch.zeros_like(redraw.region)
    for box in (*found, *gone):
        region = torch.maximum(region, box_mask(box, region.shape))
    return region


def rectify(
    latents: Tensor, layouts: Sequence[Layout], seeds: Sequence[int], detector: Detector, look: Look, draw: Draw
) -> Tensor:
    """Latents [B, C, h, w] with fewer faults, or the same ones; a round for each of `FRACTIONS` at most.

    seeds: of the images; those of the noise of each round follow from them.
    """
    latents = latents.clone()
    faults = _faults(latents, layouts, detector, look)
    for number, fraction in enumerate(FRACTIONS, start=1):
        places = [place for place, wrong in enumerate(faults) if len(wrong)]
        if not places:
            break
        asked, known = [layouts[place] for place in places], latents[places]
        again = [redraw_of(layouts[place], faults[place], latents.shape[-2:]) for place in places]
        steer = keep_outside(torch.stack([one.region for one in again]), known)
        noises = [(seeds[place] + number) % (MAX_SEED + 1) for place in places]
        drawn = draw([one.layout for one in again], noises, steer, (fraction, known))
        seen = _faults(drawn, asked, detector, look)
        regions = [mended(faults[place], left, one) for place, left, one in zip(places, seen, again, strict=True)]
        mixed = composed(torch.stack(regions), known, drawn)
        rows = [row for row, region in enumerate(regions) if region.any()]
        left = _faults(mixed[rows], [asked[row] for row in rows], detector, look) if rows else []
        for row, fewer in zip(rows, left, strict=True):
            if len(fewer) < len(faults[places[row]]):
                latents[places[row]], faults[places[row]] = mixed[row], fewer
    return latents


def _faults(latents: Tensor, layouts: Sequence[Layout], detector: Detector, look: Look) -> list[Faults]:
    found = detector.detect(look(latents))
    return [faults_of(layout, one, detector) for layout, one in zip(layouts, found, strict=True)]


def check_fixing(detector: Detector | None) -> Detector:
    """The detector that looks for wrong boxes. ConfigError: there is none."""
    if detector is None:
        raise ConfigError("fix_boxes needs a detector that says which boxes are wrong: give one as `detector`")
    return detector
