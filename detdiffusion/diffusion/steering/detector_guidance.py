"""Guidance by a detector: while an image is sampled, each object is moved until the detector is as sure of it as asked.

Nothing is trained, and the model need not know words for easy and hard. At some steps the clean latents that the
prediction implies are decoded, the detector scores the boxes that were asked for, and the gradient of its confidence
moves the latents of each box. Steps that follow make an image of it again, which is why none of the last is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from detdiffusion.detection import Detector, ScoresBoxes, scores_boxes
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.sampling_config import in_interval

# All are our choice, found on a dozen layouts of the built-in world: looks at cleaner steps make the drop larger, by
# changes that are finer.
EASY_LEVEL, HARD_LEVEL = 0.95, 0.15  # confidence that is asked for at difficulty 0 and 1; beyond it nothing is moved
LOOKS = 6  # steps, of any number, at which the detector looks
INTERVAL = (0.3, 0.9)  # the part of the noise schedule in which they lie: what is finer than objects comes after it
REACH = 1.2  # trust region: how far one look moves an object, in standard deviations of latents (root mean square)
CELL = 3.0  # no cell goes further than so many times that
NEAR = 2.0  # log-odds from the goal at which moves begin to get shorter
SHIFTS = ((0, 0), (2, -1), (-2, 2), (1, 3), (-3, -2), (3, 1))  # pixels down and right, look by look


@dataclass(frozen=True, slots=True)
class Goal:
    """One object: between which log-odds the detector's confidence should lie."""

    box: Box
    lowest: float
    highest: float


def goals_of(layout: Layout, labels: Sequence[str]) -> list[Goal]:
    """Of the objects that are to be moved: background is not, nor are classes that the detector does not know.

    Hard objects are led down to `HARD_LEVEL` and easy ones up to `EASY_LEVEL`, from either side if the difficulty lies
    between them.
    """
    goals = []
    for box in layout.boxes:
        difficulty = difficulty_of(box)
        if difficulty is None or box.label not in labels:
            continue
        level = torch.tensor(EASY_LEVEL + difficulty * (HARD_LEVEL - EASY_LEVEL)).logit().item()
        goals.append(Goal(box, level if difficulty < 1 else -torch.inf, level if difficulty > 0 else torch.inf))
    return goals


def difficulty_of(box: Box) -> float | None:
    """0 for easy, 1 for hard, or its own number; None for background."""
    if box.attribute is Attribute.BACKGROUND:
        return None
    return float(box.attribute is Attribute.HARD) if box.difficulty is None else box.difficulty


class DetectorGuidance:
    """Guides one call of the pipeline: `sampling.sample` lets it change the clean latents of every step.

    Args:
        detector: whose confidence is moved.
        vae: decodes latents, with a gradient.
        layouts: of the images, with all attributes.
        strength: of the moves; 1 is `REACH`.
    """

    def __init__(self, detector: ScoresBoxes, vae: Any, layouts: Sequence[Layout], strength: float) -> None:
        self.detector, self.vae, self.reach = detector, vae, REACH * strength
        self.goals = [goals_of(layout, detector.labels) for layout in layouts]

    def __call__(
        self, number: int, timesteps: Sequence[int], train_timesteps: int, clean: Callable[[], Tensor]
    ) -> Tensor | None:
        """Clean latents [B, C, h, w] to go on with; None: as they were.

        Args:
            number: of the step, from 0, of `timesteps`.
            clean: gives the clean latents that the prediction implies.
        """
        looks = look_steps(timesteps, train_timesteps)
        if number not in looks:
            return None
        shift = SHIFTS[looks.index(number) % len(SHIFTS)]
        with torch.autocast(self.vae.device.type, enabled=False):
            latents = clean().float()
            moved = [self._moved(one, goals, shift) for one, goals in zip(latents, self.goals, strict=True)]
        return torch.stack(moved)

    def _moved(self, latents: Tensor, goals: Sequence[Goal], shift: tuple[int, int]) -> Tensor:
        """One image's latents [C, h, w] after a step of the trust region."""
        if not goals:
            return latents
        with torch.enable_grad():
            x = latents.detach().requires_grad_()
            missing = self._missing(x, goals, shift)  # [N]
            if not bool((missing > 0).any()):
                return latents
            (slope,) = torch.autograd.grad(missing.sum(), x)
        slope = _smooth(slope)
        moves = torch.zeros_like(latents)
        for goal, away in zip(goals, missing.tolist(), strict=True):
            inside = box_mask(goal.box, latents.shape[-2:]).to(latents)
            own = slope * inside
            size = (own.square().sum() / (inside.sum() * len(latents)).clamp(min=1)).sqrt()
            if away > 0 and size > 0:
                moves += min(1.0, away / NEAR) * own / size
        return latents - self.reach * moves.clamp(-CELL, CELL)

    def _missing(self, latents: Tensor, goals: Sequence[Goal], shift: tuple[int, int]) -> Tensor:
        """How far the log-odds of each object are from its goal: [N], 0 where they are there.

        The detector looks at an image that is a little out of focus, and moved by another few pixels each time: what
        only the very pixels would show it is not learned.
        """
        decoded = self.vae.decode((latents[None] / self.vae.config.scaling_factor).to(self.vae.dtype)).sample
        image = _smooth((decoded.float().clamp(-1, 1) + 1) / 2).roll(shift, dims=(2, 3))
        boxes = torch.tensor([goal.box.xyxy for goal in goals])
        (sure,) = self.detector.score(image, [boxes], [[goal.box.label for goal in goals]])
        odds = sure.clamp(1e-12, 1 - 1e-6).logit()  # an object that nobody sees yet has a gradient, too
        lowest = torch.tensor([goal.lowest for goal in goals], device=odds.device)
        highest = torch.tensor([goal.highest for goal in goals], device=odds.device)
        return (lowest - odds).clamp(min=0) + (odds - highest).clamp(min=0)


def guidance_of(
    detector: Detector | None, vae: Any, layouts: Sequence[Layout], strength: float
) -> DetectorGuidance | None:
    """What guides a call; None where the strength is 0.

    Raises:
        ConfigError: there is no detector.
        DetectorError: it gives no gradient.
    """
    if strength == 0:
        return None
    if detector is None:
        raise ConfigError("detector_guidance needs the detector that guides: give one as `detector`")
    return DetectorGuidance(scores_boxes(detector), vae, layouts, strength)


def look_steps(timesteps: Sequence[int], train_timesteps: int) -> list[int]:
    """The steps at which a detector looks: at most `LOOKS`, evenly among those within `INTERVAL`."""
    inside = [i for i, t in enumerate(timesteps) if in_interval(int(t), train_timesteps, INTERVAL)]
    chosen = torch.linspace(0, len(inside) - 1, min(LOOKS, len(inside))).round().long().tolist()
    return [inside[i] for i in chosen]


def box_mask(box: Box, size: Sequence[int]) -> Tensor:
    """1 in the cells of an (h, w) grid that a box touches, 0 elsewhere: [h, w]."""
    x1, y1, x2, y2 = box.xyxy
    rows, columns = (_touched(low, high, count) for low, high, count in ((y1, y2, size[0]), (x1, x2, size[1])))
    return rows[:, None] * columns[None, :]


def _touched(low: float, high: float, count: int) -> Tensor:
    starts = torch.arange(count)
    return ((starts + 1 > low * count) & (starts < high * count)).float()


def _smooth(maps: Tensor) -> Tensor:
    """The mean of 3 x 3 cells, of every channel: [..., h, w]."""
    whole = maps if maps.ndim == 4 else maps[None]
    mean = avg_pool2d(pad(whole, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return mean if maps.ndim == 4 else mean[0]
