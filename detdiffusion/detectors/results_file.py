"""What another framework's detector found (mmdetection, detectron2, ...): a COCO results file in a detector's place.

Two forms: the list that COCO's tools write, `[{"image_id", "category_id", "bbox": [x, y, w, h], "score"}]`, whose
category ids mean what an annotation file of the data set says; or an object that holds this list as "annotations" and
brings its own "categories" (`[{"id", "name"}]`).
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detdiffusion.core.files import file_hash
from detdiffusion.core.json_stream import BARE_LIST, elements
from detdiffusion.detection import Detections
from detdiffusion.detectors.folder import MIN_SCORE
from detdiffusion.errors import DataError, DetectorError

_MAX_DETECTIONS = 100  # a picture, as the detectors that look at pictures themselves
_ROWS = "annotations"


class ResultsFile:
    """Detections by picture id, behind the `Detector` protocol; new pictures it cannot look at.

    labels: the file's own "categories"; without them, the classes that are detected at least once, for what the other
    detector could know besides is then not said: objects of a class that it never names are background, not hard.
    """

    min_score = MIN_SCORE

    def __init__(self, path: Path, annotations: Path | None) -> None:
        rows = _Rows(path)
        names = rows.names or (_categories(annotations) if annotations is not None else {})
        lacking = [key for key in rows.categories if key not in names]
        if lacking:
            where = annotations if annotations is not None and not rows.names else path
            raise DetectorError(
                f"{path}: {where} names no category {', '.join(lacking[:5])}; results need the category ids of the "
                'annotation file of the data set, or "categories" of their own beside "annotations"'
            )
        self.name, self.sha256 = path.stem, file_hash(path)
        used = [names[key] for key in rows.categories]
        self.labels = tuple(dict.fromkeys(rows.names.values() or (name for name in names.values() if name in used)))
        self._names, self._rows = used, rows

    @property
    def settings(self) -> dict[str, Any]:
        """What decides what it says, beside its bytes."""
        return {"version": "COCO results", "thresholds": {"max_detections": _MAX_DETECTIONS}}

    @property
    def ids(self) -> frozenset[str]:
        """The pictures in which something is detected."""
        return frozenset(self._rows.pictures)

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        """DetectorError: there is no detector here that could look."""
        raise DetectorError(
            f"{self.name} is a file of results: it knows the images of its data set by their ids, and cannot look at "
            "new ones; give a detector that can (a folder, a .pt file, ARCHITECTURE=WEIGHTS)"
        )

    def for_images(self, ids: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """At most 100 detections a picture; none where the file does not name it. `sizes`: width, height in pixels."""
        return [self._of(image_id, size) for image_id, size in zip(ids, sizes, strict=True)]

    def _of(self, image_id: str, size: tuple[int, int]) -> Detections:
        categories, scores, boxes_xywh_px = self._rows.of(image_id)
        corners = np.concatenate([boxes_xywh_px[:, :2], boxes_xywh_px[:, :2] + boxes_xywh_px[:, 2:]], axis=1)
        boxes = np.clip(corners / np.array([*size, *size]), 0, 1)
        best = np.argsort(-scores, kind="stable")[:_MAX_DETECTIONS]
        return Detections(tuple(self._names[i] for i in categories[best]), scores[best], boxes[best])


class _Rows:
    """The detections of a file as arrays, sorted by picture: 28 bytes each, whatever their number.

    names: category id -> name, where the file says it. categories: ids in the order in which they are first used.
    """

    def __init__(self, path: Path) -> None:
        self.names: dict[str, str] = {}
        self.categories: dict[str, int] = {}
        self.pictures: dict[str, int] = {}
        where, which, numbers = array("i"), array("i"), array("f")
        try:
            for number, (key, item) in enumerate(elements(path, (BARE_LIST, _ROWS, "categories")), start=1):
                if key == "categories":
                    self.names |= _category(item, path)
                else:
                    picture, category, row = _row(item, number, path)
                    where.append(self.pictures.setdefault(picture, len(self.pictures)))
                    which.append(self.categories.setdefault(category, len(self.categories)))
                    numbers.extend(row)
        except DataError as error:
            raise DetectorError(str(error)) from error
        if not where:
            raise DetectorError(f"{path} holds no detections; {_NEEDED}")
        pictures = np.frombuffer(where, np.int32)
        order = np.argsort(pictures, kind="stable")
        self._starts = np.searchsorted(pictures[order], np.arange(len(self.pictures) + 1))
        self._categories = np.frombuffer(which, np.int32)[order]
        self._numbers = np.frombuffer(numbers, np.float32).reshape(-1, 5)[order]  # [N, 5]: x, y, w, h, score

    def of(self, image_id: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Categories [n] (places in `categories`), scores [n] and boxes [n, 4] (x, y, w, h in pixels) of a picture."""
        picture = self.pictures.get(image_id)
        rows = slice(0, 0) if picture is None else slice(self._starts[picture], self._starts[picture + 1])
        return self._categories[rows], self._numbers[rows, 4], self._numbers[rows, :4]


_NEEDED = 'a COCO results file is a list of {"image_id", "category_id", "bbox": [x, y, w, h], "score"}'


def load_results(path: Path, annotations: Path | None = None) -> ResultsFile:
    """A COCO results file in a detector's place.

    Args:
        annotations: a COCO annotation file of the data set, for the names of the category ids; not needed where the
            results bring their own "categories".

    Raises:
        DetectorError: missing, not of this form, or with category ids that nothing names.
    """
    return ResultsFile(path, annotations)


def _categories(annotations: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    try:
        for _, item in elements(annotations, ("categories",)):
            names |= _category(item, annotations)
    except DataError as error:
        raise DetectorError(str(error)) from error
    return names


def _category(item: object, path: Path) -> dict[str, str]:
    values = item if isinstance(item, Mapping) else {}
    key, name = _key(values.get("id")), values.get("name")
    if key is None or not isinstance(name, str) or not name.strip():
        raise DetectorError(f"{path}: a category needs an id and a name, got {str(item)[:80]}")
    return {key: name.strip()}


def _row(item: object, number: int, path: Path) -> tuple[str, str, list[float]]:
    """Picture id, category id, and x, y, w, h in pixels with the score."""
    values: Mapping[str, Any] = item if isinstance(item, Mapping) else {}
    picture, category = _key(values.get("image_id")), _key(values.get("category_id"))
    box, score = values.get("bbox"), values.get("score")
    row = [*box, score] if isinstance(box, list) else []
    if picture is None or category is None or len(row) != 5 or not all(_is_number(value) for value in row):
        raise DetectorError(f"{path}: entry {number} is {str(item)[:80]}; {_NEEDED}")
    if row[2] < 0 or row[3] < 0 or not 0 <= row[4] <= 1:
        raise DetectorError(
            f"{path}: entry {number} has box {box} and score {score}: need w, h >= 0 and 0 <= score <= 1"
        )
    return picture, category, [float(value) for value in row]


def _is_number(value: object) -> bool:
    """Whole numbers beyond all floats are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _key(value: object) -> str | None:
    """Ids are whole numbers or names; 7 and "7" are the same."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None
