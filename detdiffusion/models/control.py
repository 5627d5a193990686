"""ControlNet's condition: the layout as a picture (Zhang et al. 2023), for diffusers' own ControlNetModel.

Our choice (the paper does not say how its ControlNet saw boxes): every class has a hue of its own, equally far from
the next; a further object of a class is darker; large boxes are painted first, so that small ones stay visible. For a
published ControlNet of segmentations, `Vocabulary.colours` are those of its own colour map, the same for every object.
"""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from detdiffusion.layout import Layout
from detdiffusion.text.vocabulary import Vocabulary

DARKER = 0.8  # value of an object's colour, as a share of that of the class's object before it
EMBEDDING_CHANNELS = (16, 32, 96, 256)  # ControlNet's own


def new_controlnet(
    unet: UNet2DConditionModel, embedding_channels: Sequence[int] = EMBEDDING_CHANNELS
) -> ControlNetModel:
    """A ControlNet that starts as a copy of the U-Net's encoder and changes nothing at step 0.

    Args:
        embedding_channels: of the layers that bring the picture down to latent size; each after the first halves it.
    """
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=tuple(embedding_channels))


def read_channels_last(controlnet: ControlNetModel) -> None:
    """Lets the layers that read the picture, which are few channels wide at full size, compute with channels last: on a
    CPU 1.8 times as fast (256 pixels, bfloat16, forwards and back); everything behind them stays as it was."""
    embedding = controlnet.controlnet_cond_embedding
    embedding.to(memory_format=torch.channels_last)
    embedding.register_forward_pre_hook(lambda _, given: (given[0].contiguous(memory_format=torch.channels_last),))
    embedding.register_forward_hook(lambda _, given, found: found.contiguous())


def control_scale(controlnet: ControlNetModel) -> int:
    """Pixels of the condition for one latent cell, on each side."""
    return int(2 ** (len(controlnet.config.conditioning_embedding_out_channels) - 1))


def control_images(layouts: Sequence[Layout | None], vocabulary: Vocabulary, size: tuple[int, int]) -> Tensor:
    """Pictures of layouts [B, 3, H, W] in 0..1 on the CPU; black for None and where no object is.

    Args:
        size: (height, width) in pixels.

    Raises:
        LayoutError: a class that the vocabulary lacks.
    """
    pictures = np.zeros((len(layouts), 3, *size), np.float32)
    for picture, layout in zip(pictures, layouts, strict=True):
        if layout is not None:
            _paint(picture, layout, vocabulary)
    return torch.from_numpy(pictures)


def _paint(picture: np.ndarray, layout: Layout, vocabulary: Vocabulary) -> None:
    height, width = picture.shape[1:]
    before: Counter[str] = Counter()
    for box in sorted(layout.boxes, key=lambda box: -box.area):
        index = vocabulary.class_index(box.label)
        if vocabulary.colours:
            colour = tuple(value / 255 for value in bytes.fromhex(vocabulary.colours[index][1:]))
        else:
            colour = colorsys.hsv_to_rgb(index / len(vocabulary.labels), 1.0, DARKER ** before[box.label])
        before[box.label] += 1
        x1, y1, x2, y2 = box.xyxy
        rows = slice(round(y1 * height), max(round(y2 * height), round(y1 * height) + 1))
        columns = slice(round(x1 * width), max(round(x2 * width), round(x1 * width) + 1))
        picture[:, rows, columns] = np.array(colour, np.float32)[:, None, None]
