"""What should be in an image and where: frozen values, checked at birth, with a public JSON form.

JSON form: `{"width": 256, "height": 256, "objects": [{"label": "car", "box": [x1, y1, x2, y2], "attribute": "easy"}]}`,
boxes in fractions of the image side, upper-left and lower-right corners; the attribute may be left out, and so may
"difficulty", a number from 0 (easy) to 1 (hard), which stands above it. "caption" may say in free words what kind of
scene it is, for models that know such words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from detdiffusion import bounds
from detdiffusion.errors import LayoutError, quoted

MAX_OBJECTS, MAX_PIXELS, MAX_CAPTION = bounds.LAYOUT_OBJECTS, bounds.LAYOUT_PIXELS, bounds.LAYOUT_CAPTION


class Attribute(StrEnum):
    """How a detector sees an object: it finds it, it misses it, or it cannot know its class."""

    EASY = "easy"
    HARD = "hard"
    BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Box:
    """One object. LayoutError unless `0 <= x1 < x2 <= 1`, the same for y, the label is a non-empty name, the attribute
    is an `Attribute` or None, and the difficulty a number from 0 to 1 or None."""

    label: str
    xyxy: tuple[float, float, float, float]  # fractions of the image side
    attribute: Attribute | None = None  # None: the model's vocabulary decides (things easy, stuff background)
    difficulty: float | None = None  # from easy, 0, to hard, 1: how hard it should be to detect; None: as the attribute

    def __post_init__(self) -> None:
        if not _is_name(self.label):
            raise LayoutError(f"label {quoted(self.label)} {_NEEDS_NAME}")
        problem = _box_problem(self.xyxy)
        if problem:
            raise LayoutError(f"{self.label}: {problem}")
        if not _is_attribute(self.attribute):
            raise LayoutError(f"{self.label}: attribute {quoted(self.attribute)} needs to be one of Attribute, or None")
        if problem := _difficulty_problem(self.difficulty):
            raise LayoutError(f"{self.label}: {problem}")

    @property
    def area(self) -> float:
        """Share of the picture that the box covers."""
        x1, y1, x2, y2 = self.xyxy
        return (x2 - x1) * (y2 - y1)

    def mirrored(self) -> Box:
        """The object in the mirrored image, left to right."""
        x1, y1, x2, y2 = self.xyxy
        return replace(self, xyxy=(1 - x2, y1, 1 - x1, y2))


@dataclass(frozen=True, slots=True)
class Layout:
    """Size of a picture in pixels, its 1 to 100 objects, and what kind of scene it is in free words (or nothing).
    LayoutError with one problem for each fault."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    caption: str = ""

    def __post_init__(self) -> None:
        problems = [*_size_problems(self.width, self.height), *_boxes_problems(self.boxes)]
        problems += _caption_problems(self.caption)
        if problems:
            raise LayoutError(problems)

    @property
    def labels(self) -> tuple[str, ...]:
        """The class of every object, in their order."""
        return tuple(box.label for box in self.boxes)

    def mirrored(self) -> Layout:
        """The layout of the mirrored image, left to right."""
        return replace(self, boxes=tuple(box.mirrored() for box in self.boxes))

    @classmethod
    def from_json(cls, data: str | bytes | Mapping[str, Any]) -> Layout:
        """Layout of its public JSON form, as text or parsed.

        Raises:
            LayoutError: it is not JSON or not a layout; all faults at once, those of objects as "object 3 (car): ...".
        """
        values = parse_object(data)
        problems = [f"{key} is missing" for key in ("width", "height", "objects") if key not in values]
        if problems:
            raise LayoutError(problems)
        objects = values["objects"]
        if not isinstance(objects, Sequence) or isinstance(objects, str):
            raise LayoutError(f"objects needs to be a list, got {type(objects).__name__}")
        problems = [*_size_problems(values["width"], values["height"]), *_count_problems(len(objects))]
        caption = values.get("caption") or ""
        problems += _caption_problems(caption)
        boxes = []
        for number, item in enumerate(objects[:MAX_OBJECTS], start=1):
            try:
                boxes.append(_box_from_json(item))
            except LayoutError as error:
                problems += [f"object {number} ({_name(item)}): {problem}" for problem in error.problems]
        if problems:
            raise LayoutError(problems)
        return cls(values["width"], values["height"], tuple(boxes), " ".join(caption.split()))

    def to_json(self) -> dict[str, Any]:
        """The public JSON form; `from_json` is its inverse."""
        objects = [_box_to_json(box) for box in self.boxes]
        words = {"caption": self.caption} if self.caption else {}
        return {"width": self.width, "height": self.height, "objects": objects, **words}

    def with_attributes(self, attributes: Sequence[Attribute]) -> Layout:
        """The same objects with these attributes, one an object. LayoutError if there are more or fewer."""
        if len(attributes) != len(self.boxes):
            raise LayoutError(f"{len(attributes)} attributes for {len(self.boxes)} objects: give one an object")
        pairs = zip(self.boxes, attributes, strict=True)
        return replace(self, boxes=tuple(replace(box, attribute=attribute) for box, attribute in pairs))


@dataclass(frozen=True, slots=True)
class EmptyLayout(Layout):
    """Of a picture of nothing: detectors learn from such pictures, and none can be drawn. LayoutError as `Layout`, or
    if there is an object after all."""

    def __post_init__(self) -> None:
        problems = _size_problems(self.width, self.height)
        problems += [f"{len(self.boxes)} objects in an image of nothing"] if self.boxes else []
        if problems:
            raise LayoutError(problems)


def parse_object(data: object) -> dict[str, Any]:
    """A JSON object, of text or parsed already. LayoutError: it is none."""
    try:
        values = json.loads(data) if isinstance(data, str | bytes) else data
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"this is not JSON: {error}") from error
    if not isinstance(values, Mapping):
        raise LayoutError(f"a layout needs to be a JSON object, got {type(values).__name__}")
    return dict(values)


_NEEDS_NAME = f"needs to be a class name of at most {bounds.CLASS_NAME} characters"


def _is_name(label: object) -> bool:
    return isinstance(label, str) and bool(label.strip()) and len(label) <= bounds.CLASS_NAME


def _box_from_json(item: object) -> Box:
    if not isinstance(item, Mapping):
        raise LayoutError('needs to be an object like {"label": "car", "box": [0.1, 0.1, 0.5, 0.5]}')
    problems = []
    label, corners, name, difficulty = (item.get(key) for key in ("label", "box", "attribute", "difficulty"))
    if not _is_name(label):
        problems.append(f"label {_NEEDS_NAME}")
    problems += [problem] if (problem := _box_problem(corners)) else []
    if name is not None and name not in tuple(Attribute):
        problems.append(f"attribute {quoted(name)} needs to be easy, hard or background")
    problems += [problem] if (problem := _difficulty_problem(difficulty)) else []
    if problems:
        raise LayoutError(problems)
    x1, y1, x2, y2 = (float(value) for value in corners)  # type: ignore[union-attr]  # _box_problem checked it
    attribute = None if name is None else Attribute(name)
    return Box(str(label), (x1, y1, x2, y2), attribute, None if difficulty is None else float(difficulty))


def _box_to_json(box: Box) -> dict[str, Any]:
    item: dict[str, Any] = {"label": box.label, "box": list(box.xyxy)}
    if box.attribute is not None:
        item["attribute"] = box.attribute.value
    return item if box.difficulty is None else {**item, "difficulty": box.difficulty}


def _box_problem(corners: object) -> str | None:
    """What is wrong with four corner coordinates, in one line; None if nothing is."""
    if not isinstance(corners, Sequence) or isinstance(corners, str) or len(corners) != 4:
        return f"box {quoted(corners)} needs four numbers: x1, y1, x2, y2"
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in corners):
        return f"box {quoted(list(corners))} needs four numbers: x1, y1, x2, y2"
    x1, y1, x2, y2 = map(_float, corners)
    shown = f"[{x1:g}, {y1:g}, {x2:g}, {y2:g}]"
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        return f"box {shown} holds a number that is not finite"
    if x1 == x2 or y1 == y2:
        return f"box {shown} is empty: it needs x1 < x2 and y1 < y2"
    if x1 > x2 or y1 > y2:
        return f"box {shown} is inverted: it needs x1 < x2 and y1 < y2"
    if not (x1 >= 0 and y1 >= 0 and x2 <= 1 and y2 <= 1):
        return f"box {shown} is outside the image: it needs fractions from 0 to 1"
    return None


def _difficulty_problem(value: object) -> str | None:
    """None stands for none."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return None if value is None or known else f"difficulty {quoted(value)} needs to be a number from 0 to 1"


def _float(value: int | float) -> float:
    """Whole numbers that no float holds are infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _size_problems(width: object, height: object) -> list[str]:
    sides = (("width", width), ("height", height))
    wrong = [(name, side) for name, side in sides if type(side) is not int or side <= 0]
    if wrong:
        return [f"{name} {quoted(side)} needs to be a positive whole number" for name, side in wrong]
    pixels = math.prod(side for _, side in sides if isinstance(side, int))
    shown = "x".join(map(quoted, (width, height)))
    return [f"{shown} pixels; at most {MAX_PIXELS:,} are possible"] if pixels > MAX_PIXELS else []


def _caption_problems(caption: object) -> list[str]:
    if not isinstance(caption, str):
        return [f"caption {quoted(caption)} needs to be text"]
    return [f"the caption has {len(caption)} characters; at most {MAX_CAPTION}"] if len(caption) > MAX_CAPTION else []


def _is_attribute(value: object) -> bool:
    """Plain text is none: it equals an attribute, and is not the same."""
    return value is None or isinstance(value, Attribute)


def _boxes_problems(boxes: object) -> list[str]:
    if not isinstance(boxes, Sequence) or not all(isinstance(box, Box) for box in boxes):
        return [f"boxes needs to be a tuple of Box, not {quoted(boxes)}"]
    return _count_problems(len(boxes))


def _count_problems(count: int) -> list[str]:
    if count == 0:
        return ["the layout has no objects; it needs at least 1"]
    return [f"the layout has {count} objects; at most {MAX_OBJECTS} are possible"] if count > MAX_OBJECTS else []


def _name(item: object) -> str:
    label = item.get("label") if isinstance(item, Mapping) else None
    return label[:50] if isinstance(label, str) and label.strip() else "no label"
