"""The config of one of the detectors that `bundle` trains."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Little change of colour: an odd colour must stay odd.
_AUGMENTATION = {"mosaic": 0.3, "close_mosaic": 4, "hsv_h": 0.01, "hsv_s": 0.2, "hsv_v": 0.2}


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """One detector, trained from scratch by ultralytics on Papercut scenes."""

    architecture: str  # a built-in model of ultralytics, by name
    scenes: int
    first_scene: int
    hard_share: float  # share of objects made naturally difficult
    epochs: int
    alone_scenes: int = 0  # more of them for every cause of difficulty, which is then that of all their objects
    start: str = ""  # detector folder to begin as; empty: from nothing
    centred: bool = False  # scores are moved so that 0.5 has the best F1 on the validation scenes
    image_size: int = 160
    batch: int = 32
    seed: int = 0
    validation_scenes: int = 200
    augmentation: Mapping[str, Any] = field(default_factory=lambda: dict(_AUGMENTATION))  # of ultralytics
