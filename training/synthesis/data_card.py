"""The card of a generated data set: what was asked of how many objects, and what the detector sees of them.

The supplement's Table 6 counts the same: objects easy and hard by class, on real pictures and on generated ones.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml  # type: ignore[import-untyped]

from training.core.chunks import Row

ALL = "all"
FOUND = 0.5  # confidence from which a detector has found an object
_COLUMNS = ("objects", "easy before", "hard before", "asked easy", "asked hard", "found", "missed", "confidence")


@dataclass(slots=True)
class Counts:
    """Of the objects of one class."""

    objects: int = 0
    true: dict[str, int] = field(default_factory=lambda: {"easy": 0, "hard": 0})  # on the real pictures
    asked: dict[str, int] = field(default_factory=lambda: {"easy": 0, "hard": 0})
    found: int = 0
    missed: int = 0
    confidence: float = 0.0  # of all that the detector can judge, added up

    def add(self, asked: str, true: str | None, confidence: float | None) -> None:
        """Counts an object: the attribute asked for, the one in the source, and what the detector then said."""
        self.objects += 1
        for counts, attribute in ((self.asked, asked), (self.true, true)):
            if attribute in counts:
                counts[attribute] += 1
        if confidence is not None:
            self.found += confidence >= FOUND
            self.missed += confidence < FOUND
            self.confidence += confidence

    def to_json(self) -> dict[str, Any]:
        """Attributes before and after, and the mean confidence."""
        judged = self.found + self.missed
        mean = round(self.confidence / judged, 4) if judged else None
        after = {"easy": self.found, "hard": self.missed}
        about = {"objects": self.objects, "before": self.true, "asked": self.asked, "after": after}
        return {**about, "mean_confidence": mean}


@dataclass(frozen=True, slots=True)
class Card:
    """Counts by class of things, and of all of them."""

    pictures: int
    classes: Mapping[str, Counts]
    fates: Mapping[str, Mapping[str, int]]  # asked attribute -> by whom objects were found -> how many
    redrawn: int  # pictures that stayed from a second or third attempt
    snapped: int  # boxes that moved to a detection
    refused: Mapping[str, int] = field(default_factory=dict)  # reason -> images that are not in the annotations

    @classmethod
    def of(cls, rows: Iterable[Row], things: Sequence[str]) -> Card:
        """Counted from the rows of all images; of those that were refused, the reasons alone."""
        pictures, redrawn, moved, classes = 0, 0, 0, defaultdict[str, Counts](Counts)
        fates, refused = defaultdict[str, Counter[str]](Counter), Counter[str]()
        for row in rows:
            if row.get("refused"):
                refused.update({one["reason"] for one in row["refused"]})
                continue
            pictures, redrawn = pictures + 1, redrawn + (row.get("attempt", 0) > 0)
            moved += sum(box is not None for box in row.get("box", ()))
            for item, fate in zip(row["layout"]["objects"], row.get("fate", ()), strict=False):
                if item["label"] in things:
                    fates[item["attribute"]][fate] += 1
            for item, true, confidence in zip(row["layout"]["objects"], row["true"], row["confidence"], strict=True):
                if item["label"] in things:
                    for name in (item["label"], ALL):
                        classes[name].add(str(item.get("attribute")), true, confidence)
        order = [name for name in (*things, ALL) if name in classes]
        counted = {attribute: dict(sorted(counts.items())) for attribute, counts in sorted(fates.items())}
        return cls(pictures, {name: classes[name] for name in order}, counted, redrawn, moved, dict(refused))

    def to_json(self) -> dict[str, Any]:
        """All counts, by class."""
        about = {"pictures": self.pictures, "fates": self.fates, "redrawn": self.redrawn, "snapped": self.snapped}
        about |= {"refused": dict(sorted(self.refused.items()))} if self.refused else {}
        return {**about, "classes": {name: counts.to_json() for name, counts in self.classes.items()}}

    def lines(self) -> list[str]:
        """A table for people."""
        width = max([5, *map(len, self.classes)])
        head = f"{'class':{width}}" + "".join(f"{name:>13}" for name in _COLUMNS)
        table = [f"{name:{width}}" + "".join(f"{cell:>13}" for cell in cells) for name, cells in self._cells()]
        return [head, *table, *self._refinement()]

    def text(self, name: str, settings: Mapping[str, Any], metadata: str | None = None) -> str:
        """README.md of the data set, with the header that Hugging Face's cards have.

        Args:
            metadata: file of `imagefolder`, where there is one.
        """
        rows = "\n".join(f"| {name} | " + " | ".join(cells) + " |" for name, cells in self._cells())
        head = "| class | " + " | ".join(_COLUMNS) + " |\n|---|" + "---:|" * len(_COLUMNS)
        about = "\n".join(f"| {name} | `{value}` |" for name, value in settings.items() if name != "classes")
        refined = "".join(f"\n* {line}" for line in self._refinement())
        return self._header(name, metadata) + _README.format(
            pictures=self.pictures, about=about, table=f"{head}\n{rows}", refined=refined
        )

    def _header(self, name: str, metadata: str | None) -> str:
        size = next((words for most, words in _SIZES if self.pictures < most), _LARGEST)
        about: dict[str, Any] = {
            "pretty_name": name,
            "task_categories": ["object-detection"],
            "size_categories": [size],
        }
        about |= {"annotations_creators": ["machine-generated"], "tags": ["synthetic"]}
        if metadata is not None:
            files = {"split": "train", "path": [metadata, "images/**/*.png"]}
            about["configs"] = [{"config_name": "default", "data_files": [files]}]
        return f"---\n{yaml.safe_dump(about, sort_keys=False)}---\n\n"

    def _refinement(self) -> list[str]:
        """What became of the objects, where somebody looked whether they are there."""
        lines = []
        for attribute, counts in self.fates.items():
            shown = ", ".join(f"{_FATES[fate]} {number:,}" for fate, number in counts.items())
            lines.append(f"asked to be {attribute}: {shown}")
        extra = [
            f"{number:,} {what}" for number, what in ((self.redrawn, _REDRAWN), (self.snapped, _SNAPPED)) if number
        ]
        for reason, number in sorted(self.refused.items()):
            extra.append(f"{number:,} images refused: {_REASONS[reason]}")
        return lines + extra

    def _cells(self) -> list[tuple[str, list[str]]]:
        rows = []
        for name, counts in self.classes.items():
            shown = counts.to_json()
            numbers = [
                shown["objects"],
                *(shown[when][attribute] for when in ("before", "asked", "after") for attribute in ("easy", "hard")),
            ]
            mean = shown["mean_confidence"]
            rows.append((name, [*(f"{number:,}" for number in numbers), "-" if mean is None else f"{mean:.3f}"]))
        return rows


_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST = "1M<n<10M"
_README = """# A generated data set

{pictures} images, generated by DetDiffusion: none of them is a photograph. `annotations.json` is COCO;
`manifest.json` holds all that the images depend on.

| setting | |
|---|---|
{about}

## What was asked, and what the detector sees

*Before*: attributes on the real images of these layouts, where they are known. *Asked*: of the generator. *Found*,
*missed*: by the detector on the generated images (confidence of 0.5 and up).

{table}
{refined}
"""
_FATES = {
    "detector": "found by the detector",
    "weak": "suspected by it",
    "mask": "seen by the perception head alone",
    "second": "found by the second detector alone",
    "unchecked": "not checked",
    "gone": "not there, and dropped",
}
_REASONS = {
    "absent": "most of their things are absent",
    "wrong class": "a thing looks like another class",
    "extra": "a thing is there that nobody asked for",
    "copy": "near copies of an original",
}
_REDRAWN = "images are a second or third attempt"
_SNAPPED = "boxes moved to a detection"
