"""How much fine structure a student's images have, against those that its teacher's paths lead to.

The mean of many images is softer than each of them. This asks for the right amount of detail, not for its place: for
the strength of the Laplacian's response and of the steps between neighbours, in cells of a few pixels (our choice).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from detdiffusion.evaluation.sharpness import LUMA

WINDOW = 16  # latent cells on a side of what is decoded: a whole image would cost more than the student's own step
CELL = 8  # pixels on a side of what strengths are averaged over


def detail_loss(vae: Any, drawn: Tensor, wanted: Tensor, place: Tensor) -> Tensor:
    """Squared differences of the strengths, as a share of their squares. A scalar, 0 or more.

    Args:
        vae: whose decoder shows the latents; its weights get no gradient.
        drawn, wanted: clean latents [B, C, h, w]; `drawn` with its gradient.
        place: [B] in 0..1, which window of each is looked at.
    """
    with torch.no_grad():
        goal = strengths(_decoded(vae, windows(wanted, place)))
    found = strengths(_decoded(vae, windows(drawn, place)))
    shares = [(a - b).square().mean() / b.square().mean().clamp(min=1e-8) for a, b in zip(found, goal, strict=True)]
    return torch.stack(shares).mean()


def strengths(images: Tensor) -> tuple[Tensor, Tensor]:
    """Of the finest detail and of every edge, in cells. [B, 3, H, W] -> [B, 1, about H / 8, about W / 8] each."""
    luma = (images.float() * torch.tensor(LUMA, device=images.device)[:, None, None]).sum(1, keepdim=True)
    middle, left, up = luma[..., 1:-1, 1:-1], luma[..., 1:-1, :-2], luma[..., :-2, 1:-1]
    around = left + luma[..., 1:-1, 2:] + up + luma[..., 2:, 1:-1]
    edges = ((middle - left).square() + (middle - up).square() + 1e-6).sqrt()  # whose slope at 0 is finite
    return _in_cells((4 * middle - around).abs()), _in_cells(edges)


def windows(latents: Tensor, place: Tensor) -> Tensor:
    """One of each, at its place, which counts through the rows. [B, C, 16, 16], or all of what is smaller."""
    rows, columns = (max(size - WINDOW, 0) + 1 for size in latents.shape[-2:])
    corners = [divmod(int(one * rows * columns), columns) for one in place.tolist()]
    cut = [one[:, y : y + WINDOW, x : x + WINDOW] for one, (y, x) in zip(latents, corners, strict=True)]
    return torch.stack(cut)


def _in_cells(strength: Tensor) -> Tensor:
    return F.avg_pool2d(strength, CELL, ceil_mode=True)


def _decoded(vae: Any, latents: Tensor) -> Tensor:
    """[B, 3, H, W], -1..1 where nothing is cut off."""
    images: Tensor = vae.decode(latents / vae.config.scaling_factor).sample
    return images
