"""What a model read and saw in a picture that it drew: the prompt's tokens, masks, attention."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from PIL import Image

from app.engine.compute import computing
from app.engine.studio import Studio
from detdiffusion.diffusion.masks import object_attention, object_masks
from detdiffusion.image_record import read_image
from detdiffusion.layout import Layout
from detdiffusion.text.prompt import Token, prompt_tokens


class Insight(StrEnum):
    """What can be laid over a picture."""

    MASKS = "Masks"  # of the perception head
    ATTENTION = "Attention"  # to the objects' words


@dataclass(frozen=True, eq=False)
class Inside:
    """What a model reads and sees in a picture that it drew.

    tokens: the prompt's, by window of `length` tokens.
    maps: [N, H, W] in 0..1 for the N objects of the layout; None: the model has no perception head.
    """

    picture: Image.Image
    layout: Layout
    model: str
    blueprint: bool
    what: Insight
    tokens: list[list[Token]]
    length: int
    maps: np.ndarray | None


def look_inside(studio: Studio, file: Path, what: Insight) -> Inside:
    """What the model that drew a picture of this studio reads and sees in it.

    Raises:
        LayoutError: the file is no such picture.
        ConfigError: its model is not among `Studio.models`.
    """
    record = read_image(file)
    layout = record.layout
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    with studio.models.lend(record.model or None) as model:
        pipe, maps = model.pipeline, None
        if what is Insight.ATTENTION:
            maps = computing(object_attention, pipe, [picture], [layout])[0]
        elif pipe.perception_head is not None:
            maps = computing(object_masks, pipe, [picture], [layout])[0]
    length = pipe.text_encoder.config.max_position_embeddings
    tokens = prompt_tokens(layout, model.vocabulary, pipe.tokenizer, length)
    return Inside(picture, layout, model.name, pipe.blueprint is not None, what, tokens, length, maps)
