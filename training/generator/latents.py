"""A data set -> cached latents: every picture is encoded once, plain and mirrored, before the training begins."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from detdiffusion.errors import ConfigError
from detdiffusion.layout import Attribute, Layout
from detdiffusion.models.precision import autocast
from training.autoencoder.loading import Autoencoder
from training.autoencoder.recipe import to_tensor
from training.core.processes import Processes
from training.core.reading import read_ahead
from training.core.schedule import OnStep
from training.data.datasets import Dataset, Sample, fitted
from training.generator.chunk import is_whole, write_chunk
from training.generator.config import GeneratorConfig

CHUNK = 250  # pictures a file, the unit that a killed run loses at most
BATCH = 8  # pictures
OBJECT_BYTES = 210  # of an object and its part of the layout, as JSON


def cell_size(autoencoder: Autoencoder) -> int:
    """Picture pixels a latent cell, on each side."""
    levels = len(autoencoder.config.block_out_channels)
    return int(getattr(autoencoder, "downsample", 2 ** (levels - 1)))


def mask_cell_size(autoencoder: Autoencoder, scale: int) -> int:
    """Picture pixels a cell of a mask, on each side; a latent cell has `scale` of them. ConfigError if none fits."""
    cell = cell_size(autoencoder)
    if cell % scale:
        raise ConfigError(f"masks of {scale} cells in a latent cell of {cell} pixels: choose a scale that divides it")
    return cell // scale


def latent_size(config: GeneratorConfig, autoencoder: Autoencoder) -> tuple[int, int]:
    """(height, width) of the latents. ConfigError if the pictures are no whole number of cells."""
    cell = cell_size(autoencoder)
    height, width = config.size
    if height % cell or width % cell:
        raise ConfigError(f"size is {width}x{height} pixels; both sides need to be multiples of {cell}")
    return height // cell, width // cell


def cache_bytes(dataset: Dataset, config: GeneratorConfig, autoencoder: Autoencoder) -> int:
    """The disk that `encode_dataset` takes: latents as half (mean, spread, mirrored), masks as bytes, layouts."""
    height, width = latent_size(config, autoencoder)
    tensors = (1 + isinstance(autoencoder, AutoencoderKL)) * (1 + (config.flip > 0))
    latents = len(dataset) * tensors * int(autoencoder.config.latent_channels) * height * width * 2
    return latents + dataset.report.objects * (height * width * config.mask_scale**2 + OBJECT_BYTES)


def encode_dataset(
    dataset: Dataset,
    attributes: dict[str, tuple[Attribute, ...]] | None,
    autoencoder: Autoencoder,
    config: GeneratorConfig,
    out: Path,
    device: torch.device,
    on_step: OnStep,
    processes: Processes | None = None,
) -> None:
    """Writes `out/chunk-00000.safetensors` and `.json` for every CHUNK samples, for `batch.SampleStore`. The same call
    goes on where it was stopped; many processes share the chunks.

    Args:
        attributes: by image id, as `annotate.read_attributes` gives them; None: layouts stay without.

    Raises:
        DataError: a picture cannot be read (it is named), or the disk is full; what is finished stays.
    """
    processes = processes or Processes()
    starts = range(0, len(dataset), CHUNK)
    for number in range(processes.rank, len(starts), processes.count):
        path = out / f"chunk-{number:05d}.json"
        if not is_whole(path):
            samples = [dataset[i] for i in range(starts[number], min(starts[number] + CHUNK, len(dataset)))]
            layouts, tensors = _encode(samples, autoencoder.to(device), config, device)
            write_chunk(path, [_labelled(*pair, attributes) for pair in zip(samples, layouts, strict=True)], tensors)
        on_step(min((number + 1) * CHUNK, len(dataset)), len(dataset), {})
    processes.wait()


def coverage(masks: NDArray[np.bool_], cell: int) -> Tensor:
    """Masks [N, H, W] -> the part of each cell of `cell` pixels that they cover, [N, h, w] uint8, 255 = all of it."""
    covered = torch.nn.functional.avg_pool2d(torch.from_numpy(masks).float()[:, None], cell)[:, 0]
    return (covered * 255).round().to(torch.uint8)


def encode_images(pictures: Sequence[Image.Image], autoencoder: Autoencoder, *, flip: bool) -> dict[str, Tensor]:
    """Pictures of one size -> latents [n, C, h, w] as half, scaled to about unit variance.

    Returns `latents`, `latents_std` where the autoencoder has a spread, and of mirrored pictures `flipped(_std)`.
    """
    pixels = to_tensor(np.stack([np.asarray(picture) for picture in pictures])).to(autoencoder.device)
    tensors = _moments("latents", pixels, autoencoder)
    return tensors | _moments("flipped", pixels.flip(-1), autoencoder) if flip else tensors


@torch.no_grad()
def _moments(name: str, pixels: Tensor, autoencoder: Autoencoder) -> dict[str, Tensor]:
    scale = autoencoder.config.scaling_factor
    with autocast(pixels.device):
        found: Any = autoencoder.encode(pixels).latent_dist
    tensors = {name: found.mode()}
    if hasattr(found, "std"):
        tensors[f"{name}_std"] = found.std
    return {key: (tensor.float() * scale).half().cpu() for key, tensor in tensors.items()}


def _encode(
    samples: Sequence[Sample], autoencoder: Autoencoder, config: GeneratorConfig, device: torch.device
) -> tuple[list[Layout], dict[str, Tensor]]:
    cell = mask_cell_size(autoencoder, config.mask_scale)

    def load(sample: Sample) -> tuple[Image.Image, Layout, Tensor]:
        image, layout, masks = fitted(sample.load_image(), sample.layout, sample.masks, config.size, flip=False)
        return image, layout, coverage(masks, cell)

    read = read_ahead(samples, load, ahead=BATCH)
    layouts, masks, encoded = [], [], []
    while group := [loaded for _, loaded in islice(read, BATCH)]:
        layouts += [layout for _, layout, _ in group]
        masks += [covered for _, _, covered in group]
        encoded.append(encode_images([image for image, _, _ in group], autoencoder, flip=config.flip > 0))
    tensors = {name: torch.cat([part[name] for part in encoded]).contiguous() for name in encoded[0]}
    return layouts, tensors | {"masks": torch.cat(masks).contiguous()}


def _labelled(sample: Sample, layout: Layout, attributes: dict[str, tuple[Attribute, ...]] | None) -> Layout:
    return layout if attributes is None else layout.with_attributes(attributes[sample.image_id])
