"""diagnosis.json: frozen values, written and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from detdiffusion.core.files import json_object, read_json
from detdiffusion.errors import DataError
from detdiffusion.evaluation.bootstrap import Estimate
from training.core import typed_json
from training.core.typed_json import MEASURED, Number

FORMAT = "diagnosis-1"
FILE = "diagnosis.json"

Measured = Annotated[Estimate, *MEASURED]
Interval = Annotated[tuple[float, float], *MEASURED]


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the objects. bounds: axis -> value (a class, yes or no, or from and below); recall: share found at IoU
    0.5 with the detector's least score; gap: by which it is below the average; p: corrected for all slices;
    explained_by: the slice that is to blame, of one that is not named for itself."""

    name: str
    bounds: Mapping[str, Any]
    count: int
    images: int
    recall: Number
    ci95: Interval
    confidence: Number
    confidence_ci95: Interval
    gap: Number
    p: Number
    explained_by: str | None = None


@dataclass(frozen=True, slots=True)
class ClassRow:
    """COCO's numbers of one class, as fractions."""

    label: str
    objects: int
    mAP: Number
    AP50: Number
    recall: Number
    confidence: Number


@dataclass(frozen=True, slots=True)
class Bin:
    """Detections with scores from `low` to below `high`: how sure they are, and how often they are right."""

    low: float
    high: float
    count: int
    confidence: Number
    precision: Number


@dataclass(frozen=True, slots=True)
class Calibration:
    """ece: expected calibration error, of detections with a score of `least` or more."""

    ece: Number
    least: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Confusion:
    """rows[true][found], objects of each class and, last, detections where nothing is; the last column: missed."""

    labels: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class HardObject:
    """box: fractions; confidence: 0 where it was missed; overlap: IoU of what found it; hardness: 1 - confidence x
    IoU."""

    image: str
    label: str
    box: tuple[float, float, float, float]
    confidence: Number
    overlap: Number
    hardness: Number


@dataclass(frozen=True, slots=True)
class HardImage:
    """hardness: 1 - the sum of confidence x IoU over what is found, by objects and false alarms."""

    image: str
    objects: int
    missed: int
    false_alarms: int
    hardness: Number


@dataclass(frozen=True, slots=True)
class Source:
    """Of which data and detector a diagnosis is. words: the arguments that name the data."""

    data: str
    words: tuple[str, ...]
    fingerprint: str
    split: str | None
    images: int
    objects: int
    detector: str
    sha256: str
    min_score: float
    unknown: tuple[str, ...]  # classes of the data that the detector does not know


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that is found out. metrics: COCO's twelve numbers; errors: points of mAP at IoU 0.5 that each kind of error
    costs; error_counts: how many there are with detections from error_score on, where F1 is best (0: with all, as in
    older files); slices: those that are worse than the average, worst first; others: the worst of those that are not,
    or that one of `slices` explains."""

    format: str
    source: Source
    metrics: Mapping[str, Number]
    mAP: Measured
    recall: Measured
    confidence: Measured
    errors: Mapping[str, Number]
    error_counts: Mapping[str, int]
    slices: tuple[Slice, ...]
    others: tuple[Slice, ...]
    tested: int
    cuts: Mapping[str, Any]
    classes: tuple[ClassRow, ...]
    calibration: Calibration
    confusion: Confusion
    hardest_objects: tuple[HardObject, ...]
    hardest_images: tuple[HardImage, ...]
    health: Mapping[str, Any]
    error_score: Number = 0.0

    def to_json(self) -> dict[str, Any]:
        """As `read_diagnosis` reads it."""
        return typed_json.to_json(self)

    def slice(self, name: str) -> Slice | None:
        """By its name, of all that are listed."""
        return next((one for one in (*self.slices, *self.others) if one.name == name), None)


def read_diagnosis(folder: Path) -> Diagnosis:
    """That of a folder of `python -m training diagnose`.

    Raises:
        DataError: there is none, or it is damaged or of another version.
    """
    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{folder} holds no {FILE}: make it with python -m training diagnose --out {folder}")
    values = read_json(path, json_object, DataError, "run python -m training diagnose again")
    if values.get("format") != FORMAT:
        raise DataError(f"{path} has format {values.get('format')!r}, and {FORMAT} is needed: run diagnose again")
    return typed_json.from_json(Diagnosis, values, str(path))
