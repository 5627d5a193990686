"""Where an autoencoder lies: known without torch."""

from __future__ import annotations

from pathlib import Path

from detdiffusion.core.parts import part_folder
from detdiffusion.errors import CheckpointError


def autoencoder_folder(folder: Path) -> Path:
    """The folder of the autoencoder itself, in a model folder or in one of `python -m training autoencoder`.

    Raises:
        CheckpointError: there is none.
    """
    inside = part_folder(folder, "vae")
    inside = inside if inside.is_dir() else folder
    if not (inside / "config.json").is_file():
        raise CheckpointError(
            f"{folder} has no autoencoder; give a model folder, or one that `python -m training autoencoder` wrote"
        )
    return inside
