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
    min_snr_gamma: float = 0.0  # above 0: timesteps weigh by the signal-to-noise ratio, cut off there (Min-SNR)

    def __post_init__(self) -> None:
        if self.perception_weight < 0 or self.foreground_weight <= 0:
            raise ConfigError("perception_weight needs to be 0 or more and foreground_weight above 0")
        if not self.min_snr_gamma >= 0:
            raise ConfigError(f"min_snr_gamma is {self.min_snr_gamma}, and needs to be 0 or more")
