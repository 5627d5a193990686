"""Cached samples in chunks: layouts in a .json file and tensors beside it, which belong together by their hashes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from detdiffusion.core.files import file_hash, json_object, read_json, write_sealed, written_aside
from detdiffusion.errors import DataError, LayoutError, why
from detdiffusion.layout import Layout

TENSORS = ".safetensors"
REMEDY = "delete it, and run the same command again"


def write_chunk(path: Path, layouts: Sequence[Layout], tensors: Mapping[str, Tensor]) -> None:
    """Both files; the .json comes last: a chunk without one is none.

    Raises:
        DataError: the disk is full; what is finished stays.
    """
    try:
        with written_aside(path.with_suffix(TENSORS)) as aside:
            save_file(dict(tensors), aside)
            sha256 = file_hash(aside)
        write_sealed(path, {"layouts": [layout.to_json() for layout in layouts], "sha256": sha256})
    except (OSError, SafetensorError) as error:
        path.with_suffix(TENSORS).unlink(missing_ok=True)  # no half of a chunk takes the space of others
        said = f"{path.parent}: latents cannot be written ({why(error)}); free some space, run it again"
        raise DataError(said) from error


def read_chunk(path: Path) -> tuple[Layout, ...]:
    """The layouts of a chunk whose two files are as they were written. Version 0.1 wrote a list of layouts alone, which
    cannot be checked.

    Raises:
        DataError: one of them is not.
    """
    layouts, sha256 = read_json(path, _parsed, DataError, REMEDY)
    tensors = path.with_suffix(TENSORS)
    try:
        found = file_hash(tensors)
    except OSError as error:
        raise DataError(f"{tensors} is damaged ({why(error)}); {REMEDY}") from error
    if sha256 not in (None, found):
        raise DataError(f"{tensors} is damaged (it has another SHA-256); {REMEDY}")
    return layouts


def is_whole(path: Path) -> bool:
    """Whether a chunk is there and as it was written; what is wrong with it is said on standard error."""
    if not path.exists():
        return False
    try:
        read_chunk(path)
    except DataError as error:
        print(f"made again: {error}", file=sys.stderr)
        return False
    return True


def _parsed(content: Any) -> tuple[tuple[Layout, ...], str | None]:
    values: dict[str, Any] = {"layouts": content, "sha256": None} if isinstance(content, list) else json_object(content)
    try:
        return tuple(map(Layout.from_json, values["layouts"])), values["sha256"]
    except LayoutError as error:
        raise ValueError(str(error)) from error
