"""The detector that comes with a model folder, or the one that takes its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from detdiffusion.detection import Detections, Detector
from detdiffusion.detectors import BUNDLED, load_detector, own_detectors
from detdiffusion.text.vocabulary import Vocabulary

NOTHING = Detections((), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))


@dataclass(frozen=True, slots=True)
class NoDetector:
    """Stands in for a detector where none knows a class of the model: it knows nothing and finds nothing."""

    name: str = "no detector"
    sha256: str = ""
    labels: tuple[str, ...] = ()
    min_score: float = 0.5

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        """Nothing, in every image."""
        return [NOTHING] * len(images)


class OwnDetectors:
    """Which detector a model folder comes with.

    Args:
        home: model folder that the studio started with.
        bundled: model folder whose detector is used where neither a model nor `home` brings its own.
    """

    def __init__(self, home: Path, bundled: Path) -> None:
        self.home, self.bundled = home, bundled

    def of(self, folder: Path, vocabulary: Vocabulary) -> Detector:
        """The folder's own detector, or that of `home`; `NoDetector` where it knows none of the model's classes.

        Raises:
            DetectorError: it is damaged.
        """
        own = folder != self.home and has_detector(folder)
        detector = load_detector(BUNDLED, folder) if own else self._at_home
        return detector if set(detector.labels) & set(vocabulary.labels) else NoDetector()

    @cached_property
    def _at_home(self) -> Detector:
        owner = next((folder for folder in (self.home, self.bundled) if has_detector(folder)), None)
        return NoDetector() if owner is None else load_detector(BUNDLED, owner)


def has_detector(folder: Path) -> bool:
    """Whether a model folder brings a detector of its own."""
    return BUNDLED in own_detectors(folder)
