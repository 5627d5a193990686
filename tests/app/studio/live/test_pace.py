"""Whether a model is fast enough to draw while one drags, and what is quicker where it is not."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from small_models import write_small_student

from app.engine.studio import Studio, open_studio
from app.studio.live import pace
from app.studio.live.pace import Pace


@pytest.fixture
def beside(studio: Studio, street: dict[str, Any], tmp_path: Path) -> Studio:
    """A studio with a model that has an example, and a student of it beside it."""
    whole = Path(shutil.copytree(studio.models.home, tmp_path / "models" / "whole"))
    (whole / "layouts").mkdir()
    (whole / "layouts" / "street.json").write_text(json.dumps(street))
    write_small_student(tmp_path / "models" / "quick", whole)
    return open_studio(whole, tmp_path / "studio")


def test_it_is_measured_once_and_then_known_while_others_draw(beside: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FAST", 60.0)  # however slow and busy a test machine is
    known = Pace(beside)
    assert known.is_fast()
    with beside.models.lend(None):
        asked = threading.Thread(target=known.is_fast, daemon=True)
        asked.start()
        asked.join(30)
        assert not asked.is_alive()
    assert known.hint() == ""


def test_another_model_is_measured_anew(beside: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FAST", 0.0)
    known = Pace(beside)
    assert not known.is_fast()
    assert known.hint() == "whole takes a while here. quick draws while you drag: Settings, Model."
    monkeypatch.setattr(pace, "FAST", 60.0)
    assert not known.is_fast(), "it is known"
    beside.models.exchange(beside.models.folders()["quick"], "quick")
    assert known.is_fast()
    assert known.hint() == ""


def test_a_model_without_an_example_is_not(studio: Studio) -> None:
    assert not Pace(studio).is_fast()


def test_a_damaged_folder_beside_it_is_no_student(beside: Studio) -> None:
    folder = beside.models.folders()["quick"]
    (folder / "model_index.json").write_text("{")
    assert beside.models.students() == []
