"""Checkpoints as people have them: tensors are found wherever they lie, what is no weights is never run."""

import argparse
import io
import shutil
import sys
from collections import OrderedDict, defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from detdiffusion.detectors.state import foreign_names, read_state
from detdiffusion.errors import DetectorError

STATE = {"backbone.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.ones(2)}


class Attack:
    """Moves a file when it is unpickled carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return shutil.move, (str(self.path), f"{self.path}-moved")


class Foreign:
    """Something of a training program, beside the weights."""

    def __init__(self) -> None:
        self.rate = 0.1


def prefixed(*prefixes: str) -> dict[str, torch.Tensor]:
    return {f"{''.join(prefixes)}{name}": tensor for name, tensor in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        OrderedDict(STATE),
        prefixed("module."),
        prefixed("model."),
        prefixed("module.", "model."),
        prefixed("_orig_mod.", "module."),
        {"model": STATE, "epoch": 3},
        {"state_dict": prefixed("model."), "hyper_parameters": {"lr": 0.1}},
        {"model": {"state_dict": STATE}},
        {"model_state_dict": prefixed("module."), "loss": np.float64(0.5), "args": argparse.Namespace(lr=0.1)},
        {"meta": {"where": Path("/tmp"), "who": Foreign(), "log": [Foreign()]}, "state_dict": STATE},
    ],
)
def test_the_tensors_are_found(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    state = read_state(tmp_path / "w.pth")
    assert list(state) == list(STATE) and all(torch.equal(state[name], STATE[name]) for name in STATE)


def test_safetensors_have_prefixes_too(tmp_path: Path) -> None:
    save_file(prefixed("module."), tmp_path / "w.safetensors")
    assert list(read_state(tmp_path / "w.safetensors")) == list(STATE)


def test_a_prefix_that_belongs_to_the_model_stays(tmp_path: Path) -> None:
    state = {"model.weight": torch.ones(1), "bias": torch.ones(1)}
    torch.save(state, tmp_path / "w.pth")
    assert set(read_state(tmp_path / "w.pth")) == set(state)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_whole_model_is_refused_by_name(wrapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("their_program")
    theirs = type("TheirNet", (torch.nn.Linear,), {"__module__": "their_program"})
    module.TheirNet = theirs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "their_program", module)
    model = theirs(2, 2)  # type: ignore[call-arg]
    torch.save({"model": model} if wrapped else model, tmp_path / "w.pth")
    monkeypatch.delitem(sys.modules, "their_program")
    with pytest.raises(DetectorError, match=r"w\.pth is refused.*\(their_program\.TheirNet.*state_dict"):
        read_state(tmp_path / "w.pth")
    assert "their_program" not in sys.modules


def test_nothing_is_run_and_nothing_stays_allowed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    torch.save({"model": STATE, "extra": Attack(tmp_path / "file")}, tmp_path / "w.pth")
    assert list(read_state(tmp_path / "w.pth")) == list(STATE)
    torch.save({"model": Attack(tmp_path / "file")}, tmp_path / "bad.pth")
    with pytest.raises(DetectorError, match=r"bad\.pth is refused.*\(shutil\.move\)"):
        read_state(tmp_path / "bad.pth")
    assert (tmp_path / "file").exists()
    assert foreign_names(tmp_path / "w.pth") == ["shutil.move"], "it is as unknown as before"


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    torch.save({"weights": defaultdict(list)}, content)
    for name, data, message in (
        ("cut.pth", content.getvalue()[:50], "cannot be read|is refused"),
        ("text.pth", b"weights", "cannot be read|is refused"),
        ("odd.pth", content.getvalue(), "is refused|no weights by name"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DetectorError, match=message):
            read_state(tmp_path / name)
