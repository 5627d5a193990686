"""What a model sees in a picture, drawn or real: the perception head's mask of every object, and where the U-Net reads
the object's words.

The head learned on noisy latents (Eq. 3), with little weight where noise is strong; so the picture is given a little.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.diffusion.sampling import starting_noise
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Layout
from detdiffusion.models.features import FeatureTaps
from detdiffusion.text.prompt import TextCondition

GOLDEN = 0.618034  # of the circle of hues from one object to the next: neighbours never look alike
NOISE = 0.1  # our choice: where in the schedule, 0..1, the picture is looked at
ATTENTION_NOISE = 0.5  # our choice: in the middle, where words say most


@torch.inference_mode()
def object_masks(
    pipe: DetDiffusionPipeline,
    pictures: Sequence[Image.Image],
    layouts: Sequence[Layout],
    *,
    seed: int = 0,
    drawn: bool = True,
) -> list[NDArray[np.float32]]:
    """How sure the head is of every object at every pixel: [N, H, W] in 0..1 for each picture and its N objects.

    Args:
        pictures: of one size, each of its layout.
        seed: of the noise.
        drawn: whether the U-Net sees the blueprint (a ControlNet its picture). Shapes are better with it; but then an
            object that is not there gets a mask, too, and to tell whether it is there the blueprint has to be hidden.

    Raises:
        ConfigError: the model has no perception head, or there is not one layout a picture.
        LayoutError: a class that the model does not know.
    """
    if pipe.perception_head is None:
        raise ConfigError("this model has no perception head, so it cannot draw masks")
    with FeatureTaps(pipe.unet) as taps:
        condition, _ = look(pipe, pictures, layouts, NOISE, seed=seed, drawn=drawn)
    logits = pipe.perception_head(taps.features, condition.objects)  # [B, N, h, w]
    shown = _fine(logits, pictures[0]).sigmoid().cpu().numpy()
    return [shown[row, : len(layout.boxes)] for row, layout in enumerate(layouts)]


def look(
    pipe: DetDiffusionPipeline,
    pictures: Sequence[Image.Image],
    layouts: Sequence[Layout],
    noise: float,
    *,
    seed: int = 0,
    drawn: bool = True,
) -> tuple[TextCondition, tuple[int, int]]:
    """One forward of the U-Net over pictures that are given some noise, as in training; for those who listen in.

    Args:
        noise: where in the schedule, 0..1.
        seed, drawn: as in `object_masks`.

    Returns:
        The text condition, and (height, width) of the latents.
    """
    if len(pictures) != len(layouts):
        raise ConfigError(f"{len(pictures)} images, {len(layouts)} layouts: give one of each")
    device = pipe.unet.device
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    t = torch.full((len(layouts),), round(noise * schedule.config.num_train_timesteps), device=device)
    latents = _latents(pipe, pictures)
    channels, rows, columns = latents.shape[1:]
    added = starting_noise([seed + i for i in range(len(layouts))], (channels, rows, columns))
    condition = pipe.encode_layouts(layouts)
    raw = pipe.draw_layouts(layouts if drawn else [None] * len(layouts), (rows, columns))
    pipe.denoise(schedule.add_noise(latents, added.to(device), t), t, condition, raw)
    return condition, (rows, columns)


@torch.inference_mode()
def object_attention(
    pipe: DetDiffusionPipeline, pictures: Sequence[Image.Image], layouts: Sequence[Layout], *, seed: int = 0
) -> list[NDArray[np.float32]]:
    """Where the U-Net reads each object's words: [N, H, W] in 0..1 for each picture and its N objects.

    The probabilities of cross-attention, over all layers and heads and the object's own tokens, stretched so that they
    run from 0 to 1 for every object. Arguments and errors as in `object_masks`; no perception head is needed. A model
    with a blueprint does not need its words to know where an object is, and its maps show that.
    """
    pipe.choose_attention(pipe.unet.device.type)  # or the first forward would, behind the recorder's back
    with recorded_attention(pipe.unet) as recorded:
        condition, (rows, columns) = look(pipe, pictures, layouts, ATTENTION_NOISE, seed=seed)
    whole = torch.zeros(())
    for probabilities in recorded:
        read = condition.words @ probabilities.float().mean(1).transpose(1, 2)  # [B, N, S] x [B, S, Q] -> [B, N, Q]
        shrink = math.isqrt(rows * columns // read.shape[-1])
        whole = whole + _fine(read.unflatten(-1, (rows // shrink, columns // shrink)), pictures[0])
    lowest, highest = whole.amin((2, 3), keepdim=True), whole.amax((2, 3), keepdim=True)
    shown = ((whole - lowest) / (highest - lowest).clamp(min=1e-12)).cpu().numpy()
    return [shown[row, : len(layout.boxes)] for row, layout in enumerate(layouts)]


@contextmanager
def recorded_attention(unet: UNet2DConditionModel) -> Iterator[list[Tensor]]:
    """The probabilities [B, heads, Q, S] of every cross-attention that the U-Net computes meanwhile, in their order."""
    recorded: list[Tensor] = []
    layers = [layer for name, layer in unet.named_modules() if name.endswith(".attn2")]
    before = [layer.processor for layer in layers]

    def listening(scores: Callable[..., Tensor], heads: int) -> Callable[..., Tensor]:
        def heard(*inputs: Any) -> Tensor:
            probabilities = scores(*inputs)
            recorded.append(probabilities.unflatten(0, (-1, heads)))
            return probabilities

        return heard

    for layer in layers:
        layer.set_processor(AttnProcessor())  # the one that asks for probabilities
        layer.get_attention_scores = listening(layer.get_attention_scores, layer.heads)
    try:
        yield recorded
    finally:
        for layer, processor in zip(layers, before, strict=True):
            del layer.get_attention_scores  # the class's own is there again
            layer.set_processor(processor)


def _fine(maps: Tensor, picture: Image.Image) -> Tensor:
    """[B, N, h, w] -> [B, N, H, W], the picture's size."""
    size = (picture.height, picture.width)
    return torch.nn.functional.interpolate(maps.float(), size, mode="bilinear", align_corners=False)


def mask_ious(masks: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union of masks (a pixel counts from 0.5 up) and true ones: [N, H, W] each -> [N].

    NaN where the true mask is empty: nothing of the object is visible.
    """
    found = masks >= 0.5
    both = (found & truth).sum(axis=(1, 2))
    either = (found | truth).sum(axis=(1, 2))
    return np.where(truth.any(axis=(1, 2)), both / np.maximum(either, 1), np.nan)


def object_colour(place: int) -> tuple[int, int, int]:
    """RGB, 0 to 255, of an object's mask by its place in the layout."""
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(place * GOLDEN % 1, 0.9, 0.9))
    return red, green, blue


def paint_masks(picture: Image.Image, masks: NDArray[np.float32]) -> Image.Image:
    """The picture with each object's mask in a colour of its own, half transparent; the first objects lie on top."""
    pixels = np.asarray(picture.convert("RGB"), np.float32)
    shown = pixels * 0.6 + 102  # paler, so that colours stand out
    for place in reversed(range(len(masks))):
        colour = np.array(object_colour(place))
        cover = 0.6 * (masks[place] >= 0.5)[..., None]
        shown = shown * (1 - cover) + colour * cover
    return Image.fromarray(shown.round().clip(0, 255).astype(np.uint8))


def _latents(pipe: DetDiffusionPipeline, pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures -> [B, C, h, w] as the U-Net knows latents."""
    pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])  # [B, H, W, 3]
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(pipe.vae.device, pipe.vae.dtype) / 127.5 - 1
    latents: Tensor = pipe.vae.encode(scaled).latent_dist.mode() * pipe.vae.config.scaling_factor
    return latents.float()
