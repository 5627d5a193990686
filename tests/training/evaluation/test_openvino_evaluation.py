"""An evaluation whose images OpenVINO computes: those of torch but for rounding, and said to be its own."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detdiffusion.image_record import read_image
from training.__main__ import main

ROUNDED = 3  # levels of grey, where a processor prefers bfloat16

pytestmark = [
    pytest.mark.skipif(find_spec("openvino") is None, reason="requirements-openvino.txt is not installed"),
    pytest.mark.long,
    pytest.mark.model,
    pytest.mark.process,
]


def words(model: Path, out: Path, device: str) -> list[str]:
    few = ["--layouts", "papercut:3@900000", "--strategies", "hard", "--steps", "2", "--batch", "2"]
    return ["evaluate", "--model", str(model), *few, "--device", device, "--out", str(out)]


@pytest.mark.usefixtures("at_home")
def test_openvino_draws_what_torch_draws(
    world_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    devices, reports = ("cpu", "openvino"), []
    for device in devices:
        assert main(words(world_model, tmp_path / f"{device}.json", device)) == 0
        reports.append(json.loads((tmp_path / f"{device}.json").read_text()))
        kept = json.loads((tmp_path / f"{device}.work/config.json").read_text())
        assert kept["device"] == device
    names = [sorted(path.name for path in (tmp_path / f"{device}.work/tiny/hard").rglob("*.png")) for device in devices]
    assert names[0] == names[1] and len(names[0]) == 3
    for name in names[0]:
        (torchs,), (ours,) = (list((tmp_path / f"{device}.work/tiny/hard").rglob(name)) for device in devices)
        pixels = [np.asarray(Image.open(path).convert("RGB"), np.int16) for path in (torchs, ours)]
        assert abs(pixels[0] - pixels[1]).max() <= ROUNDED and pixels[0].std() > 1
        assert [read_image(path).to_json()["device"] for path in (torchs, ours)] == ["cpu", "openvino"]
    assert list((tmp_path / "cache/detdiffusion/openvino").glob("unet-*/seal.json"))
    views = [report["systems"][0]["views"][0]["scores"] for report in reports]
    assert views[0].keys() == views[1].keys()
    capsys.readouterr()
    (tmp_path / "cpu.json").rename(tmp_path / "other.json")
    assert main(words(world_model, tmp_path / "cpu.json", "openvino")) == 2
    assert "device was 'cpu', is 'openvino'" in capsys.readouterr().err
