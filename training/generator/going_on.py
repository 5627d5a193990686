"""A trained model -> the config of a training that goes on from it: its networks, words and size."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from detdiffusion.core.files import json_object, read_json
from detdiffusion.errors import CheckpointError, ConfigError
from detdiffusion.sampling_config import sampler_named
from training.generator.config import GeneratorConfig

# What `new_pipeline` fills in itself.
_FILLED_IN = {
    "unet": {"in_channels", "out_channels", "cross_attention_dim"},
    "blueprint": {"num_classes"},
    "perception_head": {"feature_channels", "text_dim"},
}
_TEXT = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")


def config_like(model: Path, lessons: GeneratorConfig) -> GeneratorConfig:
    """A config whose model is that of a folder, weights included; steps, rates and the like are those of `lessons`.

    Raises:
        CheckpointError: the folder holds no model.
        ConfigError: its networks are Stable Diffusion's.
    """
    from detdiffusion.diffusion.manifest import INDEX, read_vocabulary

    words = read_vocabulary(model)
    vae = _saved(model, "vae")
    if vae.get("_class_name") != "SmallAutoencoder":
        raise ConfigError(f"{model} began as Stable Diffusion: go on with an sd15 preset and --base {model}")
    unet, head = _options(model, "unet"), _options(model, "perception_head")
    control = _saved(model, "controlnet") if _folder(model, "controlnet").is_dir() else None
    cell = 2 ** len(vae["block_out_channels"]) * int(vae.get("fold", 1))  # SmallAutoencoder.downsample, without torch
    sides = unet["sample_size"]
    rows, columns = (sides, sides) if isinstance(sides, int) else sides
    text = _saved(model, "text_encoder")
    index = read_json(model / INDEX, json_object, CheckpointError)
    return dataclasses.replace(
        lessons,
        unet=unet,
        text={name: text[name] for name in _TEXT},
        blueprint=_options(model, "blueprint"),
        head=head,
        controlnet=None if control is None else {"embedding_channels": control["conditioning_embedding_out_channels"]},
        size=(rows * cell, columns * cell),
        grid=words.grid,
        location_text=words.location_format,
        attributes=bool(words.attribute_words),
        loss=lessons.loss if head is not None else dataclasses.replace(lessons.loss, perception_weight=0.0),
        start=str(model),
        guidance_interval=tuple(index.get("guidance_interval", lessons.guidance_interval)),
        tag_guidance=index.get("tag_guidance") or {},
        sampler=sampler_named(_saved(model, "scheduler", "scheduler_config.json")),
        sampling=index.get("sampling", {}),
    )


def _options(model: Path, part: str) -> Any:
    """What a network was made with, as far as a config says it; None where the model has no such network."""
    if not _folder(model, part).is_dir():
        return None
    left = _FILLED_IN[part]
    return {name: value for name, value in _saved(model, part).items() if name[0] != "_" and name not in left}


def _saved(model: Path, part: str, name: str = "config.json") -> dict[str, Any]:
    return read_json(_folder(model, part) / name, json_object, CheckpointError)


def _folder(model: Path, part: str) -> Path:
    """Where it lies: a model may share a part with the one beside it."""
    from detdiffusion.core.parts import part_folder

    return part_folder(model, part)
