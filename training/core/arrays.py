"""Arrays that a run keeps: an .npz file with its hash at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detdiffusion.core.files import seal_file, sealed_file, written_aside
from detdiffusion.errors import DataError


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Whole or not at all."""
    with written_aside(path) as aside:
        with aside.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        seal_file(aside)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of `save_arrays`; nothing in the file is unpickled.

    Raises:
        DataError: it is missing, or not as it was written.
    """
    if not sealed_file(path):
        raise DataError(f"{path} is damaged, or not there: it is not as it was written")
    with np.load(path, allow_pickle=False) as kept:
        return dict(kept)
