"""From which confidence on, and with how much overlap, an object counts as found: to be changed in a result."""

from dataclasses import dataclass, replace

from app.engine.generation import Look, Result
from detdiffusion.errors import ConfigError
from detdiffusion.evaluation.comparison import MIN_IOU, object_confidences

OWN = 0.0  # in place of a confidence: each detector's own limit


@dataclass(frozen=True, slots=True)
class Thresholds:
    """confidence: OWN, or above 0 to 1. iou: of a detection with the object's box, above 0 to 1.

    Raises:
        ConfigError: one is out of range.
    """

    confidence: float = OWN
    iou: float = MIN_IOU

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1 or not 0 < self.iou <= 1:
            raise ConfigError(f"thresholds need to be from 0 to 1: confidence is {self.confidence:g}, IoU {self.iou:g}")

    def read(self, result: Result) -> Result:
        """The result as these thresholds read what its detectors saw."""
        return replace(result, looks=tuple(self._look(result, look) for look in result.looks))

    def _look(self, result: Result, look: Look) -> Look:
        known = () if result.flagged else look.detector.labels
        confidences = object_confidences(result.layout, look.detections, self.iou, known)
        return replace(look, confidences=confidences, min_score=self.confidence or None)
