"""Device and precision."""

import pytest
import torch

from app.engine.compute import Engine
from detdiffusion.errors import ConfigError


def test_an_accelerator_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(Engine("cpu").torch_device) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("detdiffusion.core.devices._may_have_cuda", lambda: True)
    assert [str(Engine(name).torch_device) for name in (None, "cuda", "cuda:1")] == ["cuda:0", "cuda:0", "cuda:1"]
    with pytest.raises(ConfigError, match="no precision 'half'; choose one of automatic"):
        Engine("cpu", "half")
