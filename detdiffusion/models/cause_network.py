"""A small network that sees an object and what is around it, and says what makes it difficult.

Our own: the paper has none. Whether a colour, a size or a place is unusual can only be told for a class and a box, so
both steer every stage (FiLM, Perez et al. 2018). Batch norm, unlike norms of each image, keeps how dark a crop is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 64  # pixels of a crop
CONTEXT = 0.5  # how much longer a crop is than the longer side of the box
WIDTHS = (24, 48, 96, 128)
EMBEDDING = 32


class CauseNetwork(nn.Module):
    """Crops, where the box is in them, and what it is -> a logit for each cause.

    Args:
        classes: of objects.
        outputs: causes, "none" among them.
        widths: channels of the stages; each halves the sides.
        embedding: width of what is learned of a class.
    """

    def __init__(self, classes: int, outputs: int, widths: Sequence[int] = WIDTHS, embedding: int = EMBEDDING) -> None:
        super().__init__()
        self.names = nn.Embedding(classes, embedding)
        self.about = nn.Sequential(nn.Linear(embedding + 6, 2 * embedding), nn.SiLU())
        self.stages = nn.ModuleList(
            Stage(channels, width, 2 * embedding) for channels, width in zip((4, *widths), widths, strict=False)
        )
        self.head = nn.Sequential(
            nn.Linear(2 * widths[-1] + 2 * embedding, widths[-1]), nn.SiLU(), nn.Linear(widths[-1], outputs)
        )

    def forward(self, crops: Tensor, frames: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
        """Logits [B, outputs].

        Args:
            crops: [B, 3, H, W] in -1..1.
            frames: [B, 4], the box in fractions of the crop (x1, y1, x2, y2).
            labels: [B], numbers of classes.
            boxes: [B, 4], the box in fractions of the image.
        """
        about = self.about(torch.cat([self.names(labels), geometry(boxes)], dim=1))  # [B, 2E]
        inside = box_masks(frames, crops.shape[-2:])  # [B, 1, H, W]
        pixels = torch.cat([crops, 2 * inside - 1], dim=1)
        for stage in self.stages:
            pixels = stage(pixels, about)
        inside = F.adaptive_avg_pool2d(inside, (pixels.shape[2], pixels.shape[3]))
        seen = [_mean(pixels, inside), _mean(pixels, 1 - inside), about]  # [B, C], [B, C], [B, 2E]
        logits: Tensor = self.head(torch.cat(seen, dim=1))
        return logits


class Stage(nn.Module):
    """[B, C, H, W] -> [B, D, H/2, W/2]; what the object is scales and shifts the channels."""

    def __init__(self, channels: int, width: int, about: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.film = nn.Linear(about, 2 * width)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, pixels: Tensor, about: Tensor) -> Tensor:
        """about: [B, A], of the object."""
        pixels = self.norm1(self.down(pixels))
        scale, shift = self.film(about)[:, :, None, None].chunk(2, dim=1)  # [B, D, 1, 1] each
        pixels = F.relu(pixels * (1 + scale) + shift)
        return F.relu(pixels + self.norm2(self.conv(pixels)))


def geometry(boxes: Tensor) -> Tensor:
    """Boxes [B, 4] in fractions of the image -> [B, 6]: centre and sides, and the logarithms of area and aspect."""
    x1, y1, x2, y2 = boxes.unbind(1)
    w, h = (x2 - x1).clamp(min=1e-4), (y2 - y1).clamp(min=1e-4)
    return torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, w, h, (w * h).log(), (w / h).log()], dim=1)


def box_masks(frames: Tensor, size: Sequence[int]) -> Tensor:
    """Boxes [B, 4] in fractions -> [B, 1, H, W]: the share of each pixel that lies in the box."""
    columns, rows = (_covered(frames[:, axis::2], side) for axis, side in ((0, size[1]), (1, size[0])))
    return (rows[:, :, None] * columns[:, None, :])[:, None]


def _covered(ends: Tensor, count: int) -> Tensor:
    """Intervals [B, 2] in fractions -> [B, count]: the share of each of `count` cells that lies in the interval."""
    starts = torch.arange(count, device=ends.device)
    cells = ends[:, :, None] * count  # [B, 2, 1]
    return (torch.minimum(cells[:, 1], starts + 1) - torch.maximum(cells[:, 0], starts)).clamp(min=0)


def _mean(pixels: Tensor, weights: Tensor) -> Tensor:
    """[B, C, h, w], weighed by [B, 1, h, w] -> [B, C]."""
    return (pixels * weights).sum((2, 3)) / weights.sum((2, 3)).clamp(min=1e-4)
