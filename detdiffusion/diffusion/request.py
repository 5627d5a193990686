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


def as_layouts(layouts: object, counted: tuple[int, str] | None = None, each: int = 1) -> list[Layout]:
    """One layout for each image: a list of layouts, or a single one, which is repeated.

    Args:
        counted: how many images the noise is for, and what it is of ("seeds"); None: as many as there are layouts.
        each: images of every layout of a list, one after another.

    Raises:
        LayoutError: something in it is no layout.
        ConfigError: there are more or fewer than the noise is for, or none.
    """
    if isinstance(each, bool) or not isinstance(each, int) or each < 1:
        raise ConfigError(f"num_images_per_prompt needs to be a whole number from 1 up, not {quoted(each)}")
    if isinstance(layouts, Layout | Mapping | str | os.PathLike):
        found = [as_layout(layouts)]
        if counted is not None and each == 1:
            found *= counted[0]
    elif isinstance(layouts, Iterable) and not isinstance(layouts, bytes | bytearray):
        found = [as_layout(layout) for layout in layouts]
    else:
        raise LayoutError(f"layouts needs to be {_LAYOUT}, or a list of these, not {_kind(layouts)}")
    found = [layout for layout in found for _ in range(each)]
    count, noise = (len(found), "seeds") if counted is None else counted
    if not found or len(found) != count:
        what = f"{len(found)} layouts" if each == 1 else f"{len(found)} images"
        raise ConfigError(f"{what} with {count} {noise}: give one {noise.removesuffix('s')} an image, and at least one")
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
    model: Recommended,
    seeds: Iterable[int],
    steps: Any,
    guidance: Any,
    attribute_guidance: Any,
    sampler: Any,
    detector_guidance: Any = 0.0,
    fix_boxes: Any = False,
) -> SamplingConfig:
    """What all images of a call have in common, with the first of the seeds; None: as the model recommends.

    Raises:
        ConfigError: one of them is of another type, or out of range (see `SamplingConfig`).
    """
    whole = steps if isinstance(steps, bool) or not hasattr(steps, "__index__") else operator.index(steps)
    asked = SamplingRequest(
        whole, guidance, attribute_guidance, "" if sampler is None else sampler, detector_guidance, fix_boxes
    )
    first, *_ = [asked.of(model, seed) for seed in seeds]
    return first


def one_of(**names: Any) -> Any:
    """The value of the one argument, of several names for the same, that is not None. ConfigError: two are given."""
    given = {name: value for name, value in names.items() if value is not None}
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} are two names of one thing: give one of them")
    return next(iter(given.values()), None)


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
