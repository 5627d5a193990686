"""What `evaluate` and `ablation` have written, read back and checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from detdiffusion.core.files import checked, json_object, read_json
from detdiffusion.errors import DataError, LayoutError
from detdiffusion.layout import Layout
from training.evaluation.report import FORMAT as EVALUATION
from training.evaluation.report import EvaluationReport, ObjectRow
from training.evaluation.store import image_file
from training.report.study_tables import ABLATION, TRAINABILITY, AblationTable, TrainabilityTable

REAL = "real"


@dataclass(frozen=True)
class Evaluation:
    """A report of `python -m training evaluate`, and the folder beside it."""

    report: EvaluationReport
    work: Path

    @property
    def title(self) -> str:
        """What was drawn, and how many layouts."""
        layouts = self.report.layouts
        return f"{layouts.spec} ({layouts.count:,} layouts)"

    @property
    def lead(self) -> str:
        """The detector that comes first."""
        return self.report.lead

    @property
    def detectors(self) -> list[str]:
        """Names, the leading one first."""
        return [one.name for one in self.report.detectors]

    @cached_property
    def objects(self) -> dict[tuple[str | None, str], list[ObjectRow]]:
        """Rows of objects by (system, view); empty where the folder beside the report is gone."""
        found: dict[tuple[str | None, str], list[ObjectRow]] = {}
        for row in map(ObjectRow.from_json, self._lines("objects.jsonl")):
            found.setdefault((row.system, row.view), []).append(row)
        return found

    @cached_property
    def layouts(self) -> list[Layout]:
        """All of them, in the order of the images."""
        try:
            return [Layout.from_json(row["layout"]) for row in self._lines("layouts.jsonl")]
        except (KeyError, LayoutError) as error:
            raise DataError(f"{self.work}/layouts.jsonl is damaged ({error}); run the evaluation again") from error

    def picture(self, system: str | None, view: str, number: int) -> Image.Image | None:
        """A drawn picture, or with `system` None the real one; None where it is not kept."""
        folder = REAL if system is None else f"{system}/{view.replace(' ', '-')}"
        path = image_file(self.work, folder, number)
        if not path.is_file():
            return None
        with Image.open(path) as image:
            return image.convert("RGB")

    def masks(self, system: str) -> list[Image.Image]:
        """Images with masks painted over them; none where they are not kept."""
        found = []
        for path in sorted((self.work / system / "masks").glob("*.png")):
            with Image.open(path) as image:
                found.append(image.convert("RGB"))
        return found

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        path = self.work / name
        if not path.is_file():
            return
        try:
            with path.open(encoding="utf-8") as file:
                for line in file:
                    yield json_object(checked(json.loads(line)))
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(f"{path} is damaged ({error}); run the evaluation again") from error


Report = Evaluation | AblationTable | TrainabilityTable


def read_report(path: Path) -> Report:
    """Raises DataError for a file that neither command has written, or an older version of them."""
    try:
        values = read_json(path, lambda content: content, DataError)
    except DataError as error:
        raise DataError(f"{path} cannot be read as a report: {error}") from error
    found = values.get("format") if isinstance(values, dict) else None
    if found == EVALUATION:
        return Evaluation(EvaluationReport.from_json(values, str(path)), path.with_name(f"{path.stem}.work"))
    if found == ABLATION:
        return AblationTable.from_json(values, str(path))
    if found == TRAINABILITY:
        return TrainabilityTable.from_json(values, str(path))
    raise DataError(
        f"{path} has format {found!r}; a report has {EVALUATION} (python -m training evaluate), {ABLATION!r} "
        f"(ablation) or {TRAINABILITY!r} (trainability): run the command again with this version"
    )
