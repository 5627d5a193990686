"""The visual blueprint: the layout drawn at latent size or finer, and given to the U-Net beside the latents.

Our extension (the paper conditions by words alone): a model trained from scratch learns boxes from it quickly. Every
cell knows the class and attribute of the object on top, and where in that object's box it lies. Where latents are
coarse, a drawing of more cells keeps the edges of boxes, and small objects, exact.
"""

from __future__ import annotations

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


class _Boxes(NamedTuple):
    """Objects of B layouts in the order of painting, padded to N."""

    xyxy: np.ndarray  # [B, N, 4] float32, fractions; padding is a box of no area
    label: np.ndarray  # [B, N] int
    attribute: np.ndarray  # [B, N] int
    thing: np.ndarray  # [B, N] float32, 1 for things, 0 for stuff


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
        """The drawing [B, raw_channels, scale * h, scale * w] float32 on the CPU.

        Painted stuff first, then things, large ones first. Class, attribute and the thing flag are blended by the
        fraction of the cell that a box covers, so edges are exact below one cell; position, box size and coverage are
        those of the top object that touches the cell.

        Args:
            layouts: resolved by the vocabulary (every object has an attribute).
            size: (h, w) of the latents.
        """
        boxes = _painting_order(layouts, vocabulary)
        height, width = self._drawn(size)
        cover_x = _coverage(boxes.xyxy[..., 0], boxes.xyxy[..., 2], width)  # [B, N, w]
        cover_y = _coverage(boxes.xyxy[..., 1], boxes.xyxy[..., 3], height)  # [B, N, h]
        cover = (cover_y[..., :, None] * cover_x[..., None, :]).reshape(*boxes.label.shape, -1)  # [B, N, h * w]
        visible = cover.copy()  # the share of each cell that an object keeps once those above it are painted
        clear = 1 - cover[:, -1]
        for n in range(cover.shape[1] - 2, -1, -1):
            visible[:, n] *= clear
            clear *= 1 - cover[:, n]

        batch, classes, cells = len(layouts), self.config.num_classes, height * width
        raw = np.zeros((batch, self.raw_channels, cells), dtype=np.float32)
        words = np.zeros((batch, classes + len(ATTRIBUTES) + 1, cover.shape[1]), dtype=np.float32)
        rows, objects = np.arange(batch)[:, None], np.arange(cover.shape[1])
        words[rows, boxes.label, objects] = 1
        words[rows, classes + boxes.attribute, objects] = 1
        words[:, -1] = boxes.thing
        flat = classes + len(ATTRIBUTES) + 1
        np.matmul(words, visible, out=raw[:, :flat])  # [B, K, N] x [B, N, h * w] -> [B, K, h * w]

        touched = cover > 0
        top = cover.shape[1] - 1 - touched[:, ::-1].argmax(axis=1)  # [B, h * w] last painted
        empty = ~touched.any(axis=1)  # [B, h * w]
        raw[:, flat] = cover[rows, top, np.arange(cells)]
        x_channels = slice(flat + 1, flat + 1 + self._axis_channels)
        y_channels = slice(flat + 1 + self._axis_channels, None)
        x_cells, y_cells = np.tile(np.arange(width), height), np.repeat(np.arange(height), width)
        x_side = self._along_side(boxes.xyxy[..., 0], boxes.xyxy[..., 2], width)  # [B, N, w, axis channels]
        y_side = self._along_side(boxes.xyxy[..., 1], boxes.xyxy[..., 3], height)
        raw[:, x_channels] = x_side[rows, top, x_cells].transpose(0, 2, 1)
        raw[:, y_channels] = y_side[rows, top, y_cells].transpose(0, 2, 1)
        raw[:, flat + 1 :] *= ~empty[:, None]
        return torch.from_numpy(raw.reshape(batch, self.raw_channels, height, width))

    def _along_side(self, low: np.ndarray, high: np.ndarray, cells: int) -> np.ndarray:
        """Position u of each cell's middle in its box, -1..1, its waves and the log of the side: [B, N, cells, C]."""
        side = np.maximum(high - low, 1e-6)[..., None]  # [B, N, 1]
        middle = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        u = np.clip((middle - low[..., None]) / side * 2 - 1, -1, 1)  # [B, N, cells]
        angle = np.pi * u[..., None] * 2.0 ** np.arange(self.config.box_frequencies)  # [B, N, cells, F]
        logs = np.broadcast_to(np.log(side), u.shape)
        return np.concatenate([u[..., None], logs[..., None], np.sin(angle), np.cos(angle)], axis=-1, dtype=np.float32)

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


def _painting_order(layouts: Sequence[Layout], vocabulary: Vocabulary) -> _Boxes:
    most = max(len(layout.boxes) for layout in layouts)
    shape = (len(layouts), most)
    label, attribute, thing = (np.zeros(shape, dtype) for dtype in (np.int64, np.int64, np.float32))
    boxes = _Boxes(np.zeros((*shape, 4), np.float32), label, attribute, thing)
    things = len(vocabulary.things)
    for row, layout in enumerate(layouts):
        objects = [(vocabulary.class_index(box.label), box) for box in vocabulary.resolve(layout).boxes]
        objects.sort(key=lambda item: (item[0] < things, -item[1].area))
        count = len(objects)
        boxes.xyxy[row, :count] = [box.xyxy for _, box in objects]
        boxes.label[row, :count] = [label for label, _ in objects]
        boxes.attribute[row, :count] = [
            vocabulary.attribute_index(box.attribute) for _, box in objects if box.attribute
        ]
        boxes.thing[row, :count] = boxes.label[row, :count] < things
    return boxes


def _coverage(low: np.ndarray, high: np.ndarray, cells: int) -> np.ndarray:
    """Fraction of every cell of a side that lies between `low` and `high` (fractions): [B, N] -> [B, N, cells]."""
    left = np.arange(cells, dtype=np.float32)
    inside = np.minimum(high[..., None] * cells, left + 1) - np.maximum(low[..., None] * cells, left)
    return np.asarray(inside.clip(0, 1))


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
