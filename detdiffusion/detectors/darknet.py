"""Darknet's two files, a network's text (.cfg) and its numbers (.weights) -> a torch network. Nothing is unpickled.

Facts of the formats are from AlexeyAB/darknet (parser.c): the header is three int32 (major, minor, revision) and the
number of pictures seen (64 bit from version 0.2 on); then each convolution's biases, with batch normalisation its
scales, means and variances, and its weights, all float32.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from detdiffusion.core.files import one_line
from detdiffusion.errors import DetectorError

BATCH_NORM_EPSILON = 1e-6  # OpenCV's; AlexeyAB's darknet adds 1e-5, which only channels of tiny variance feel
ACTIVATIONS = ("linear", "leaky", "mish", "swish", "logistic", "relu")

# Keys that would change what a layer computes, in ways that are not built here, and the value that changes nothing.
# All other unknown keys are about training.
_OFF, _ABSENT = "0", "none"
_WITHOUT_EFFECT: Mapping[str, Mapping[str, str]] = {
    "net": {"channels": "3"},
    "convolutional": {
        **dict.fromkeys(("binary", "xnor", "bin_output", "flipped", "dot", "coordconv", "reverse", "cbn"), _OFF),
        **dict.fromkeys(("sway", "rotate", "stretch", "stretch_sway", "antialiasing", "assisted_excitation"), _OFF),
        **dict.fromkeys(("dontload", "dontloadscales"), _OFF),
        **dict.fromkeys(("stride_x", "stride_y", "share_index"), _ABSENT),
        "dilation": "1",
    },
    "maxpool": {"maxpool_depth": _OFF, "antialiasing": _OFF, "stride_x": _ABSENT, "stride_y": _ABSENT},
    "shortcut": {"weights_type": "none"},
    "upsample": {"scale": "1"},
}


@dataclass(frozen=True, slots=True)
class Section:
    """One `[kind]` of a .cfg with its values; `line` is where it stands."""

    kind: str
    values: Mapping[str, str]
    line: int = 0

    def number(self, key: str, default: float | None = None) -> float:
        """DetectorError if it is missing without a default, or no finite number."""
        text = self.values.get(key)
        if text is None:
            if default is None:
                raise self.error(f"lacks {key}")
            return default
        return self._numbers(key, [text])[0]

    def whole(self, key: str, default: int | None = None, least: int = 0) -> int:
        """DetectorError unless it is a whole number of `least` or more."""
        value = self.number(key, default)
        if value != int(value):
            raise self.error(f"{key}={self.values[key]} is no whole number")
        if value < least:
            raise self.error(f"{key}={self.values[key]} needs to be {least} or more")
        return int(value)

    def numbers(self, key: str) -> list[float]:
        """Numbers with commas between, as Darknet writes them; one comma may end the list."""
        parts = self.values.get(key, "").strip().removesuffix(",").split(",")
        return self._numbers(key, parts)

    def wholes(self, key: str) -> list[int]:
        """Whole numbers with commas between. DetectorError where the key is missing or holds others."""
        try:
            return [int(part) for part in self.values[key].strip().removesuffix(",").split(",")]
        except (KeyError, ValueError):
            raise self.error(f"{key} needs to be whole numbers with commas between") from None

    def error(self, reason: str) -> DetectorError:
        """A fault of this section, with its place in the file."""
        return DetectorError(f"[{self.kind}] of line {self.line}: {reason}")

    def _numbers(self, key: str, parts: Sequence[str]) -> list[float]:
        try:
            found = [float(part) for part in parts]
        except ValueError:
            found = [math.nan]
        if not all(map(math.isfinite, found)):
            raise self.error(f"{key}={self.values.get(key, '')} is no number")
        return found


def parse_cfg(text: str) -> list[Section]:
    """The sections of a .cfg, `[net]` first. Of a key that is given twice, the first counts, as for Darknet.

    Raises:
        DetectorError: a line that is neither a section nor key=value, or no `[net]` in front.
    """
    found: list[tuple[str, dict[str, str], int]] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = re.split(r"[#;]", raw, maxsplit=1)[0].strip()
        if not line:
            continue
        if line.startswith("[") and line.endswith("]"):
            found.append((line[1:-1].strip(), {}, number))
            continue
        key, equals, value = line.partition("=")
        if not equals or not found:
            raise DetectorError(f"line {number}: {line[:40]!r} is neither a [section] nor key=value of one")
        found[-1][1].setdefault(key.strip(), value.strip())
    if not found or found[0][0] not in ("net", "network"):
        raise DetectorError("a network of Darknet starts with [net]")
    return [Section("net", found[0][1], found[0][2]), *(Section(*one) for one in found[1:])]


class Convolution(nn.Module):
    """Convolution and activation. Batch normalisation is folded into its numbers when they are read."""

    def __init__(self, section: Section, channels: int) -> None:
        super().__init__()
        size, self.filters = section.whole("size", 1, least=1), section.whole("filters", 1, least=1)
        padding = size // 2 if section.whole("pad", 0) else section.whole("padding", 0)
        self.activation = _activation(section, "logistic")
        self.normalised = bool(section.whole("batch_normalize", 0))
        groups, stride = section.whole("groups", 1, least=1), section.whole("stride", 1, least=1)
        self.conv = nn.Conv2d(channels, self.filters, size, stride, padding, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, filters, h, w]."""
        return _activate(self.conv(x), self.activation)

    def file_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of what a .weights file holds of it, in order: biases, scales, means, variances, weights."""
        return [(self.filters,)] * (4 if self.normalised else 1) + [tuple(self.conv.weight.shape)]

    def fill(self, parts: Sequence[NDArray[np.float32]]) -> None:
        """Takes the arrays that `file_shapes` lists."""
        bias, weight = parts[0].astype(np.float64), parts[-1].astype(np.float64)
        if self.normalised:
            scale, mean, variance = (part.astype(np.float64) for part in parts[1:4])
            if variance.min() < 0:
                raise DetectorError("it holds variances below zero, so these are the numbers of another network")
            factor = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
            bias, weight = bias - mean * factor, weight * factor[:, None, None, None]
        assert self.conv.bias is not None  # made with one
        with torch.no_grad():
            self.conv.bias.copy_(torch.from_numpy(bias))
            self.conv.weight.copy_(torch.from_numpy(weight))


class MaxPool(nn.Module):
    """Darknet's padding: size - 1 in all, the smaller half on the left."""

    def __init__(self, section: Section) -> None:
        super().__init__()
        self.stride = section.whole("stride", 1, least=1)
        self.size = section.whole("size", self.stride, least=1)
        self.padding = section.whole("padding", self.size - 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, h, w]."""
        left = self.padding // 2
        right = self.padding - left
        return F.max_pool2d(F.pad(x, (left, right, left, right), value=-torch.inf), self.size, self.stride)


class Route(nn.Module):
    """The channels of other layers, one after the other; with groups, one part of each."""

    def __init__(self, section: Section, index: int) -> None:
        super().__init__()
        self.places = [_place(section, at, index) for at in section.wholes("layers")]
        self.groups, self.group = section.whole("groups", 1, least=1), section.whole("group_id", 0)
        if self.group >= self.groups:
            raise section.error(f"group_id={self.group} is not one of {self.groups} groups")

    def forward(self, _: Tensor, others: Sequence[Tensor]) -> Tensor:
        """The outputs of earlier layers, or a group of their channels, one behind the other."""
        if any(other.shape[1] % self.groups for other in others):
            raise ValueError(f"{[other.shape[1] for other in others]} channels in {self.groups} groups")
        return torch.cat([other.chunk(self.groups, dim=1)[self.group] for other in others], dim=1)


class Shortcut(nn.Module):
    """The layer in front plus another one of the same shape."""

    def __init__(self, section: Section, index: int) -> None:
        super().__init__()
        self.places = [_place(section, at, index) for at in section.wholes("from")]
        self.activation = _activation(section, "linear")

    def forward(self, x: Tensor, others: Sequence[Tensor]) -> Tensor:
        """The input and the outputs of earlier layers, added up; they need the same shape."""
        for other in others:
            if other.shape != x.shape:
                raise ValueError(f"{_size(other)} cannot be added to {_size(x)}")
            x = x + other
        return _activate(x, self.activation)


@dataclass(frozen=True, slots=True)
class YoloLayer:
    """What a `[yolo]` section says about its map [B, A * (5 + classes), h, w]."""

    anchors: tuple[tuple[float, float], ...]  # (width, height) in pixels of the network's input
    classes: int
    scale_xy: float
    new_coords: bool  # the layer in front has applied the sigmoid, and sides are squares, not exponentials (YOLOv4-CSP)

    @classmethod
    def of(cls, section: Section, channels: int) -> YoloLayer:
        """The layer that a section of a .cfg file describes. `channels`: of its input."""
        numbers, mask = section.numbers("anchors"), section.wholes("mask")
        pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
        if len(numbers) % 2 or not all(0 <= i < len(pairs) for i in mask):
            raise section.error(f"mask {mask} names anchors, of which there are {len(numbers) / 2:g}")
        classes = section.whole("classes", 20, least=1)
        needed = len(mask) * (5 + classes)
        if channels != needed:
            raise section.error(f"it reads {needed} channels, and the layer in front has {channels}")
        anchors = tuple(pairs[i] for i in mask)
        return cls(anchors, classes, section.number("scale_x_y", 1.0), bool(section.whole("new_coords", 0)))


class Network(nn.Module):
    """Every layer of a .cfg; `forward` gives the maps that its [yolo] sections read. It takes no memory, and can
    compute nothing, until `read_weights` has filled it.

    Args:
        sections: of `parse_cfg`.
        size: width and height of its input in pixels; by default those of [net].

    Raises:
        DetectorError: naming the section that is not known, or does not fit.
    """

    def __init__(self, sections: Sequence[Section], size: tuple[int, int] | None = None) -> None:
        super().__init__()
        net, *rest = sections
        _check_effects(net)
        self.width, self.height = size or (net.whole("width", least=1), net.whole("height", least=1))
        self.letter_box = bool(net.whole("letter_box", 0))  # pictures keep their shape, grey around
        self.layers = nn.ModuleList()
        self.yolos: dict[int, YoloLayer] = {}
        outputs: dict[int, Tensor] = {}
        x = torch.zeros(1, 3, self.height, self.width, device="meta")  # shapes only
        for index, section in enumerate(rest):
            try:
                with torch.device("meta"):
                    self.layers.append(self._layer(index, section, x.shape[1]))
                x = self._step(index, x, outputs)
            except (RuntimeError, ValueError) as error:
                raise section.error(f"it does not fit {_size(x)} in front of it: {one_line(error)}") from error
            outputs[index] = x
        if not self.yolos:
            raise DetectorError("this network has no [yolo] section: it detects nothing")
        self.requires_grad_(False)
        self._last_reader = {place: index for index in range(len(rest)) for place in self._places(index)}

    def _layer(self, index: int, section: Section, channels: int) -> nn.Module:
        _check_effects(section)
        match section.kind:
            case "convolutional":
                return Convolution(section, channels)
            case "maxpool":
                return MaxPool(section)
            case "upsample":
                return nn.Upsample(scale_factor=section.whole("stride", 2, least=1), mode="nearest")
            case "route":
                return Route(section, index)
            case "shortcut":
                return Shortcut(section, index)
            case "yolo":
                self.yolos[index] = YoloLayer.of(section, channels)
                return nn.Identity()
        raise section.error(f"the layer {section.kind} is not known here")

    def _places(self, index: int) -> list[int]:
        """The layers that a layer reads, beside the one in front of it."""
        layer = self.layers[index]
        return layer.places if isinstance(layer, Route | Shortcut) else []

    def _step(self, index: int, x: Tensor, outputs: Mapping[int, Tensor]) -> Tensor:
        layer = self.layers[index]
        others = [outputs[place] for place in self._places(index)]
        result: Tensor = layer(x, others) if others else layer(x)
        return result

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in 0..1 -> the raw map of each [yolo] section, in their order."""
        x, maps = pixels, list[Tensor]()
        waiting: dict[int, Tensor] = {}  # outputs that a later layer reads: all of them would be gigabytes
        for index in range(len(self.layers)):
            x = self._step(index, x, waiting)
            if index in self.yolos:
                maps.append(x)
            if index in self._last_reader:
                waiting[index] = x
            for place in set(self._places(index)):
                if self._last_reader[place] == index:
                    del waiting[place]
        return maps

    def convolutions(self) -> list[Convolution]:
        """In the order of a .weights file."""
        return [layer for layer in self.layers if isinstance(layer, Convolution)]


def read_weights(network: Network, path: Path) -> None:
    """Fills a network from a .weights file; its length is checked before any memory is taken.

    Raises:
        DetectorError: it is no such file, is cut short, or is of another network; with the bytes found and needed.
    """
    data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
    start = _header_bytes(data, path)
    layers = network.convolutions()
    needed = start + 4 * sum(math.prod(shape) for layer in layers for shape in layer.file_shapes())
    if len(data) != needed:
        what = "it is cut short, or of another network" if len(data) < needed else "it is of another network"
        raise DetectorError(f"{path} has {len(data):,} bytes, this network needs {needed:,}: {what}")
    numbers = np.frombuffer(data, "<f4", offset=start)
    if not np.isfinite(numbers).all():
        raise DetectorError(f"{path} holds numbers that are not finite: copy the file again")
    network.to_empty(device="cpu")
    done = 0
    for layer in layers:
        parts = []
        for shape in layer.file_shapes():
            parts.append(numbers[done : done + math.prod(shape)].reshape(shape))
            done += math.prod(shape)
        try:
            layer.fill(parts)
        except DetectorError as error:
            raise DetectorError(f"{path}: {error}") from error


def _header_bytes(data: NDArray[np.uint8], path: Path) -> int:
    if len(data) < 20:
        raise DetectorError(f"{path} has {len(data)} bytes: that is no weights file of Darknet")
    major, minor, _ = (int(value) for value in np.frombuffer(data[:12].tobytes(), "<i4"))
    if not (0 <= major <= 1 and 0 <= minor <= 9):
        raise DetectorError(f"{path} does not start as Darknet's weights do (version {major}.{minor})")
    return 20 if major * 10 + minor >= 2 else 16


def _check_effects(section: Section) -> None:
    """DetectorError for a value that changes what the layer computes, and is not built here."""
    for key, neutral in _WITHOUT_EFFECT.get(section.kind, {}).items():
        value = section.values.get(key, neutral)
        if value != neutral:
            raise section.error(f"{key}={value} is not known here")


def _place(section: Section, at: int, index: int) -> int:
    place = index + at if at < 0 else at
    if not 0 <= place < index:
        raise section.error(f"layer {at} is not in front of it")
    return place


def _activation(section: Section, default: str) -> str:
    name = section.values.get("activation", default)
    if name not in ACTIVATIONS:
        raise section.error(f"activation={name}; known: {', '.join(ACTIVATIONS)}")
    return name


def _activate(x: Tensor, name: str) -> Tensor:
    """In place: `x` is fresh from a convolution or a sum."""
    match name:
        case "leaky":
            return F.leaky_relu(x, 0.1, inplace=True)
        case "mish":
            return F.mish(x, inplace=True)
        case "swish":
            return F.silu(x, inplace=True)
        case "logistic":
            return x.sigmoid_()
        case "relu":
            return x.relu_()
    return x


def _size(x: Tensor) -> str:
    channels, height, width = x.shape[1:]
    return f"{channels} channels of {width} x {height}"
