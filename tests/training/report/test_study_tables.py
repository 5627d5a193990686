"""The tables and their files: those that were published load and are written again to the byte; faults are named."""

import json
from pathlib import Path

import pytest

from detdiffusion.core.files import checked
from detdiffusion.errors import DataError
from training.report.data import read_report
from training.report.study_tables import AblationTable, TrainabilityTable
from training.report.tables import ablation_sections, trainability_sections

RESULTS = Path(__file__).resolve().parents[3] / "docs" / "results"
ABLATIONS = [RESULTS / "ablation" / name for name in ("ablation.json", "words-alone.json")]
TRAINABILITIES = sorted((RESULTS / "data-engine").glob("*/trainability.json"))


@pytest.mark.parametrize("path", [*ABLATIONS, *TRAINABILITIES], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_published_tables_hold_to_the_byte(path: Path) -> None:
    table = read_report(path)
    assert isinstance(table, AblationTable if path in ABLATIONS else TrainabilityTable)
    written = json.loads(path.read_text())
    assert json.dumps(written, indent=2) == path.read_text().removesuffix("\n")
    assert json.dumps(table.to_json()) == json.dumps(checked(written))
    said = (table.findings or ()) if isinstance(table, TrainabilityTable) else ()
    assert len(table.lines()) == len(table.rows) + 1 + len(said)
    assert list(ablation_sections(table) if isinstance(table, AblationTable) else trainability_sections(table))


def test_both_kinds_are_published() -> None:
    assert len(ABLATIONS) == 2 and len(TRAINABILITIES) >= 5


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    table = json.loads(ABLATIONS[0].read_text())
    del table["rows"][1]["mAP"]["values"]
    (tmp_path / "ablation.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match=r"ablation\.json: rows\[1\]\.mAP\.values is missing"):
        read_report(tmp_path / "ablation.json")
    table = json.loads(TRAINABILITIES[0].read_text())
    del table["rows"][0]["gain"]["AP50"]
    with pytest.raises(DataError, match=r"a table of trainability: rows\[0\]\.gain\.AP50 is missing"):
        TrainabilityTable.from_json(table)


def test_settings_that_a_page_needs_are_named() -> None:
    table = json.loads(ABLATIONS[0].read_text())
    del table["settings"]["generator"]["steps"]
    with pytest.raises(DataError, match=r"settings of an ablation: generator\.steps is missing"):
        list(ablation_sections(AblationTable.from_json(table)))
    table = json.loads(TRAINABILITIES[0].read_text())
    table["settings"]["pictures"]["epochs"] = "many"
    with pytest.raises(DataError, match=r"settings of trainability: pictures\.epochs: .*valid number"):
        list(trainability_sections(TrainabilityTable.from_json(table)))
