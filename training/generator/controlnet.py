"""A published ControlNet of segmentation or layout images, with the Stable Diffusion folder that it steers -> a model.

Boxes are painted in the colours that it was trained with, which a colour map names: `{"person": [150, 5, 61], ...}`, or
with "#96053d". Nothing is trained: prompts name the classes alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.errors import CheckpointError, ConfigError, quoted, why
from detdiffusion.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline


def add_controlnet(parser: argparse.ArgumentParser) -> None:
    """The options of a model that a published ControlNet steers."""
    parser.add_argument(
        "--controlnet", type=Path, metavar="DIR", help="folder of a published ControlNet of layouts or segmentations"
    )
    parser.add_argument(
        "--colours", type=Path, metavar="FILE.json", help="with --controlnet: the colour of each class in its images"
    )


def asked_controlnet(controlnet: Path | None, colours: Path | None) -> tuple[Path, Path] | None:
    """The folder of the ControlNet and the file of its colours; None: it was not asked for. ConfigError: one is left
    out."""
    if controlnet is not None and colours is not None:
        return controlnet, colours
    if controlnet is not colours:
        raise ConfigError("--controlnet and --colours belong together: give both")
    return None


def read_colours(path: Path) -> Vocabulary:
    """The vocabulary of a ControlNet: the classes and colours of its colour map. ConfigError: the file holds none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no colour map: {why(error)}") from error
    if not isinstance(values, dict) or not values:
        raise ConfigError(f'{path} needs to be an object of class names and colours: {{"person": [150, 5, 61], ...}}')
    colours = tuple(_colour(path, name, value) for name, value in values.items())
    return Vocabulary(tuple(values), location_format="", attribute_words=(), colours=colours, padding=True)


def _colour(path: Path, name: str, value: Any) -> str:
    if isinstance(value, str):
        return value.lower()  # which Vocabulary checks
    if isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value):
        return "#" + bytes(value).hex()
    raise ConfigError(f"{path}: the colour of {name} is {quoted(value)}; it needs to be [red, green, blue], 0 to 255")


def with_controlnet(base: Path, controlnet: Path, vocabulary: Vocabulary) -> DetDiffusionPipeline:
    """A model of a checked Stable Diffusion folder and a ControlNet's folder, float32 on the CPU.

    Raises:
        CheckpointError: one of them is damaged, a pickle, or of another architecture; how they differ is said.
    """
    import torch
    from diffusers import ControlNetModel

    from detdiffusion.diffusion.checkpoint import no_progress_bars
    from detdiffusion.diffusion.habits.hub import folder_variant
    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
    from detdiffusion.diffusion.stable_diffusion import pipeline_from_stable_diffusion

    if not (controlnet / "config.json").is_file():
        raise CheckpointError(f"{controlnet} is no folder of a ControlNet: it holds no config.json")
    if not list(controlnet.glob("*.safetensors")):
        raise CheckpointError(f"{controlnet} holds no .safetensors: get the ControlNet in this form")
    pipe = pipeline_from_stable_diffusion(base, vocabulary, blueprint_config=None, head_config=None, seed=0)
    how = {"use_safetensors": True, "local_files_only": True, "variant": folder_variant(controlnet)}
    try:
        with no_progress_bars():
            loaded = ControlNetModel.from_pretrained(str(controlnet), torch_dtype=torch.float32, **how)
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise CheckpointError(f"{controlnet} cannot be read as a ControlNet: {why(error)}") from error
    return DetDiffusionPipeline(**{**pipe.components, "controlnet": loaded.eval()}, vocabulary=pipe.vocabulary)
