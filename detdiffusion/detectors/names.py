"""Class names: which of a detector's are which of a data set's, whatever way they are spelt; names beside weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from detdiffusion.detection import AnswersById, Detections, Detector
from detdiffusion.errors import DetectorError, why

# The same classes under the names of Pascal VOC, darknet and COCO; spaces and case are taken out before.
_ALIASES = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "tvmonitor": "tv",
    "television": "tv",
    "cellphone": "mobilephone",
    "hairdryer": "hairdrier",
}
_WEIGHTS = (".weights", ".pt", ".pth", ".safetensors")
_SHOWN = 8  # classes in a message
_NO_CLASS = ("__background__", "background", "N/A")


@dataclass(frozen=True, slots=True)
class NameMatch:
    """Which of a detector's classes are which of a data set's."""

    names: dict[str, str]  # the detector's -> the data set's, for those that are the same class
    unknown: tuple[str, ...]  # classes of the data set that the detector does not know
    unused: tuple[str, ...]  # classes of the detector that the data set does not have

    def lines(self, detector: str) -> list[str]:
        """For people: what was renamed, and what is left over on both sides."""
        renamed = [f"{theirs} -> {ours}" for theirs, ours in self.names.items() if theirs != ours]
        said = (
            (f"{len(renamed)} classes of {detector} have another name in the data", renamed),
            (f"{len(self.unused)} classes of {detector} are not in the data", self.unused),
        )
        return [f"note: {what}: {', '.join(names)}" for what, names in said if names]


def match_names(theirs: Sequence[str], ours: Sequence[str]) -> NameMatch:
    """A detector's classes against a data set's: by the very name, else whatever case, spaces, underscores and hyphens,
    else by the aliases of Pascal VOC and darknet ("motorbike" is "motorcycle")."""
    by_key: dict[str, str] = {}
    for label in ours:
        by_key.setdefault(_key(label), label)
    found = {label: label if label in ours else by_key.get(_key(label)) for label in theirs}
    names = {label: ours_ for label, ours_ in found.items() if ours_ is not None}
    unknown = tuple(label for label in ours if label not in names.values())
    return NameMatch(names, unknown, tuple(label for label in theirs if label not in names))


def remap_labels(detector: Detector, labels: Sequence[str]) -> tuple[Detector, NameMatch]:
    """The detector with its classes under a data set's names, and how they were matched. Classes that the data set does
    not have keep their names."""
    match = match_names(detector.labels, labels)
    if all(theirs == ours for theirs, ours in match.names.items()):
        return detector, match
    if isinstance(detector, AnswersById):
        return _RenamedById(detector, detector, match.names), match
    return _Renamed(detector, match.names), match


def check_knows(detector: Detector, labels: Sequence[str], whose: str) -> None:
    """DetectorError where a detector, already under the data's names, knows none of its classes: it would find nothing
    in any picture. whose: "the data", "the layouts"; without classes there is nothing to know."""
    if labels and not set(detector.labels) & set(labels):
        raise DetectorError(
            f"{detector.name} knows no class of {whose}: it knows {_listed(detector.labels)}, and {whose} have "
            f"{_listed(labels)}; give a detector of these classes"
        )


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return ", ".join(labels[:_SHOWN]) + more


class _Renamed:
    """A detector under a data set's class names."""

    def __init__(self, detector: Detector, names: dict[str, str]) -> None:
        self.name, self.sha256, self.min_score = detector.name, detector.sha256, detector.min_score
        self.labels = tuple(dict.fromkeys(names.get(label, label) for label in detector.labels))
        self._detector, self._names = detector, names

    def __getattr__(self, name: str) -> Any:
        """What only some detectors can do besides (`features`, `score`)."""
        found = getattr(self._detector, name)
        return partial(self._score, found) if name == "score" else found

    def _score(self, score: Any, images: Any, boxes: Any, labels: Sequence[Sequence[str]]) -> Any:
        """`score` of the detector, whose classes have its own names."""
        theirs = {ours: theirs for theirs, ours in self._names.items()}
        return score(images, boxes, [[theirs.get(label, label) for label in of_image] for of_image in labels])

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        return self._renamed(self._detector.detect(images))

    def _renamed(self, found: Sequence[Detections]) -> list[Detections]:
        names = self._names
        return [replace(one, labels=tuple(names.get(label, label) for label in one.labels)) for one in found]


class _RenamedById(_Renamed):
    """The same for one that answers by picture id."""

    def __init__(self, detector: Detector, by_id: AnswersById, names: dict[str, str]) -> None:
        super().__init__(detector, names)
        self.ids, self._by_id = by_id.ids, by_id

    def for_images(self, ids: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        return self._renamed(self._by_id.for_images(ids, sizes))


def names_beside(weights: Path) -> tuple[str, ...] | None:
    """Class names in a text file that is this weights file's, one a line; None without one. In this order: STEM.names,
    STEM.txt, a .names file that the weights' name begins with ("cups.names" of cups_best.weights), classes.txt; and
    another .names file where the folder holds no other weights that it could be of.

    Raises:
        DetectorError: it is not such a file.
    """
    exact = [weights.with_suffix(".names"), weights.with_suffix(".txt")]
    others = sorted(weights.parent.glob("*.names"))
    of_the_run = [path for path in others if re.match(re.escape(path.stem) + r"[_.-]", weights.name)]
    near = [*exact, *sorted(of_the_run, key=lambda path: -len(path.stem)), weights.with_name("classes.txt")]
    found = [path for path in near if path.is_file()]
    if not found and len(others) == 1 and not _other_weights(weights):
        found = others
    return read_names(found[0]) if found else None


def _other_weights(weights: Path) -> bool:
    return any(path.suffix in _WEIGHTS and path.name != weights.name for path in weights.parent.iterdir())


def read_names(path: Path) -> tuple[str, ...]:
    """Class names of a text file, one a line.

    Raises:
        DetectorError: it cannot be read, is empty, or names a class twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DetectorError(
            f"{path} cannot be read ({why(error)}); it needs to hold class names, one a line"
        ) from error
    names = tuple(line.strip() for line in lines if line.strip())
    twice = sorted({name for name in names if names.count(name) > 1 and name not in _NO_CLASS})
    if not names or twice:
        raise DetectorError(f"{path} needs class names, one a line, each once; {', '.join(twice) or 'it has none'}")
    return names


def is_class(name: str) -> bool:
    """False for the rows of a detector's class list that stand for no class."""
    return name not in _NO_CLASS


def _key(label: str) -> str:
    """What stays of a name when the ways of writing it are taken out."""
    plain = re.sub(r"[\s_-]+", "", label).casefold()
    return _ALIASES.get(plain, plain)
