"""Guidance away from the other tags: at the noisiest timesteps, where it is decided what makes an object hard, images
are led away from the same layout with easy and hard exchanged, instead of away from the empty prompt.

Ours; it costs nothing, as each step still sees two layouts. With a sampler that adds noise at every step, hard objects
are less often a blend of several causes, and easy ones are cleaner (docs/EVALUATION.md#tag-guidance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from detdiffusion.diffusion.sampling import Predict
from detdiffusion.layout import Attribute, Box, Layout
from detdiffusion.sampling_config import TagGuidance

_OTHER = {Attribute.EASY: Attribute.HARD, Attribute.HARD: Attribute.EASY}


def opposite(layout: Layout) -> Layout:
    """The layout with easy and hard exchanged; a difficulty from 0 to 1 becomes what it lacks to 1."""
    return replace(layout, boxes=tuple(map(_exchanged, layout.boxes)))


def _exchanged(box: Box) -> Box:
    other = None if box.attribute is None else _OTHER.get(box.attribute, box.attribute)
    return replace(box, attribute=other, difficulty=None if box.difficulty is None else 1 - box.difficulty)


def away_from_opposites(
    predict: Predict, opposites: Predict, layouts: Sequence[Layout], guidance: TagGuidance, timesteps: int
) -> Predict:
    """A prediction of the rows of `sampling.guided` whose unconditional part, where it is asked for and `guidance` is
    on, makes it lead away from the other tags.

    Args:
        predict: of the layouts, for all rows.
        opposites: of `opposite(layout)`, for B rows, without guidance.
        layouts: B.
        timesteps: of the noise schedule.
    """
    count = len(layouts)

    def answer(latents: Tensor, t: Tensor) -> Tensor:
        unguided = len(latents) // count % 2  # the conditional part alone, or with the two of attribute guidance
        if unguided or not guidance.is_on(float(t), timesteps):
            return predict(latents, t)
        rows = predict(latents[count:], t)
        own = rows[:count]
        return torch.cat([own - guidance.strength * (own - opposites(latents[:count], t)), rows])

    return answer
