"""What the history knows of an image, which of them are wanted, and both as a table has them."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from detdiffusion.attributes import Strategy
from detdiffusion.core.files import json_hash
from detdiffusion.errors import DataError
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig

_HAS_LABEL = """json_valid(layout) AND EXISTS (
  SELECT 1 FROM json_each(layout, '$.objects') AS object WHERE json_extract(object.value, '$.label') = :label)"""
_HAS_MISSED = """json_valid(layout) AND json_valid(confidences) AND EXISTS (
  SELECT 1 FROM json_each(layout, '$.objects') AS object
  JOIN json_each(confidences) AS confidence ON confidence.key = object.key
  WHERE confidence.value < min_score AND (:label = '' OR json_extract(object.value, '$.label') = :label))"""


class Found(NamedTuple):
    """What the detector was sure of: box in fractions (x1, y1, x2, y2)."""

    label: str
    xyxy: tuple[float, float, float, float]
    score: float


def is_name(file: object) -> bool:
    """Whether it is a file's name alone, and no path."""
    return isinstance(file, str) and file not in ("", ".", "..") and Path(file).name == file and "\0" not in file


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture that was made.

    Attributes:
        run, place: pictures made together share a run, and stand in it in this order.
        file: name in the workspace's folder of pictures.
        made_at: seconds since 1970.
        confidences: of each object of the layout; 0 is not found, None what the detector cannot know.
        found: None for a picture of an older studio, which did not keep it.
        id, drop: the history gives them. drop: mean confidence of the easy picture less that of the hard one, where
            the run holds both from one seed and model.

    Raises:
        DataError: values that do not fit each other.
    """

    run: str
    place: int
    file: str
    made_at: float
    model: str
    model_sha256: str
    sampling: SamplingConfig
    strategy: Strategy
    detector: str
    min_score: float
    layout: Layout
    confidences: tuple[float | None, ...]
    found: tuple[Found, ...] | None = None
    starred: bool = False
    drop: float | None = None
    id: int = 0

    def __post_init__(self) -> None:
        if not is_name(self.file):
            raise DataError(f"file {self.file!r} needs to be a name in the folder of images")  # it may be deleted
        if len(self.confidences) != len(self.layout.boxes):
            raise DataError(f"{len(self.confidences)} confidences for {len(self.layout.boxes)} objects: one an object")
        wrong = [value for value in self.confidences if value is not None and not 0 <= value <= 1]
        if wrong:
            raise DataError(f"confidence {wrong[0]} needs to be from 0 to 1, or None")

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes in the layout."""
        return self.layout.labels

    @property
    def known(self) -> tuple[float, ...]:
        """Confidences of the objects that the detector can know."""
        return tuple(value for value in self.confidences if value is not None)

    @property
    def mean_confidence(self) -> float | None:
        """Over the objects that the detector can know; None without any."""
        return sum(self.known) / len(self.known) if self.known else None

    @property
    def missed(self) -> int:
        """Objects that the detector should have found, and did not."""
        return sum(value < self.min_score for value in self.known)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which pictures are wanted; what is empty does not matter. With a label, `missed` is about objects of it."""

    label: str = ""
    missed: bool = False
    min_drop: float | None = None
    starred: bool = False
    model: str = ""

    def where(self) -> str:
        """As a condition, whose values are `values`."""
        asked = (
            (self.label and not self.missed, _HAS_LABEL),
            (self.missed, _HAS_MISSED),
            (self.min_drop is not None, "confidence_drop >= :min_drop"),
            (self.starred, "starred"),
            (self.model, "model = :model"),
        )
        return " AND ".join(["deleted_at IS NULL", *(condition for wanted, condition in asked if wanted)])

    def values(self) -> dict[str, Any]:
        """The values that `where` leaves open."""
        return {"label": self.label, "min_drop": self.min_drop, "model": self.model}


EVERYTHING = Filter()


def with_drops(entries: Sequence[Entry]) -> list[Entry]:
    """Each with its drop, where its run holds the easy and the hard image of one seed and model."""
    means: dict[tuple[str, int, str, Strategy], float | None] = {
        (entry.run, entry.sampling.seed, entry.model_sha256, entry.strategy): entry.mean_confidence for entry in entries
    }
    dropped = []
    for entry in entries:
        easy, hard = (
            means.get((entry.run, entry.sampling.seed, entry.model_sha256, tag))
            for tag in (Strategy.EASY, Strategy.HARD)
        )
        dropped.append(replace(entry, drop=None if easy is None or hard is None else easy - hard))
    return dropped


_PLAIN = (
    "run",
    "place",
    "file",
    "made_at",
    "model",
    "model_sha256",
    "detector",
    "min_score",
)


_SEALED = (
    *_PLAIN,
    "seed",
    "steps",
    "guidance",
    "difficulty",
    "sampler",
    "strategy",
    "layout",
    "confidences",
    "found",
    "confidence_drop",
    "starred",
)
_REALS = ("made_at", "guidance", "difficulty", "min_score", "confidence_drop")  # SQLite gives 3 back as 3.0


def seal_of(row: Any) -> str:
    """SHA-256 of what a row says of its image; whether that is in the trash is another matter."""
    values = {name: row[name] for name in _SEALED}
    return json_hash({name: float(one) if name in _REALS and one is not None else one for name, one in values.items()})


def row_of(entry: Entry) -> dict[str, Any]:
    """As a row of the table."""
    row = {
        **{name: getattr(entry, name) for name in _PLAIN},
        "seed": entry.sampling.seed,
        "steps": entry.sampling.steps,
        "guidance": entry.sampling.guidance_scale,
        "difficulty": entry.sampling.attribute_guidance,
        "sampler": entry.sampling.sampler,
        "strategy": entry.strategy.value,
        "layout": json.dumps(entry.layout.to_json()),
        "confidences": json.dumps(entry.confidences),
        "found": None if entry.found is None else json.dumps(entry.found),
        "confidence_drop": entry.drop,
        "starred": int(entry.starred),
    }
    return {**row, "seal": seal_of(row)}


def entry_of(row: sqlite3.Row) -> Entry:
    """ValueError, TypeError, LayoutError or ConfigError for a row that nobody wrote like this. Rows of older studios
    have no seal."""
    if row["seal"] is not None and row["seal"] != seal_of(row):
        raise ValueError("it says something else than what was written")
    return Entry(
        **{name: row[name] for name in _PLAIN},
        sampling=SamplingConfig(*(row[name] for name in ("seed", "steps", "guidance", "difficulty", "sampler"))),
        strategy=Strategy(row["strategy"]),
        layout=Layout.from_json(row["layout"]),
        confidences=tuple(json.loads(row["confidences"])),
        found=None if row["found"] is None else tuple(map(_found, json.loads(row["found"]))),
        starred=bool(row["starred"]),
        drop=row["confidence_drop"],
        id=row["id"],
    )


def _found(values: Any) -> Found:
    label, box, score = values
    x1, y1, x2, y2 = map(float, box)
    return Found(str(label), (x1, y1, x2, y2), float(score))
