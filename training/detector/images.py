"""Which images a detector learns from, and which it is measured on: known without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from training.data.datasets import Sample


class Samples(Protocol):
    """A data set, or several as one."""

    @property
    def things(self) -> tuple[str, ...]:
        """Classes that the detector learns."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of what is learned from."""
        ...

    def __getitem__(self, place: int) -> Sample: ...


@dataclass(frozen=True, slots=True)
class SplitImages:
    """Places in a data set: of the images to learn from (one may stand there more than once), and of those to measure
    on."""

    dataset: Samples
    learned: Sequence[int]
    held_out: Sequence[int]
