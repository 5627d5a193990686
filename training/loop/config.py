"""`rounds` of a loop's config: how often it goes round, and what is asked for each time."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from detdiffusion.errors import ConfigError

WORDS = ("diagnose", "plan")


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
