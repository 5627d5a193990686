"""What a loop may end with, by its config: `rounds`, how often it goes round and what is asked for each time; or
`studio`, a model folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from detdiffusion.errors import ConfigError, quoted

WORDS = ("diagnose", "plan")
DETECTORS = ("detector", "held_out")


@dataclass(frozen=True, slots=True)
class Rounds:
    """most: rounds, at most; images: that are asked for in each. diagnosed: the split that detectors are diagnosed on,
    or the share of the images to learn from that is set aside for it. `diagnose`, `plan`: further arguments of these
    verbs.

    Raises:
        ConfigError: a value is out of range, or of another kind.
    """

    most: int = 3
    images: int = 400
    diagnosed: str | float = 0.2
    diagnose: str = ""
    plan: str = ""

    def __post_init__(self) -> None:
        for name in ("most", "images"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ConfigError(f"rounds: {name} {getattr(self, name)} needs to be a whole number of 1 or more")
        share = self.diagnosed
        if not isinstance(share, str) and not (type(share) is float and 0 < share < 1):
            raise ConfigError(f"rounds: diagnosed {share} needs to be a split, or a share above 0 and below 1")
        for name in WORDS:
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"rounds: {name} needs to be text, got {repr(getattr(self, name))[:50]}")
            try:
                shlex.split(getattr(self, name))
            except ValueError as error:
                raise ConfigError(f"rounds: {name} is no command line: {error}") from error

    @classmethod
    def of(cls, values: Any) -> Rounds:
        """Of what the file says; ConfigError for fields that there are not."""
        known = [one.name for one in fields(cls)]
        if not isinstance(values, Mapping) or not set(values) <= set(known):
            raise ConfigError(f"rounds may have {', '.join(known)}; got {repr(values)[:50]}")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class StudioModel:
    """A model folder for the studio, `out/NAME`, as the end of a loop in place of a table.

    detector, held_out, distill: further arguments of the verbs `detector` (twice) and `distill`; without `distill` the
    model is the generator itself. examples: files and folders of layouts. about: a file for the card.

    Raises:
        ConfigError: a value is of another kind, or what is needed is missing.
    """

    name: str = "model"
    detector: str = ""
    held_out: str = ""
    distill: str | None = None
    examples: tuple[str, ...] = ()
    about: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.name):
            raise ConfigError(f"studio: name {quoted(self.name)} needs to be the name of a folder")
        for name in DETECTORS:
            if not {"--arch", "--weights", "--config"} & set(_words(name, getattr(self, name))):
                raise ConfigError(f"studio: {name} needs an --arch (or --weights, or --config): which detector learns")
        if self.distill is not None:
            _words("distill", self.distill)

    @classmethod
    def of(cls, values: Any, beside: Callable[[object], str]) -> StudioModel:
        """Of what the file says; beside: a path of the file, from here. ConfigError for fields that there are not."""
        known = [one.name for one in fields(cls)]
        if not isinstance(values, Mapping) or not set(values) <= set(known):
            raise ConfigError(f"studio may have {', '.join(known)}; got {repr(values)[:50]}")
        examples, about = values.get("examples") or [], values.get("about")
        if not isinstance(examples, list) or not all(isinstance(one, str) for one in examples):
            raise ConfigError(f"studio: examples needs to be a list of files and folders, got {quoted(examples)}")
        here = {"examples": tuple(map(beside, examples)), "about": None if about is None else beside(about)}
        return cls(**{**values, **here})


def _words(name: str, text: object) -> list[str]:
    if not isinstance(text, str):
        raise ConfigError(f"studio: {name} needs to be text, got {quoted(text)}")
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"studio: {name} is no command line: {error}") from error
