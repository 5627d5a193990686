"""docs/first-images.ipynb runs from its first cell to its last."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {"__name__": "__notebook__"}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "a notebook is kept without its output"
            exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), names)
    assert isinstance(names["image"], Image.Image) and np.asarray(names["image"]).std() > 10
    easy, hard = (values[1] for values in names["confidences"])
    assert np.isfinite([easy, hard]).all()
    assert len(names["spread"]) == 8


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS
