"""Where the parts of a model folder lie: in it, or in the folder beside it that its manifest names.

manifest.json: `{"sha256": {"vae/config.json": "...", ...}, "shared": {"vae": "papercut"}}`. A part under `shared`
lies in the folder of that name beside this one (papercut/vae).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detdiffusion.core.files import read_json
from detdiffusion.errors import CheckpointError

MANIFEST = "manifest.json"
COMPONENTS = (  # a component that is not named here is never loaded
    "vae",
    "text_encoder",
    "unet",
    "blueprint",
    "perception_head",
    "controlnet",
    "safety_checker",
    "tokenizer",
    "scheduler",
    "feature_extractor",
)
DETECTORS, CAUSES = "detectors", "causes"
ONLOOKERS = (DETECTORS, CAUSES)  # parts that look at images: the generator is the same without them


def part_folder(folder: Path, part: str) -> Path:
    """Where a part of a model lies: in its folder, or in the folder beside it that its manifest names.

    Raises:
        CheckpointError: the manifest cannot be read.
    """
    shared = shared_parts(folder).get(part)
    return folder / part if shared is None else beside(folder, shared) / part


def beside(folder: Path, name: str) -> Path:
    """The folder of that name beside a model folder."""
    return folder.resolve().parent / name


def shared_parts(folder: Path) -> dict[str, str]:
    """Part -> name of the folder beside this one that holds it; empty for a model that is whole in itself.

    Raises:
        CheckpointError: the manifest cannot be read, or names something else than a folder beside this one.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    shared = read_json(path, _shared, CheckpointError, "copy the model folder again")
    for part, name in shared.items():
        if part not in (*COMPONENTS, *ONLOOKERS) or name in ("", ".", "..") or "/" in name or "\\" in name:
            raise CheckpointError(f"{path} shares {part!r} with {name!r}: only a folder beside this one can be named")
    return shared


def _shared(values: Any) -> dict[str, str]:
    return {str(part): str(name) for part, name in values.get("shared", {}).items()}
