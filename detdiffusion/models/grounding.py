"""GLIGEN's condition (Li et al. 2023): each object's box and the phrase that names it, for the gated attention and the
position network of diffusers' own UNet2DConditionModel.

All of it is one tensor, so that it goes where a blueprint's drawing or a ControlNet's image goes: of every object its
corners, a 1 that says that it is there, and what the text encoder makes of its class's name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from detdiffusion.errors import LayoutError
from detdiffusion.layout import Layout
from detdiffusion.text.vocabulary import Vocabulary

MOST_OBJECTS = 30  # as GLIGEN was trained
EARLY_SHARE = 0.3  # of the steps see the boxes: GLIGEN's scheduled sampling, diffusers' default
GATED = "gated"  # attention type of a U-Net that reads text and boxes
_CORNERS = 4


def is_grounded(unet: Any) -> bool:
    """Whether a U-Net reads boxes and phrases, as GLIGEN's does."""
    return bool(unet.config.attention_type == GATED)


def grounding(
    layouts: Sequence[Layout | None], vocabulary: Vocabulary, encode: Callable[[Sequence[str]], Tensor]
) -> Tensor:
    """Boxes and phrases of layouts [B, 30, 5 + D], float32; zeros for None and where no object is.

    Args:
        encode: phrases -> [P, D]; called once.

    Raises:
        LayoutError: a class that the vocabulary lacks, or more objects than GLIGEN knows.
    """
    most = max((len(layout.boxes) for layout in layouts if layout is not None), default=0)
    if most > MOST_OBJECTS:
        raise LayoutError(f"this model places at most {MOST_OBJECTS} objects (GLIGEN); the layout has {most}")
    boxes = [(row, place, box) for row, one in enumerate(layouts) if one for place, box in enumerate(one.boxes)]
    words = [vocabulary.words[vocabulary.class_index(box.label)] for _, _, box in boxes]
    phrases = sorted(set(words)) or [vocabulary.words[0]]  # which then tells how wide they are
    features = dict(zip(phrases, encode(phrases).float(), strict=True))
    width = len(features[phrases[0]])
    found: Tensor = features[phrases[0]].new_zeros(len(layouts), MOST_OBJECTS, _CORNERS + 1 + width)
    for (row, place, box), word in zip(boxes, words, strict=True):
        found[row, place, :_CORNERS] = found.new_tensor(box.xyxy)
        found[row, place, _CORNERS] = 1
        found[row, place, _CORNERS + 1 :] = features[word]
    return found


def gligen_inputs(grounded: Tensor) -> dict[str, Any]:
    """`grounding`'s answer as the arguments that diffusers' U-Net takes it by."""
    parts = torch.split(grounded, [_CORNERS, 1, grounded.shape[-1] - _CORNERS - 1], dim=-1)
    boxes, masks, phrases = parts
    given = {"boxes": boxes, "masks": masks.squeeze(-1), "positive_embeddings": phrases}
    return {"cross_attention_kwargs": {"gligen": given}}
