"""Example layouts of a model folder: whoever wrote them, a broken one is named and the others are there."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from detdiffusion.bounds import EXAMPLES, LAYOUT_BYTES
from detdiffusion.core.files import write_sealed
from detdiffusion.diffusion.examples import given_examples, read_examples, write_examples
from detdiffusion.diffusion.manifest import model_hash, verify, write_manifest
from detdiffusion.errors import LayoutError
from detdiffusion.layout import Layout
from detdiffusion.text.vocabulary import Vocabulary

WORDS = Vocabulary(things=("cell", "platelet"), stuff=("plasma",))
SMEAR: dict[str, Any] = {
    "width": 64,
    "height": 48,
    "objects": [
        {"label": "cell", "box": [0.1, 0.1, 0.5, 0.5], "attribute": "hard"},
        {"label": "plasma", "box": [0, 0, 1, 1]},
    ],
}


def put(folder: Path, **files: object) -> Path:
    (folder / "layouts").mkdir(parents=True)
    for name, value in files.items():
        text = value if isinstance(value, str) else json.dumps(value)
        (folder / "layouts" / f"{name}.json").write_text(text)
    return folder


def test_they_are_named_by_their_files_and_numbers_give_their_order(tmp_path: Path) -> None:
    put(tmp_path, **{"few-RBC": SMEAR, "10-many": SMEAR, "9-one-cell": SMEAR})
    found = read_examples(tmp_path, WORDS)
    assert list(found.layouts) == ["One cell", "Many", "Few RBC"]
    assert found.first == WORDS.resolve(Layout.from_json(SMEAR)), "every object has its attribute"
    assert found.faults == ()
    assert read_examples(tmp_path / "nowhere", WORDS).first is None


def test_a_broken_one_is_named_and_left_out(tmp_path: Path) -> None:
    strange = {**SMEAR, "objects": [{"label": "cel", "box": [0, 0, 1, 1]}]}
    inverted = {**SMEAR, "objects": [{"label": "cell", "box": [0.9, 0, 0.1, 1]}]}
    crowd = {**SMEAR, "objects": SMEAR["objects"][:1] * 101}
    broken = {"cut": "{", "list": [], "strange": strange, "inverted": inverted, "crowd": crowd}
    put(tmp_path, good=SMEAR, **broken, large=json.dumps(SMEAR) + " " * LAYOUT_BYTES, **{"1-": SMEAR, "n" * 61: SMEAR})
    write_sealed(tmp_path / "layouts/saved.json", SMEAR)
    saved = (tmp_path / "layouts/saved.json").read_text()
    (tmp_path / "layouts/changed.json").write_text(saved.replace("hard", "easy"))
    os.mkfifo(tmp_path / "layouts/pipe.json")  # to read it would take for ever
    (tmp_path / "layouts/Good.json").write_text(json.dumps(SMEAR))
    found = read_examples(tmp_path, WORDS)
    assert list(found.layouts) == ["Good", "Saved"]
    faults = dict(fault.split(": ", 1) for fault in found.faults)
    assert len(faults) == len(found.faults) == 11
    for name, why in {
        "cut.json": "damaged",
        "strange.json": "unknown class 'cel'; known classes, nearest first: cell",
        "inverted.json": "inverted",
        "crowd.json": "at most 100",
        "large.json": "1,000,000 bytes",
        "changed.json": "damaged",
        "pipe.json": "no such file",
    }.items():
        assert why in faults[name]
    assert str(tmp_path) not in "".join(found.faults)


def test_no_more_than_the_bound_are_read(tmp_path: Path) -> None:
    put(tmp_path, **{f"smear-{number:03}": SMEAR for number in range(EXAMPLES + 2)})
    found = read_examples(tmp_path, WORDS)
    assert len(found.layouts) == EXAMPLES
    assert found.faults == (f"2 more files: at most {EXAMPLES} layouts are read",)
    with pytest.raises(LayoutError, match=f"102 layouts; a model folder may bring {EXAMPLES}"):
        given_examples([tmp_path / "layouts"], WORDS)


def test_given_ones_stand_in_the_model_in_their_order(tmp_path: Path) -> None:
    put(tmp_path / "mine", b=SMEAR, a=SMEAR)
    other = put(tmp_path / "other", **{"7-last one": SMEAR}) / "layouts/7-last one.json"
    model = put(tmp_path / "model", old=SMEAR)
    write_examples(given_examples([other, tmp_path / "mine/layouts"], WORDS), model)
    assert sorted(path.name for path in (model / "layouts").iterdir()) == ["01-Last-one.json", "02-A.json", "03-B.json"]
    assert list(read_examples(model, WORDS).layouts) == ["Last one", "A", "B"]
    for path, why in ((tmp_path / "none.json", r"none\.json: there is no such file"), (other, "unknown class 'cell'")):
        with pytest.raises(LayoutError, match=why):
            given_examples([path], Vocabulary(things=("car",)))


def test_a_changed_example_is_no_damage_and_no_other_model(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.json").write_text(WORDS.to_text())
    (tmp_path / "model_index.json").write_text("{}")
    write_manifest(tmp_path)
    before = model_hash(tmp_path)
    put(tmp_path, smear=SMEAR)
    verify(tmp_path)
    write_manifest(tmp_path)
    (tmp_path / "layouts/smear.json").write_text("{}")
    verify(tmp_path)
    assert model_hash(tmp_path) == before
