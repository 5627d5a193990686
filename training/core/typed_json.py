"""Frozen dataclasses <-> JSON, by pydantic: what a file lacks is named; NaN, for which JSON has no word, is null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    WrapSerializer,
)

from detdiffusion.errors import DataError

DIGITS = 6  # of a measured number in a file

T = TypeVar("T")


def _nan_for_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _nan_for_null(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_nan_for_null(item) for item in value]
    return math.nan if value is None else value


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else round(value, DIGITS)


def _serialize(value: Any, handler: SerializerFunctionWrapHandler) -> Any:
    return _rounded(handler(value))


MEASURED = (BeforeValidator(_nan_for_null), WrapSerializer(_serialize))
"""Marks a field, as in `Annotated[Estimate, *MEASURED]`: in the file its numbers are rounded, and null for NaN."""


def formerly(old: str, new: str) -> Any:
    """Marks the field `new`, which files of version 0.1 call `old`: both are read, `new` is written."""
    return Field(validation_alias=AliasChoices(new, old))


left_out = Field(exclude_if=lambda value: value is None)
"""Marks a field that a file does not name where it is None: files of before the field stay as they are."""

Number = Annotated[float, *MEASURED]


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_json(value: Any) -> dict[str, Any]:
    """A dataclass as JSON values, fields in their order."""
    kind: Any = type(value)
    tree: dict[str, Any] = _adapter(kind).dump_python(value, mode="json")
    return tree


def from_json(kind: type[T], values: Any, what: str) -> T:
    """JSON values as a dataclass; names that it does not have are passed over.

    Raises:
        DataError: a field is missing or holds something else; `what` (a report, a table) and the field are named.
    """
    try:
        hashable: Any = kind
        value: T = _adapter(hashable).validate_python(values)
    except ValidationError as error:
        raise DataError(f"{what}: {_fault(error)}") from error
    return value


def _fault(error: ValidationError) -> str:
    """The first fault: `systems[0].views[1].scores.yolo11n.AP50 is missing`."""
    fault = error.errors()[0]
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault["loc"])
    place = "".join(steps).removeprefix(".") or "the whole"
    return f"{place} is missing" if fault["type"] == "missing" else f"{place}: {fault['msg']}"
