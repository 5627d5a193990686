"""The visual blueprint: the layout drawn at latent size or finer, and given to the U-Net beside the latents.

Our extension (the paper conditions by words alone): a model trained from scratch learns boxes from it quickly. Every
cell knows the class and attribute of the object on top, and where in that object's box it lies. Where latents are
coarse, a drawing of more cells keeps the edges of boxes, and small objects, exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from detdiffusion.errors import ConfigError
from detdiffusion.layout import Layout
from detdiffusion.text.vocabulary import ATTRIBUTES, Vocabulary


class Boxes(NamedTuple):
    """Objects of B layouts in the order of painting, padded to N: all that `Blueprint.paint` reads of them."""

    xyxy: Tensor  # [B, N, 4] float32, fractions; padding is a box of no area
    label: Tensor  # [B, N] int64
    attribute: Tensor  # [B, N] int64
    thing: Tensor  # [B, N] float32, 1 for things, 0 for stuff


class Blueprint(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Draws layouts and embeds the drawing: `blueprint(blueprint.draw(layouts, vocabulary, (h, w)))`.

    Args:
        num_classes: classes of the vocabulary.
        out_channels: channels of the embedded drawing.
        coordinate_frequencies: sine-cosine pairs a picture side, fixed: sin and cos of pi * k * x, k = 1, 2, ...
        box_frequencies: sine-cosine pairs a box side: sin and cos of pi * 2^i * u, u in -1..1 across the box.
        scale: cells of the drawing for one latent cell, on each side. They are folded into channels and embedded
            together, so a scale above 1 needs more `out_channels`.

    Raises:
        ConfigError: the scale is below 1.
    """

    @register_to_config
    def __init__(
        self,
        num_classes: int,
        out_channels: int = 24,
        coordinate_frequencies: int = 2,
        box_frequencies: int = 3,
        scale: int = 1,
    ) -> None:
        super().__init__()
        if scale < 1:
            raise ConfigError(f"blueprint scale is {scale}, and needs to be 1 or more")
        self.embed = nn.Conv2d(self.raw_channels, out_channels, scale, stride=scale)

    @property
    def raw_channels(self) -> int:
        """Channels of `draw`: classes, attributes, thing, coverage, then u and v with their waves and log box sides."""
        return int(self.config.num_classes + len(ATTRIBUTES) + 2 + 2 * self._axis_channels)

    @property
    def _axis_channels(self) -> int:
        return int(2 + 2 * self.config.box_frequencies)  # position, log side, sines, cosines

    @property
    def total_channels(self) -> int:
        """Channels of `forward`, which the U-Net's input has beside the latents."""
        return int(self.config.out_channels + 4 * self.config.coordinate_frequencies)

    def draw(self, layouts: Sequence[Layout], vocabulary: Vocabulary, size: tuple[int, int]) -> Tensor:
        """The drawing [B, raw_channels, scale * h, scale * w] float32 on the CPU, as `paint` makes it.

        Args:
            layouts: resolved by the vocabulary (every object has an attribute).
            size: (h, w) of the latents.
        """
        return self.paint(painting_order(layouts, vocabulary), size)

    @torch.no_grad()
    def paint(self, boxes: Boxes, size: tuple[int, int]) -> Tensor:
        """The drawing [B, raw_channels, scale * h, scale * w] float32, on the device of the boxes.

        Painted stuff first, then things, large ones first. Class, attribute and the thing flag are blended by the
        fraction of the cell that a box covers, so edges are exact below one cell; position, box size and coverage are
        those of the top object that touches the cell.
        """
        (batch, count), (height, width), device = boxes.label.shape, self._drawn(size), boxes.xyxy.device
        x1, y1, x2, y2 = boxes.xyxy.unbind(-1)  # [B, N] each
        cover = _coverage(y1, y2, height)[..., :, None] * _coverage(x1, x2, width)[..., None, :]
        cover = cover.flatten(2)  # [B, N, h * w]
        clear = (1 - cover).flip(1).cumprod(1).flip(1)  # of each cell, what an object and those above it leave
        visible = cover.clone()  # the share of each cell that an object keeps once those above it are painted
        visible[:, :-1] *= clear[:, 1:]

        flat = self.config.num_classes + len(ATTRIBUTES) + 1
        words = cover.new_zeros(batch, flat, count)
        words.scatter_(1, boxes.label[:, None], 1)
        words.scatter_(1, self.config.num_classes + boxes.attribute[:, None], 1)
        words[:, -1] = boxes.thing
        raw = cover.new_empty(batch, self.raw_channels, height * width)
        torch.bmm(words, visible, out=raw[:, :flat])  # with `out`, autocast leaves it in float32

        painted = torch.arange(count, device=device)[:, None]
        top = torch.where(cover > 0, painted, -1).amax(1)  # [B, h * w] last painted
        empty, top = top < 0, top.clamp(min=0)
        torch.gather(cover, 1, top[:, None], out=raw[:, flat : flat + 1])
        x_sides, y_sides = raw[:, flat + 1 :].unflatten(2, (height, width)).split(self._axis_channels, dim=1)
        rows = torch.arange(batch, device=device)[:, None, None]
        top = top.unflatten(1, (height, width))
        columns, lines = torch.arange(width, device=device), torch.arange(height, device=device)[:, None]
        x_sides.copy_(self._along_side(x1, x2, width)[rows, top, columns].permute(0, 3, 1, 2))
        y_sides.copy_(self._along_side(y1, y2, height)[rows, top, lines].permute(0, 3, 1, 2))
        raw[:, flat + 1 :].masked_fill_(empty[:, None], 0)
        return torch.unflatten(raw, 2, (height, width))

    def _along_side(self, low: Tensor, high: Tensor, cells: int) -> Tensor:
        """Position u of each cell's middle in its box, -1..1, its waves and the log of the side: [B, N, cells, C]."""
        side = (high - low).clamp(min=1e-6)[..., None]  # [B, N, 1]
        middle = (torch.arange(cells, dtype=torch.float32, device=low.device) + 0.5) / cells
        u = ((middle - low[..., None]) / side * 2 - 1).clamp(-1, 1)  # [B, N, cells]
        octaves = 2.0 ** torch.arange(self.config.box_frequencies, device=low.device)
        angle = math.pi * u[..., None] * octaves  # [B, N, cells, F]
        return torch.cat([u[..., None], side.log().expand_as(u)[..., None], angle.sin(), angle.cos()], dim=-1)

    def empty(self, batch: int, size: tuple[int, int]) -> Tensor:
        """The drawing of nothing, which goes with unconditional prompts: [B, raw_channels, scale * h, scale * w]."""
        return torch.zeros(batch, self.raw_channels, *self._drawn(size))

    def _drawn(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the drawing for latents of a size."""
        return size[0] * self.config.scale, size[1] * self.config.scale

    def forward(self, raw: Tensor) -> Tensor:
        """[B, raw_channels, scale * h, scale * w] -> [B, total_channels, h, w]: the embedded drawing, then where each
        latent cell lies."""
        embedded: Tensor = self.embed(raw.to(self.dtype))
        return torch.cat([embedded, self._coordinates(embedded).expand(len(raw), -1, -1, -1)], dim=1)

    def _coordinates(self, cells: Tensor) -> Tensor:
        """Sines and cosines of the position in the picture, [1, 4 * coordinate_frequencies, h, w], as `cells`."""
        height, width = cells.shape[-2:]
        device = cells.device
        k = torch.arange(1, self.config.coordinate_frequencies + 1, device=device)[:, None, None] * torch.pi
        y = ((torch.arange(height, device=device) + 0.5) / height)[:, None].expand(height, width)
        x = ((torch.arange(width, device=device) + 0.5) / width).expand(height, width)
        return torch.cat([(k * x).sin(), (k * x).cos(), (k * y).sin(), (k * y).cos()])[None].to(cells.dtype)


def painting_order(layouts: Sequence[Layout | None], vocabulary: Vocabulary) -> Boxes:
    """Boxes on the CPU; none for None. LayoutError for a class that the vocabulary lacks."""
    most = max(1, *(len(layout.boxes) for layout in layouts if layout is not None), 0)
    shape = (len(layouts), most)
    xyxy, thing = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.float32)
    label, attribute = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    things = len(vocabulary.things)
    for row, layout in enumerate(layouts):
        if layout is None:
            continue
        objects = [(vocabulary.class_index(box.label), box) for box in vocabulary.resolve(layout).boxes]
        objects.sort(key=lambda item: (item[0] < things, -item[1].area))
        count = len(objects)
        xyxy[row, :count] = [box.xyxy for _, box in objects]
        label[row, :count] = [index for index, _ in objects]
        attribute[row, :count] = [vocabulary.attribute_index(box.attribute) for _, box in objects if box.attribute]
        thing[row, :count] = label[row, :count] < things
    return Boxes(*map(torch.from_numpy, (xyxy, label, attribute, thing)))


def _coverage(low: Tensor, high: Tensor, cells: int) -> Tensor:
    """Fraction of every cell of a side that lies between `low` and `high` (fractions): [B, N] -> [B, N, cells]."""
    left = torch.arange(cells, dtype=torch.float32, device=low.device)
    inside = torch.minimum(high[..., None] * cells, left + 1) - torch.maximum(low[..., None] * cells, left)
    return inside.clamp(0, 1)


def widen_conv_in(unet: UNet2DConditionModel, extra: int) -> None:
    """Gives the U-Net's first convolution `extra` input channels that start at zero: step 0 is the untouched model.

    In place; the new channels come last, and `unet.config.in_channels` follows.
    """
    old = unet.conv_in
    weight = torch.cat([old.weight, old.weight.new_zeros(old.out_channels, extra, *old.kernel_size)], dim=1)
    new = nn.Conv2d(old.in_channels + extra, old.out_channels, old.kernel_size, padding=old.padding)
    new.weight, new.bias = nn.Parameter(weight.detach()), old.bias
    unet.conv_in = new
    unet.register_to_config(in_channels=new.in_channels)
