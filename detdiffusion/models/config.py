"""Settings of the losses, apart from the losses: who only reads settings does not wait for torch."""

from __future__ import annotations

from dataclasses import dataclass

from detdiffusion.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Every part of the loss, each with its switch."""

    perception_weight: float = 0.01  # lambda; 0: no perception-aware loss
    use_alpha_bar: bool = True
    use_mask: bool = True
    use_dice: bool = True
    per_picture: bool = True  # masks averaged per picture, then over the batch; False: over all objects of the batch
    use_foreground: bool = True
    foreground_weight: float = 2.0
    foreground_power: float = 0.2

    def __post_init__(self) -> None:
        if self.perception_weight < 0 or self.foreground_weight <= 0:
            raise ConfigError("perception_weight needs to be 0 or more and foreground_weight above 0")
