"""Which detector is run on a model's images."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from app.engine import own_detectors
from app.engine.generation import Ask
from app.engine.studio import Studio, open_studio
from detdiffusion.detectors import BUNDLED
from detdiffusion.errors import ConfigError
from detdiffusion.image_record import read_image
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig

QUICK = SamplingConfig(seed=5, steps=3)


@pytest.mark.parametrize(
    ("owners", "knows", "used"),
    [
        (("own", "home", "bundled"), {"own": "bus", "home": "bus", "bundled": "bus"}, "own"),
        (("home", "bundled"), {"home": "road", "bundled": "bus"}, "home"),
        (("bundled",), {"bundled": "bus"}, "bundled"),
        (("bundled",), {"bundled": "submarine"}, "no detector"),
        (("own", "bundled"), {"own": "submarine", "bundled": "bus"}, "no detector"),
        ((), {}, "no detector"),
    ],
)
def test_who_looks_at_a_models_pictures(
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owners: tuple[str, ...],
    knows: dict[str, str],
    used: str,
) -> None:
    folders = {name: Path(shutil.copytree(model_folder, tmp_path / name)) for name in ("own", "home", "bundled")}
    for name in owners:
        (folders[name] / "detectors/bundled").mkdir(parents=True)

    def load(name: str, folder: Path) -> own_detectors.NoDetector:
        return own_detectors.NoDetector(folder.name, labels=(knows[folder.name],))

    monkeypatch.setattr(own_detectors, "load_detector", load)
    studio = open_studio(folders["home"], tmp_path / "workspace", folders["bundled"])
    studio.models.exchange(folders["own"], "street-1")
    assert studio.model.detector.name == used


def test_without_a_detector_nothing_is_said_of_objects(model_folder: Path, tmp_path: Path, layout: Layout) -> None:
    studio = open_studio(model_folder, tmp_path / "workspace", bundled=tmp_path)
    (result,) = studio.generation.results([Ask(layout, QUICK)], "me")
    assert len(result.detections) == 0
    assert np.isnan(result.confidences).all()
    assert read_image(result.file).to_json()["detector"] == "no detector"


def test_two_detectors_look_at_one_picture(studio: Studio, layout: Layout) -> None:
    assert studio.detectors.names() == [BUNDLED]
    assert len(studio.generation.results([Ask(layout, QUICK)], "me")[0].looks) == 1
    (result,) = studio.generation.results([Ask(layout, QUICK, detectors=(BUNDLED, BUNDLED))], "me")
    assert len(result.looks) == 2
    np.testing.assert_array_equal(result.looks[1].confidences, result.confidences)
    with pytest.raises(ConfigError, match="no detector 'nobody'; choose one of bundled"):
        studio.generation.results([Ask(layout, QUICK, detectors=("nobody",))], "me")
