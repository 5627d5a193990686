"""The settings of the classifier of causes, and the words for its answers."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from detdiffusion.errors import ConfigError
from training.data.papercut.causes import Cause
from training.data.papercut.classes import HELD_OUT_SEED

WORDS: Mapping[Cause, str] = {
    Cause.COLOUR: "unusual colour",
    Cause.PATTERN: "unusual pattern",
    Cause.POSE: "unusual pose",
    Cause.OCCLUSION: "partly hidden",
    Cause.GLARE: "glare",
    Cause.CONTRAST: "low contrast",
    Cause.BACKLIGHT: "against the light",
    Cause.NIGHT: "in the dark",
    Cause.BLUR: "blurred",
    Cause.CUT: "cut by the edge",
    Cause.SIZE: "unusual size",
    Cause.PLACE: "unusual place",
}
_MAY_BE_ZERO = ("first_scene", "alone_scenes", "warmup_steps", "weight_decay", "seed")
_SHARES = ("hard_share", "restored", "precision")


@dataclass(frozen=True, slots=True)
class CauseTrainingConfig:
    """The classifier of causes: binary cross-entropy of every cause, on crops of scenes with many difficult objects.

    Raises:
        ConfigError: a number is out of range, or a scene would be trained on that is held out of all training.
    """

    scenes: int = 2_400
    first_scene: int = 300_000
    alone_scenes: int = 60  # of each cause, whose difficult objects have that cause alone: rare ones are learned too
    held_out_scenes: int = 600  # they set the probability from which on a cause is shown
    unseen_scenes: int = 600  # from `HELD_OUT_SEED` up, for the report
    hard_share: float = 0.85  # share of objects made naturally difficult
    restored: float = 0.4  # share of scenes that go through the autoencoder first, as generated images do
    precision: float = 0.9  # of the causes that are shown
    steps: int = 1_800
    batch: int = 64  # objects
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.02
    checkpoint_steps: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 0 if name in (*_MAY_BE_ZERO, *_SHARES) else 1 if isinstance(value, int) else math.ulp(0.0)
            most = 1 if name in _SHARES else math.inf
            if not least <= value <= most or value == math.inf:
                kind = "from 0 to 1" if most == 1 else "of 0 or more" if least == 0 else "above 0"
                raise ConfigError(f"{name} {value} needs to be a number {kind}")
        last = self.held_out_seeds.stop - 1
        if last >= HELD_OUT_SEED:
            raise ConfigError(f"scene {last} would be seen; scenes from {HELD_OUT_SEED} up are held out")

    def seeds(self, cause: Cause | None = None) -> range:
        """Of the scenes that are learned: those of every cause together, or those of one alone."""
        if cause is None:
            return range(self.first_scene, self.first_scene + self.scenes)
        start = self.seeds().stop + self.alone_scenes * list(Cause).index(cause)
        return range(start, start + self.alone_scenes)

    @property
    def held_out_seeds(self) -> range:
        """Of the scenes behind those."""
        start = self.seeds().stop + self.alone_scenes * len(Cause)
        return range(start, start + self.held_out_scenes)
