"""Loads an autoencoder, whichever kind a folder holds."""

from pathlib import Path
from typing import TypeAlias

from diffusers import AutoencoderKL

from detdiffusion.errors import CheckpointError, why
from detdiffusion.models.autoencoder import SmallAutoencoder
from training.autoencoder.folders import autoencoder_folder

Autoencoder: TypeAlias = SmallAutoencoder | AutoencoderKL


def load_autoencoder(folder: Path) -> Autoencoder:
    """The autoencoder of a model folder, or of a folder that `python -m training autoencoder` wrote; float32.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    inside = autoencoder_folder(folder)
    about = (inside / "config.json").read_text(encoding="utf-8")
    kind = AutoencoderKL if "AutoencoderKL" in about else SmallAutoencoder
    try:
        loaded: Autoencoder = kind.from_pretrained(str(inside), use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder} has no autoencoder that can be read ({why(error)}); give a model folder, or one that "
            "`python -m training autoencoder` wrote"
        ) from error
    return loaded.float().eval()


def load_small_autoencoder(folder: Path) -> SmallAutoencoder:
    """As `load_autoencoder`, of our own kind only.

    Raises:
        CheckpointError: there is none, it cannot be read, or it is Stable Diffusion's.
    """
    loaded = load_autoencoder(folder)
    if isinstance(loaded, AutoencoderKL):
        raise CheckpointError(
            f"{folder} holds Stable Diffusion's autoencoder; only a small one of ours can be begun from"
        )
    small: SmallAutoencoder = loaded
    return small
