"""One batch -> its losses (DetDiffusion, Eqs. 4 to 6)."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeAlias

import torch
from diffusers import DDPMScheduler

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.models.config import LossConfig
from detdiffusion.models.features import FeatureTaps
from detdiffusion.models.losses import (
    Losses,
    denoising_loss,
    min_snr_weights,
    perception_loss,
    total_loss,
)
from training.generator.batch import Batch

# What a step learns: the model, its noise schedule, a batch -> the losses.
Lesson: TypeAlias = Callable[[DetDiffusionPipeline, DDPMScheduler, Batch, LossConfig], Losses]


def generator_losses(pipe: DetDiffusionPipeline, schedule: DDPMScheduler, batch: Batch, config: LossConfig) -> Losses:
    """Denoising loss of the noisy latents and perception loss of the masks drawn from the same forward.

    Each is this batch's part of the step's loss: the parts of all micro-batches and processes add up to the average.
    """
    noisy = schedule.add_noise(batch.latents, batch.noise, batch.timesteps)
    size = (batch.latents.shape[-2], batch.latents.shape[-1])
    shown = batch.shown or pipe.show_layouts(batch.layouts, size)
    condition = pipe.encode_shown(shown)
    raw = pipe.draw_shown(shown, size)
    with ExitStack() as stack:
        taps = stack.enter_context(FeatureTaps(pipe.unet)) if config.perception_weight > 0 else None
        prediction = pipe.denoise(noisy, batch.timesteps, condition, raw)
    target = denoising_target(schedule, batch)
    weights = batch.foreground
    if config.min_snr_gamma > 0:
        kind = schedule.config.prediction_type
        by_time = min_snr_weights(schedule.alphas_cumprod.to(target.device), config.min_snr_gamma, kind)
        by_time = by_time[batch.timesteps][:, None, None]  # [T] -> [B, 1, 1]
        weights = by_time if weights is None else weights * by_time
    denoise = denoising_loss(prediction, target, weights) * batch.share
    zero = torch.zeros((), device=target.device)
    mask, dice = zero, zero
    if taps is not None and any(layout is not None for layout in batch.layouts):
        logits = pipe.perception_head(taps.features, condition.objects[:, : batch.masks.shape[1]])
        alpha_bar = schedule.alphas_cumprod.to(target.device)[batch.timesteps]
        mask, dice = perception_loss(
            logits,
            batch.masks,
            batch.object_mask,
            alpha_bar,
            weights=batch.object_weights,
            use_alpha_bar=config.use_alpha_bar,
            use_mask=config.use_mask,
            use_dice=config.use_dice,
        )
    return total_loss(denoise, mask, dice, config)


def denoising_target(schedule: DDPMScheduler, batch: Batch) -> torch.Tensor:
    """What the U-Net is asked for: the noise, or v where the schedule says so. [B, C, h, w]."""
    if schedule.config.prediction_type == "v_prediction":
        velocity: torch.Tensor = schedule.get_velocity(batch.latents, batch.noise, batch.timesteps)
        return velocity
    return batch.noise
