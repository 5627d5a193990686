"""The perception head at work: a mask for every object of a picture, drawn or real.

The head learned on noisy latents (Eq. 3), with little weight where noise is strong; so the picture is given a little.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
import torch
from diffusers import DDPMScheduler
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from detdiffusion.errors import ConfigError
from detdiffusion.layout import Layout
from detdiffusion.models.features import FeatureTaps
from detdiffusion.pipeline import DetDiffusionPipeline
from detdiffusion.sampling import starting_noise

GOLDEN = 0.618034  # of the circle of hues from one object to the next: neighbours never look alike
NOISE = 0.1  # our choice: where in the schedule, 0..1, the picture is looked at


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
    if len(pictures) != len(layouts):
        raise ConfigError(f"{len(pictures)} pictures, {len(layouts)} layouts: give one of each")
    device = pipe.unet.device
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    t = torch.full((len(layouts),), round(NOISE * schedule.config.num_train_timesteps), device=device)
    latents = _latents(pipe, pictures)
    channels, rows, columns = latents.shape[1:]
    noise = starting_noise([seed + i for i in range(len(layouts))], (channels, rows, columns))
    condition = pipe.encode_layouts(layouts)
    raw = pipe.draw_layouts(layouts if drawn else [None] * len(layouts), (rows, columns))
    with FeatureTaps(pipe.unet) as taps:
        pipe.denoise(schedule.add_noise(latents, noise.to(device), t), t, condition, raw)
    logits = pipe.perception_head(taps.features, condition.objects)  # [B, N, h, w]
    width, height = pictures[0].size
    fine = torch.nn.functional.interpolate(logits.float(), (height, width), mode="bilinear", align_corners=False)
    shown = fine.sigmoid().cpu().numpy()
    return [shown[row, : len(layout.boxes)] for row, layout in enumerate(layouts)]


def mask_ious(masks: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union of masks (a pixel counts from 0.5 up) and true ones: [N, H, W] each -> [N].

    NaN where the true mask is empty: nothing of the object is visible.
    """
    found = masks >= 0.5
    both = (found & truth).sum(axis=(1, 2))
    either = (found | truth).sum(axis=(1, 2))
    return np.where(truth.any(axis=(1, 2)), both / np.maximum(either, 1), np.nan)


def paint_masks(picture: Image.Image, masks: NDArray[np.float32]) -> Image.Image:
    """The picture with each object's mask in a colour of its own, half transparent; the first objects lie on top."""
    pixels = np.asarray(picture.convert("RGB"), np.float32)
    shown = pixels * 0.6 + 102  # paler, so that colours stand out
    for place in reversed(range(len(masks))):
        colour = np.array(colorsys.hsv_to_rgb(place * GOLDEN % 1, 0.9, 0.9)) * 255
        cover = 0.6 * (masks[place] >= 0.5)[..., None]
        shown = shown * (1 - cover) + colour * cover
    return Image.fromarray(shown.round().clip(0, 255).astype(np.uint8))


def _latents(pipe: DetDiffusionPipeline, pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures -> [B, C, h, w] as the U-Net knows latents."""
    pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])  # [B, H, W, 3]
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(pipe.vae.device, pipe.vae.dtype) / 127.5 - 1
    latents: Tensor = pipe.vae.encode(scaled).latent_dist.mode() * pipe.vae.config.scaling_factor
    return latents.float()
