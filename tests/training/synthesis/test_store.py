"""A job's folder: what is no job is said to be none, and what version 0.1 made is still one."""

from pathlib import Path

import pytest

from detdiffusion.errors import DataError
from training.synthesis.store import MANIFEST, read_manifest


def test_a_folder_without_a_job(tmp_path: Path) -> None:
    for text in (None, "[", "{}", '{"format": "other"}'):
        if text is not None:
            (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(DataError, match="holds no job"):
            read_manifest(tmp_path)
