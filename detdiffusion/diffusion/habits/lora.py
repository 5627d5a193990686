"""LoRA files (Hu et al. 2021) for a pipeline: read with diffusers' and peft's own code, refused where nothing fits."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from detdiffusion.diffusion.habits.hub import is_hub_id
from detdiffusion.diffusion.manifest import PICKLES
from detdiffusion.errors import CheckpointError, ConfigError

LORA_FILE = "pytorch_lora_weights.safetensors"
_LAYER = re.compile(r"\.(?:lora[_.]|alpha|dora_scale|processor\.)")


def lora_file(source: Any, weight_name: str | None) -> Path | None:
    """The file of weights that a path means: itself, or the one in a folder; None: a hub id or a dict of tensors.

    Raises:
        CheckpointError: there is no such file, several, or it is a pickle or damaged.
    """
    if not isinstance(source, str | os.PathLike) or is_hub_id(source):
        return None
    if not Path(source).exists():
        raise CheckpointError(f"there is no file or folder {source}; give one, or a hub id as owner/name")
    path = Path(source)
    if path.is_dir():
        found = [path / weight_name] if weight_name else [path / LORA_FILE]
        if not found[0].is_file() and not weight_name:
            found = sorted(path.glob("*.safetensors"))
        if len(found) != 1 or not found[0].is_file():
            raise CheckpointError(f"{path} holds no {weight_name or LORA_FILE}: give the file with weight_name=")
        path = found[0]
    if path.suffix in PICKLES:
        raise CheckpointError(f"{path} is a pickle, which can run code when it is opened: LoRA needs .safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged: {error}; copy it again") from error
    return path


def check_peft() -> None:
    """ConfigError where the library that applies LoRA weights is not installed."""
    if find_spec("peft") is None:
        raise ConfigError("LoRA weights need peft: pip install -r requirements-lora.txt")


def unknown_layers(state: Iterable[str], unet: nn.Module, text_encoder: nn.Module) -> tuple[list[str], list[str]]:
    """The layers that LoRA weights name, and those among them that a model does not have.

    Args:
        state: names of the weights, as diffusers' `lora_state_dict` gives them.
    """
    text = {name.removeprefix("text_model.") for name, _ in text_encoder.named_modules()}
    known = {f"unet.{name}" for name, _ in unet.named_modules()} | {f"text_encoder.{name}" for name in text}
    layers = {_LAYER.split(key)[0].replace("text_encoder.text_model.", "text_encoder.", 1) for key in state}
    named = sorted(layer if layer.startswith(("unet.", "text_encoder.")) else f"unet.{layer}" for layer in layers)
    return named, [layer for layer in named if layer not in known]
