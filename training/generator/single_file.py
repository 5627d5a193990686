"""One `.safetensors` file that holds a whole Stable Diffusion v1 model -> a folder, without any network.

Such a file has weights alone, under the names of the first implementation: the sizes and the tokenizer are those of a
folder of the same architecture.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from detdiffusion.errors import CheckpointError, ConfigError, why

# What the names of each part's weights begin with.
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "unet": "model.diffusion_model.",
        "vae": "first_stage_model.",
        "text_encoder": "cond_stage_model.transformer.",
    }
)
NEEDED = ("unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler", "tokenizer")


def add_like(parser: argparse.ArgumentParser) -> None:
    """The option that a single file needs."""
    parser.add_argument(
        "--like",
        type=Path,
        metavar="DIR",
        help="for a single .safetensors file: a Stable Diffusion folder with its configuration and tokenizer",
    )


def check_single_file(file: Path, like: Path | None) -> None:
    """What `unpack` refuses, by the names of the weights alone.

    Raises:
        CheckpointError: the file is no safetensors, or lacks a part, which is named.
        ConfigError: there is no folder to take the configuration from.
    """
    from safetensors import SafetensorError, safe_open

    from detdiffusion.diffusion.manifest import check_model

    if file.suffix != ".safetensors":
        raise CheckpointError(
            f"{file}: a single file needs to be .safetensors; others are pickles, which can run code when opened"
        )
    if like is None:
        raise ConfigError(
            f"{file} holds weights alone: name a Stable Diffusion folder of the same form with --like, whose "
            "configuration and tokenizer it gets"
        )
    check_model(like)
    if missing := [name for name in NEEDED if not (like / name).exists()]:
        raise CheckpointError(f"{like} lacks {', '.join(missing)}: give a whole Stable Diffusion folder with --like")
    try:
        with safe_open(file, framework="pt") as opened:
            names = list(opened.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged: {why(error)}; copy it again") from error
    lacking = [f"{part} ({prefix}*)" for part, prefix in PARTS.items() if not any(n.startswith(prefix) for n in names)]
    if lacking:
        found = ", ".join(sorted({name.partition(".")[0] for name in names})[:5]) or "nothing"
        raise CheckpointError(
            f"{file} is no whole Stable Diffusion v1 model: it lacks {', '.join(lacking)}; its names begin with {found}"
        )


def unpack(file: Path, like: Path, target: Path) -> None:
    """Writes the folder that a checked file stands for, without a safety checker.

    Raises:
        CheckpointError: the weights are of other sizes than `like` says.
    """
    import torch
    from diffusers import StableDiffusionPipeline

    from detdiffusion.diffusion.checkpoint import no_progress_bars

    try:
        with no_progress_bars():
            pipe = StableDiffusionPipeline.from_single_file(
                str(file),
                config=str(like),
                local_files_only=True,
                torch_dtype=torch.float32,
                safety_checker=None,
                feature_extractor=None,
            )
            pipe.register_to_config(requires_safety_checker=False)
            pipe.save_pretrained(str(target))
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{file} does not fit the configuration of {like}: {why(error)}") from error
