"""The errors of the project. Every message says what was got, what is needed and, where it can, what to do."""

from __future__ import annotations

from collections.abc import Sequence


class DetDiffusionError(Exception):
    """Everything that a user can put right; the edges (commands, pages) show its text and nothing else."""


class LayoutError(DetDiffusionError):
    """A layout, or a box of it, that cannot be used. `problems` holds one message for each fault."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("; ".join(self.problems))


class CheckpointError(DetDiffusionError):
    """A model folder that is missing, damaged, unsafe or of another architecture."""


class DetectorError(DetDiffusionError):
    """A detector that cannot be loaded, trained or used."""


class DataError(DetDiffusionError):
    """A data set that is missing, damaged or of another form."""


class ConfigError(DetDiffusionError):
    """A setting that is out of range, or that does not fit the others."""


class Cancelled(DetDiffusionError):
    """The user stopped the work; raised inside a callback, it ends the work cleanly."""
