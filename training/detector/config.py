"""The settings of a training of a torchvision detector: known without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from detdiffusion.detectors.architectures import SSD, check_architecture
from detdiffusion.errors import ConfigError

_SSD_STRIDE = 512  # pixels of a cell in the last of its maps


@dataclass(frozen=True, slots=True)
class DetectorTraining:
    """One detector of torchvision: SGD with warm-up and a cosine, mirrored images. ConfigError if out of range."""

    architecture: str
    image_size: int  # pixels, the side of the squares that it sees
    epochs: int
    batch: int = 16
    seed: int = 0
    learning_rate: float = 0.02  # at its peak
    momentum: float = 0.9
    weight_decay: float = 1e-4  # of weights; norms and biases have none
    warmup_steps: int = 200
    clip_norm: float = 10.0
    proposals: int = 64  # boxes per image that Faster R-CNN's second stage learns from; torchvision's own is 512
    augment: bool = False  # beside mirroring: colours, zoom out and crops, as SSD's training has them
    updates: int = 0  # after which it ends, be it within an epoch; 0: after the epochs

    def __post_init__(self) -> None:
        check_architecture(self.architecture)
        least = {"image_size": 64, "epochs": 1, "batch": 1, "proposals": 8, "warmup_steps": 0, "updates": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < bound:
                raise ConfigError(f"{name} {value} needs to be a whole number of {bound} or more")
        for name in ("learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} {getattr(self, name)} needs to be a number above 0")
        if not (0 <= self.momentum < 1 and 0 <= self.weight_decay < 1):
            raise ConfigError(f"momentum {self.momentum} and weight_decay {self.weight_decay} need 0 <= value < 1")

    def check_batches(self, pictures: int) -> None:
        """For epochs of that many pictures. ConfigError where a batch is of one, from which SSD's norms cannot learn:
        each sees a single cell of it."""
        last = pictures % self.batch or min(pictures, self.batch)
        shown = not self.updates or self.updates >= math.ceil(pictures / self.batch)
        if self.architecture in SSD and self.image_size <= _SSD_STRIDE and last == 1 and shown:
            raise ConfigError(
                f"{self.architecture} needs two images or more in each batch; {pictures} in batches of {self.batch} "
                "leave one alone: choose another --batch, or one image more or less"
            )

    def steps(self, an_epoch: int) -> int:
        """Updates of the whole training, where an epoch has `an_epoch`."""
        whole = self.epochs * an_epoch
        return min(self.updates, whole) if self.updates else whole
