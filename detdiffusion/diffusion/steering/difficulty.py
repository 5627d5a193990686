"""A difficulty for each object, by the words: its own part of the image lies between that of easy and that of hard.

The model sees the layout with the object easy, and once more with it hard; inside its box the prediction is a mix of
both, as much of the second as the number says. What lies outside is the first alone, so neighbours stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from detdiffusion.diffusion.sampling import Predict
from detdiffusion.diffusion.steering.detector_guidance import box_mask
from detdiffusion.layout import Attribute, Box, Layout

Words = TypeVar("Words")


def has_difficulty(layouts: Sequence[Layout]) -> bool:
    """Whether some object has a number of its own."""
    return any(box.difficulty is not None for layout in layouts for box in layout.boxes)


def _number(box: Box) -> float | None:
    """Its own difficulty, where that says how it is drawn: that of background does not."""
    return None if box.attribute is Attribute.BACKGROUND else box.difficulty


def worded(layout: Layout, attribute: Attribute) -> Layout:
    """The layout with `attribute` for every thing that has a number; the others keep theirs."""
    boxes = tuple(box if _number(box) is None else replace(box, attribute=attribute) for box in layout.boxes)
    return replace(layout, boxes=boxes)


def shares_of_hard(layouts: Sequence[Layout], size: tuple[int, int]) -> Tensor:
    """How much of the hard prediction counts in every cell: [B, 1, h, w], 0 where no object has a number, and the mean
    of their numbers where boxes overlap."""
    rows = []
    for layout in layouts:
        total, count = torch.zeros(size), torch.zeros(size)
        for box in layout.boxes:
            if (number := _number(box)) is not None:
                mask = box_mask(box, size)
                total, count = total + number * mask, count + mask
        rows.append((total / count.clamp(min=1))[None])
    return torch.stack(rows)


def by_difficulty(easy: Predict, hard: Predict, shares: Tensor, *, contrast: bool) -> Predict:
    """A prediction of the rows of `sampling.guided`, whose conditional part is mixed.

    Args:
        easy: of the layouts with `worded(layout, Attribute.EASY)`, for all rows.
        hard: of those with `worded(layout, Attribute.HARD)`, for B rows, without guidance.
        shares: of `shares_of_hard`, [B, 1, h, w].
        contrast: whether the parts for attribute guidance follow the conditional one.
    """
    count = len(shares)

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        rows = easy(latents, t)
        first = len(rows) - count * (3 if contrast else 1)
        own = slice(first, first + count)
        mixed = rows[own] + shares.to(rows) * (hard(latents[own], t) - rows[own])
        return torch.cat([rows[:first], mixed, rows[own.stop :]])

    return predict


def worded_predictor(
    predictor: Callable[[Sequence[Layout], bool, bool], tuple[Predict, Words]],
    layouts: Sequence[Layout],
    size: tuple[int, int],
    *,
    guided: bool,
    contrast: bool,
    words: bool,
) -> tuple[Predict, Words]:
    """What `predictor(layouts, guided, contrast)` gives, a prediction and the words that it reads; with mixed objects
    where some have a number and the model has words for easy and hard: then with the words of the easy ones."""
    if not (words and has_difficulty(layouts)):
        return predictor(layouts, guided, contrast)
    easy, hard = ([worded(layout, way) for layout in layouts] for way in (Attribute.EASY, Attribute.HARD))
    first, read = predictor(easy, guided, contrast)
    other, _ = predictor(hard, False, False)
    return by_difficulty(first, other, shares_of_hard(layouts, size), contrast=contrast), read
