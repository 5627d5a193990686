"""What a page sends -> the form that a person filled."""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

Filled = TypeVar("Filled")


def read_form(kind: type[Filled], values: Sequence[Any]) -> Filled:
    """A form's dataclass from the values of its widgets, in the order of its fields.

    A widget that the page has not drawn yet (it is in a menu that was never opened, or hidden) may arrive as None,
    whatever it would show: it counts as untouched, so its field keeps its default ("" where it has none).
    """
    filled = {}
    for field, value in zip(fields(kind), values, strict=True):  # type: ignore[arg-type]
        if value is None:
            value = "" if field.default is MISSING else field.default
        filled[field.name] = value
    return kind(**filled)


def as_shown(widgets: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Values of widgets as a person sees them: one that the page has not drawn yet has the value it was made with."""
    return [widget.value if value is None else value for widget, value in zip(widgets, values, strict=True)]
