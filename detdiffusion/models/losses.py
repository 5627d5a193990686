"""Training losses: pure functions of tensors (DetDiffusion, Eqs. 4 to 6; GeoDiffusion, section 3.3 for the weights).

The whole: L = L_LDM + lambda * sqrt(alpha_bar_t) * (L_mask + L_dice).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from detdiffusion.layout import Layout
from detdiffusion.models.config import LossConfig


class Losses(NamedTuple):
    """Scalars. `mask` and `dice` are already weighted by sqrt(alpha_bar) where that is on, but not by lambda."""

    total: Tensor
    denoise: Tensor
    mask: Tensor
    dice: Tensor


def foreground_weights(
    layouts: Sequence[Layout], size: tuple[int, int], *, weight: float = 2.0, power: float = 0.2
) -> Tensor:
    """Weights of the denoising loss, [B, h, w] float32 with mean 1 for each layout (GeoDiffusion, section 3.3).

    Foreground `weight` / area^power, background 1 / (h w)^power, normalised to mean 1. Our reading: area counts cells
    of the latents, as the background's h w does. Counted as a fraction of the picture, every weight changes by the
    same factor (h w)^power, which the normalisation takes out; so here area is a fraction and the background is 1. A
    cell belongs to a box that holds its middle; a box too small for that has the cell of its own middle.
    Deviation: GeoDiffusion lets later boxes overwrite earlier ones; we paint large ones first, so that the order of the
    objects, which is shuffled, does not decide whether a small object keeps its weight.
    """
    height, width = size
    weights = np.ones((len(layouts), height, width), dtype=np.float32)
    for row, layout in zip(weights, layouts, strict=True):
        for box in sorted(layout.boxes, key=lambda box: -box.area):
            x1, y1, x2, y2 = box.xyxy
            columns, rows = _cells(x1, x2, width), _cells(y1, y2, height)
            area = (columns.stop - columns.start) * (rows.stop - rows.start) / (height * width)
            row[rows, columns] = weight / area**power
        row /= row.mean()
    return torch.from_numpy(weights)


def _cells(low: float, high: float, count: int) -> slice:
    """Cells whose middle lies in [low, high), at least the one that holds the box's own middle."""
    first, last = round(low * count), round(high * count)
    if first == last:
        first = min(int((low + high) / 2 * count), count - 1)
        last = first + 1
    return slice(first, last)


def min_snr_weights(alphas_bar: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Weights of the denoising loss by timestep, [T] float32 (Min-SNR-gamma; Hang et al. 2023, section 3.4).

    min(SNR, gamma) in the loss of the clean latents, which is min(SNR, gamma) / SNR in the loss of the noise and
    min(SNR, gamma) / (SNR + 1) in that of v. Our choice: scaled to a mean of 1 over the schedule, so that the other
    losses keep their share.

    Args:
        alphas_bar: [T] of the noise schedule, each above 0 and below 1.
        prediction_type: epsilon or v_prediction, as diffusers names it.
    """
    ratio = alphas_bar.float() / (1 - alphas_bar.float())
    weights = ratio.clamp(max=gamma) / (ratio + 1 if prediction_type == "v_prediction" else ratio)
    return weights / weights.mean()


def denoising_loss(prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """L_LDM: mean squared error of [B, C, h, w], weighted by [B, h, w] (or what stretches to that) where weights are
    given. Scalar, float32."""
    error = (prediction.float() - target.float()).square()
    return (error if weights is None else error * weights[:, None]).mean()


def mask_bce(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy averaged over the cells of each object: [B, N, h, w] twice -> [B, N]."""
    return F.binary_cross_entropy_with_logits(logits.float(), masks.float(), reduction="none").mean(dim=(2, 3))


def dice(logits: Tensor, masks: Tensor) -> Tensor:
    """1 - (2 sum(p m) + 1) / (sum(p) + sum(m) + 1) of each object: [B, N, h, w] twice -> [B, N]."""
    p, m = logits.float().sigmoid(), masks.float()
    return 1 - (2 * (p * m).sum(dim=(2, 3)) + 1) / (p.sum(dim=(2, 3)) + m.sum(dim=(2, 3)) + 1)


def perception_loss(
    logits: Tensor,
    masks: Tensor,
    object_mask: Tensor,
    alpha_bar: Tensor,
    *,
    weights: Tensor | None = None,
    use_alpha_bar: bool = True,
    use_mask: bool = True,
    use_dice: bool = True,
) -> tuple[Tensor, Tensor]:
    """(L_mask, L_dice), each an average over objects, so large ones do not dominate; scalars, float32.

    Args:
        logits: [B, N, h, w].
        masks: [B, N, h, w] in 0..1, the objects' own masks, not their boxes (Fig. 2).
        object_mask: [B, N] bool, False on padding, which counts for nothing.
        alpha_bar: [B] of each sample's timestep; the loss fades with the signal, by its square root.
        weights: [B, N], what each object counts for; None: 1 / the number of objects.
        use_alpha_bar, use_mask, use_dice: the ablation's switches (Table 1); a loss switched off is zero.
    """
    time = alpha_bar.float().sqrt()[:, None] if use_alpha_bar else 1.0
    if weights is None:
        weights = object_mask.float() / object_mask.sum().clamp(min=1)
    share = object_mask.float() * weights * time  # [B, N]
    zero = logits.new_zeros((), dtype=torch.float32)
    mask_loss = (mask_bce(logits, masks) * share).sum() if use_mask else zero
    dice_loss = (dice(logits, masks) * share).sum() if use_dice else zero
    return mask_loss, dice_loss


def total_loss(denoise: Tensor, mask: Tensor, dice: Tensor, config: LossConfig) -> Losses:
    """L of Eq. 6 from its parts."""
    return Losses(denoise + config.perception_weight * (mask + dice), denoise, mask, dice)
