"""Cached samples -> one batch; every random choice is a function of (seed, step, place of the sample in the batch)."""

import functools
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from detdiffusion.diffusion.denoising import Shown
from detdiffusion.errors import DataError, why
from detdiffusion.layout import Layout
from detdiffusion.models.config import LossConfig
from detdiffusion.models.losses import foreground_weights
from training.core.checkpoints import epoch_order, sample_generator
from training.generator.chunk import read_chunk
from training.generator.config import GeneratorConfig


class Latents(NamedTuple):
    """What the autoencoder made of one picture; `std` None: its mean stands for it."""

    mean: Tensor  # [C, h, w] float32
    std: Tensor | None = None  # [C, h, w] float32


@dataclass(frozen=True, slots=True)
class SampleStore:
    """Samples as `latents.encode_dataset` and `samples.make_samples` write them, in chunks of a .json (layouts) and a
    .safetensors file; latents and masks are read from disk when they are asked for, layouts are held."""

    layouts: tuple[Layout, ...]
    _chunks: tuple[Mapping[str, Tensor], ...]  # of each file, mapped into memory and read when they are used
    _starts: tuple[int, ...]  # index of the first sample of each chunk
    _masks: tuple[int, ...]  # row of each sample's first mask in its chunk

    @classmethod
    def load(cls, folder: Path) -> "SampleStore":
        """Raises DataError where there are none, or where they cannot be read."""
        paths = sorted(folder.glob("chunk-*.json"))
        if not paths:
            raise DataError(f"{folder}: no samples; run the attributes stage first")
        chunks = [read_chunk(path) for path in paths]
        counts = [[len(layout.boxes) for layout in chunk] for chunk in chunks]
        return cls(
            tuple(layout for chunk in chunks for layout in chunk),
            tuple(_opened(path.with_suffix(".safetensors")) for path in paths),
            tuple(accumulate((len(chunk) for chunk in chunks[:-1]), initial=0)),
            tuple(row for chunk in counts for row in accumulate(chunk[:-1], initial=0)),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """[C, h, w] of the latents."""
        return tuple(self._chunks[0]["latents"].shape[1:])

    def latents(self, index: int, *, flipped: bool = False) -> Latents:
        """What the autoencoder made of an image, plain or mirrored."""
        name = "flipped" if flipped else "latents"
        chunk, row = self._place(index)
        std = chunk.get(f"{name}_std")
        return Latents(chunk[name][row].float(), None if std is None else std[row].float())

    def masks(self, index: int) -> Tensor:
        """[objects, H, W] uint8, 255 where a cell is covered; as many cells as the latents, or a multiple. Samples for
        which nobody needs masks have none."""
        chunk, _ = self._place(index)
        if "masks" not in chunk:
            return torch.zeros(len(self.layouts[index].boxes), *self.shape[1:], dtype=torch.uint8)
        first = self._masks[index]
        return chunk["masks"][first : first + len(self.layouts[index].boxes)]

    def _place(self, index: int) -> tuple[Mapping[str, Tensor], int]:
        chunk = bisect_right(self._starts, index) - 1
        return self._chunks[chunk], index - self._starts[chunk]


def _opened(path: Path) -> Mapping[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path} is damaged ({why(error)}); delete {path.parent} and run the same command again"
        ) from error


class Batch(NamedTuple):
    """The pictures of one forward: a step's whole batch, or a part of it.

    shown: `Denoiser.show_layouts` of the layouts; None: it is made when it is needed.
    """

    latents: Tensor  # [B, C, h, w], clean
    noise: Tensor  # [B, C, h, w]
    timesteps: Tensor  # [B]
    layouts: tuple[Layout | None, ...]  # None: the prompt is emptied
    masks: Tensor  # [B, N, scale * h, scale * w] in 0..1, the part of each cell that is covered
    object_mask: Tensor  # [B, N] bool, False on padding
    object_weights: Tensor  # [B, N], of each object in the perception loss of the whole step
    share: float = 1.0  # of the step's pictures
    foreground: Tensor | None = None  # [B, h, w], weights of the denoising loss; None: all the same
    shown: Shown | None = None


class Draw(NamedTuple):
    """The random choices for one sample."""

    noise: Tensor
    timestep: Tensor
    dropped: bool
    order: Tensor  # of its objects
    flipped: bool
    generator: torch.Generator  # for what only some samples need


def batch_indices(count: int, config: GeneratorConfig, step: int) -> list[int]:
    """The samples of one step: epochs without repeats, the last batch of an epoch completed from the next."""
    first = step * config.batch
    return [
        _order(config.seed, position // count, count)[position % count]
        for position in range(first, first + config.batch)
    ]


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> list[int]:
    return epoch_order(seed, epoch, count)


def make_batch(
    store: SampleStore,
    config: GeneratorConfig,
    step: int,
    timesteps: int,
    positions: Sequence[int] | None = None,
) -> Batch:
    """The batch of one step, or the part of it at some of its places; on the CPU.

    Args:
        timesteps: how many the noise schedule has; one in 0..timesteps-1 is drawn for each sample.
        positions: in 0..config.batch-1; all of them by default.

    Raises:
        DataError: the samples' masks are coarser than the perception head draws them.
    """
    indices = batch_indices(len(store.layouts), config, step)

    def draw(position: int) -> Draw:
        return _draw(config, step, position, timesteps, store.shape, len(store.layouts[indices[position]].boxes))

    chosen = range(config.batch) if positions is None else positions
    draws = [draw(position) for position in chosen]
    latents, layouts, masks = [], [], []
    for position, drawn in zip(chosen, draws, strict=True):
        index = indices[position]
        latents.append(_drawn_latents(store.latents(index, flipped=drawn.flipped), drawn.generator))
        layout = store.layouts[index].mirrored() if drawn.flipped else store.layouts[index]
        layouts.append(None if drawn.dropped else _reorder(layout, drawn.order.tolist()))
        shapes = store.masks(index)[drawn.order]
        shapes = shapes.flip(-1) if drawn.flipped else shapes
        masks.append(shapes[:0] if drawn.dropped else shapes)
    padded, object_mask = _pad(masks)
    padded = _coarser(padded, (store.shape[-2] * config.mask_scale, store.shape[-1] * config.mask_scale))
    if config.loss.per_picture:
        weights = object_mask / object_mask.sum(dim=1, keepdim=True).clamp(min=1) / config.batch
    else:
        emptied = _emptied(config.seed, config.prompt_dropout, config.batch, step, timesteps, store.shape)
        shown = (index for index, empty in zip(indices, emptied, strict=True) if not empty)
        objects = sum(len(store.layouts[index].boxes) for index in shown)
        weights = object_mask.float() / max(1, objects)
    return Batch(
        torch.stack(latents),
        torch.stack([drawn.noise for drawn in draws]),
        torch.stack([drawn.timestep for drawn in draws]),
        tuple(layouts),
        padded,
        object_mask,
        weights,
        len(draws) / config.batch,
        _foreground(layouts, (store.shape[-2], store.shape[-1]), config.loss) if config.loss.use_foreground else None,
    )


def _foreground(layouts: Sequence[Layout | None], size: tuple[int, int], loss: LossConfig) -> Tensor:
    """Foreground weights [B, h, w]; ones where the prompt was emptied."""
    weights = torch.ones(len(layouts), *size)
    rows = [row for row, layout in enumerate(layouts) if layout is not None]
    if rows:
        kept = [layout for layout in layouts if layout is not None]
        weights[rows] = foreground_weights(kept, size, weight=loss.foreground_weight, power=loss.foreground_power)
    return weights


@functools.lru_cache(maxsize=1)
def _emptied(
    seed: int, dropout: float, batch: int, step: int, timesteps: int, shape: tuple[int, ...]
) -> tuple[bool, ...]:
    """Whose prompts are emptied in a step, by place: asked once for all parts of the step, for a generator comes to
    that choice only through the noise of its sample."""
    return tuple(_begin(sample_generator(seed, step, place), dropout, timesteps, shape)[2] for place in range(batch))


def _draw(
    config: GeneratorConfig, step: int, position: int, timesteps: int, shape: tuple[int, ...], objects: int
) -> Draw:
    generator = sample_generator(config.seed, step, position)
    noise, timestep, dropped = _begin(generator, config.prompt_dropout, timesteps, shape)
    if config.timestep_shift != 1:
        timestep = shifted(timestep, config.timestep_shift, timesteps)
    order = torch.randperm(objects, generator=generator)
    flipped = config.flip > 0 and float(torch.rand((), generator=generator)) < config.flip
    return Draw(noise, timestep, dropped, order, flipped, generator)


def _begin(
    generator: torch.Generator, dropout: float, timesteps: int, shape: tuple[int, ...]
) -> tuple[Tensor, Tensor, bool]:
    """A sample's first choices: its noise, its timestep, whether its prompt is emptied."""
    noise = torch.randn(shape, generator=generator)
    timestep = torch.randint(timesteps, (), generator=generator)
    return noise, timestep, float(torch.rand((), generator=generator)) < dropout


def shifted(timestep: Tensor, shift: float, timesteps: int) -> Tensor:
    """A timestep in 0..timesteps-1, moved towards noise: u -> shift * u / (1 + (shift - 1) * u) for its place u in 0..1
    (Esser et al. 2024, equation 23). A shift of 1 leaves it as it is."""
    place = (timestep + 0.5) / timesteps
    return (timesteps * shift * place / (1 + (shift - 1) * place)).long()


def _drawn_latents(latents: Latents, generator: torch.Generator) -> Tensor:
    if latents.std is None:
        return latents.mean
    return torch.randn(latents.mean.shape, generator=generator).mul_(latents.std).add_(latents.mean)


def _reorder(layout: Layout, order: Sequence[int]) -> Layout:
    return replace(layout, boxes=tuple(layout.boxes[i] for i in order))


def _pad(masks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    longest = max(1, max(len(mask) for mask in masks))
    padded = torch.zeros(len(masks), longest, *masks[0].shape[1:], dtype=torch.uint8)
    object_mask = torch.zeros(len(masks), longest, dtype=torch.bool)
    for row, mask in enumerate(masks):
        padded[row, : len(mask)] = mask
        object_mask[row, : len(mask)] = True
    return padded.float().div_(255), object_mask


def _coarser(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks [B, N, H, W] averaged over cells -> [B, N, *size], as the perception head draws them."""
    (height, width), cells = masks.shape[-2:], masks.shape[-1] // size[1]
    if (height, width) != (size[0] * cells, size[1] * cells):
        raise DataError(
            f"the samples' masks have {width}x{height} cells, and the perception head draws {size[1]}x{size[0]}: make "
            "the samples again, with a mask_scale that is a multiple of the head's scale"
        )
    return masks if cells == 1 else torch.nn.functional.avg_pool2d(masks, cells)
