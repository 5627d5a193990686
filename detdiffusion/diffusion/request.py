"""What is asked of a pipeline, in the forms in which people have it, checked before anything is computed."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from detdiffusion.errors import CheckpointError, ConfigError, LayoutError, quoted
from detdiffusion.image_record import read_layout
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import MAX_SEED, Recommended, SamplingConfig, SamplingRequest

# A layout, its JSON form, or the path of a file that holds one: a layout file, or an image made by DetDiffusion.
LayoutLike: TypeAlias = Layout | Mapping[str, Any] | str | os.PathLike[str]
OUTPUT_TYPES = ("pil", "np", "pt", "latent")

_LAYOUT = "a Layout, its JSON form as a dict, or the path of a layout file"


def as_layout(value: object) -> Layout:
    """The layout that a `LayoutLike` stands for.

    Raises:
        LayoutError: it is something else, or holds no layout.
    """
    if isinstance(value, Layout):
        return value
    if isinstance(value, Mapping):
        return Layout.from_json(value)
    if isinstance(value, str | os.PathLike):
        return read_layout(Path(value))
    raise LayoutError(f"a layout needs to be {_LAYOUT}, not {_kind(value)}")


def as_layouts(layouts: object, count: int) -> list[Layout]:
    """One layout for each of `count` images: a list of layouts, or a single one, which is repeated.

    Raises:
        LayoutError: something in it is no layout.
        ConfigError: there are more or fewer than `count`, or none.
    """
    if isinstance(layouts, Layout | Mapping | str | os.PathLike):
        found = [as_layout(layouts)] * count
    elif isinstance(layouts, Iterable) and not isinstance(layouts, bytes | bytearray):
        found = [as_layout(layout) for layout in layouts]
    else:
        raise LayoutError(f"layouts needs to be {_LAYOUT}, or a list of these, not {_kind(layouts)}")
    if not found or len(found) != count:
        raise ConfigError(f"{len(found)} layouts with {count} seeds: give one seed an image, and at least one")
    return found


def as_seeds(seeds: object) -> list[int]:
    """Seeds as Python's whole numbers.

    Raises:
        ConfigError: they are no list of whole numbers.
    """
    if isinstance(seeds, Iterable) and not isinstance(seeds, str | bytes | Mapping):
        given = list(seeds)
        try:
            whole = [operator.index(seed) for seed in given if not isinstance(seed, bool)]
        except TypeError:
            whole = []
        if len(whole) == len(given):
            return whole
    raise ConfigError(
        f"seeds needs to be a list of whole numbers from 0 to {MAX_SEED}, one an image, not {quoted(seeds)}"
    )


def sampling_of(
    model: Recommended, seeds: Iterable[int], steps: Any, guidance: Any, attribute_guidance: Any, sampler: Any
) -> SamplingConfig:
    """What all images of a call have in common, with the first of the seeds; None: as the model recommends.

    Raises:
        ConfigError: one of them is of another type, or out of range (see `SamplingConfig`).
    """
    whole = steps if isinstance(steps, bool) or not hasattr(steps, "__index__") else operator.index(steps)
    asked = SamplingRequest(whole, guidance, attribute_guidance, "" if sampler is None else sampler)
    first, *_ = [asked.of(model, seed) for seed in seeds]
    return first


def check_output(on_step: object, output_type: object) -> None:
    """ConfigError where one of them is none."""
    if on_step is not None and not callable(on_step):
        raise ConfigError(f"on_step needs to be a function that takes a StepInfo, not {_kind(on_step)}")
    if output_type not in OUTPUT_TYPES:
        raise ConfigError(f"output_type needs to be {', '.join(OUTPUT_TYPES)}, not {quoted(output_type)}")


def as_folder(value: object) -> Path:
    """The path of a model folder, given as text or as a path. CheckpointError: it is something else."""
    if isinstance(value, str | os.PathLike) and str(value):
        return Path(value)
    raise CheckpointError(
        f"a model needs to be named by the path of its folder, as text or as a Path, not {quoted(value)}"
    )


def _kind(value: object) -> str:
    return "None" if value is None else f"{type(value).__name__} ({quoted(value)})"
