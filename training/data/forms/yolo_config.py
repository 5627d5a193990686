"""The files that name a YOLO data set's classes and splits: ultralytics' YAML, darknet's obj.data, lists of names.

Their `download:` is never looked at, and nothing in them makes objects: every value is text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from detdiffusion.bounds import CLASS_NAME, CLASSES
from detdiffusion.core.files import one_line
from detdiffusion.core.yaml_files import BoundedLoader, load_yaml
from detdiffusion.errors import DataError, quoted
from training.data.forms.common import read_lines
from training.data.images import is_file

SPLITS = ("train", "val", "valid", "test")  # keys of a config
YAML, DARKNET = (".yaml", ".yml"), ".data"


class _Text(BoundedLoader):
    """Plain words are text: YAML 1.1 reads yes as true, 0 as a number, 1e3 as text and 2024-01-01 as a day."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the name and the form are PyYAML's
        first: [(tag, pattern) for tag, pattern in found if tag.endswith((":null", ":merge"))]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True, slots=True)
class YoloConfig:
    """What a config says. places: by split, as they stand there; key_points: numbers in a row; base: `path`."""

    file: Path
    names: Mapping[int, str]
    places: Mapping[str, tuple[str, ...]]
    base: str = ""
    key_points: int | None = None
    remarks: tuple[str, ...] = ()


def read_config(path: Path) -> YoloConfig:
    """Of YAML or obj.data.

    Raises:
        DataError: it is no such file, or does not name the classes.
    """
    values = _darknet(path) if path.suffix.lower() == DARKNET else _yaml(path)
    given = values.get("names")
    if isinstance(given, str) and is_file(path.parent / Path(given).name):
        names = read_names(path.parent / Path(given).name)
    else:
        names = _names(path, given)
    count = values.get("nc", values.get("classes"))
    remarks = []
    if isinstance(count, str) and count.strip() != str(len(names)):
        remarks.append(f"{path.name}: nc is {count.strip()[:20]}, the classes that are named are {len(names)}")
    twice = [name for name, uses in Counter(filter(None, names.values())).items() if uses > 1]
    remarks += [f"{path.name}: class {name} is named more than once, and read as one" for name in twice]
    places = {key: _entries(values[key]) for key in SPLITS if values.get(key)}
    base = values.get("path")
    return YoloConfig(
        path, names, places, base if isinstance(base, str) else "", _key_points(path, values), tuple(remarks)
    )


def looks_like_config(path: Path) -> bool:
    """Whether a YAML file of any name names classes."""
    try:
        return bool(_yaml(path).get("names"))
    except DataError:
        return False


def read_names(path: Path) -> dict[int, str]:
    """The classes of a list, one a line; blank lines at its end are none.

    Raises:
        DataError: it cannot be read, or it is too long.
    """
    lines = read_lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    return _names(path, lines)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        values = load_yaml("\n".join(read_lines(path)), _Text)
    except ValueError as error:
        raise DataError(f"{path}: not a YAML file: {one_line(error)}") from error
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def _darknet(path: Path) -> dict[str, Any]:
    pairs = (line.partition("=") for line in read_lines(path))
    return {key.strip(): value.strip() for key, equals, value in pairs if equals and not key.startswith("#")}


def _names(path: Path, given: object) -> dict[int, str]:
    """By number, from a list, or from a mapping whose keys are numbers."""
    if isinstance(given, list):
        given = dict(enumerate(given))
    numbers = re.compile(r"\d{1,9}")
    if not isinstance(given, dict) or not given or not all(numbers.fullmatch(str(number)) for number in given):
        raise DataError(f"{path}: it needs `names`, the list of the classes: names: [cat, dog], or one a line")
    names = {int(number): "" if name is None else name for number, name in given.items()}
    if len(names) > CLASSES or max(names) >= CLASSES:
        raise DataError(f"{path}: it names class {max(names)}; at most {CLASSES:,} classes can be read")
    for number, name in names.items():
        if not isinstance(name, str) or len(name) > CLASS_NAME:
            raise DataError(f"{path}: the name of class {number} is no text of at most {CLASS_NAME} characters")
    return names


def _entries(value: object) -> tuple[str, ...]:
    return tuple(str(one) for one in value if one) if isinstance(value, list) else (str(value),)


def _key_points(path: Path, values: Mapping[str, Any]) -> int | None:
    """How many numbers the key points of a row are: kpt_shape is [points, numbers of each]."""
    shape = values.get("kpt_shape")
    if not shape:
        return None
    if not isinstance(shape, list) or not all(re.fullmatch(r"\d{1,4}", str(side)) for side in shape) or len(shape) != 2:
        raise DataError(f"{path}: kpt_shape {quoted(shape)} needs to be [points, 2] or [points, 3]")
    return math.prod(map(int, shape))
