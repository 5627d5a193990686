"""What a table of trainability is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.errors import ConfigError
from training.data.request import AS_IT_IS, Reading
from training.studies.config import TrainabilityConfig
from training.studies.trainability_rows import USUAL, Kind, Row, Wanted
from training.synthesis.pasting import MOST


@dataclass(frozen=True, slots=True)
class TrainabilityRequest:
    """What a table of trainability is asked for.

    data, split, val_split: the data set, what is learned of it, what is measured on. limit, subset_seed: how many of
    its images, and which. synthetic: folders of `generate`; also: those that every row learns from; share: of them
    among what is shown (None: by number); shares: how many of them for one real image, a row each. paste: objects that
    a pasted image gets, at most. diagnosis: a folder of `diagnose`. start: weights; from_nothing: rows without them,
    too. model: a generator of images that `synthetic` does not name, with these further arguments of `generate`. most:
    trainings now, at most.
    """

    config: TrainabilityConfig
    data: Path
    synthetic: Sequence[Path]
    detector: str
    out: Path
    seeds: Sequence[int]
    split: str | None
    val_split: str
    limit: int | None
    subset_seed: int
    share: float | None
    augment: bool
    val_attributes: Path | None
    start: Path | None
    most: int | None
    keep: bool
    device: str | None
    reading: Reading = AS_IT_IS
    negatives: bool = True
    rows: Sequence[Kind] = USUAL
    shares: Sequence[float] = ()
    paste: int = MOST
    diagnosis: Path | None = None
    also: Sequence[Path] = ()
    from_nothing: bool = False
    model: Path | None = None
    generate: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share < 1:
            raise ConfigError(f"--share {self.share} needs to be above 0 and below 1")
        if self.share is not None and self.shares:
            raise ConfigError("--share mixes what is shown, and --shares makes a row of each share: give one of them")
        if self.from_nothing and self.start is None:
            raise ConfigError("--from-nothing goes with --weights: without them every row starts from nothing")
        if self.generated and not self.synthetic and self.model is None:
            raise ConfigError(
                "rows of generated images need --model, which draws them, or --synthetic: folders of python -m training"
                " generate"
            )
        if self.generate and self.model is None:
            raise ConfigError("--generate says how --model draws images: give it, too")

    @property
    def generated(self) -> bool:
        """Whether there are rows of generated images."""
        return any(kind.value.startswith(Kind.GENERATED) for kind in self.rows)

    @property
    def wanted(self) -> Wanted:
        """The rows of the table."""
        return Wanted(self.rows, self.share, self.shares, (False, True) if self.both else (False,))

    @property
    def both(self) -> bool:
        """Whether there are rows from nothing and rows from weights."""
        return self.start is not None and (self.from_nothing or set(self.rows) == set(Kind))

    def weights(self, row: Row) -> Path | None:
        """What a row starts from; None: nothing."""
        return self.start if row.start or not self.both else None
