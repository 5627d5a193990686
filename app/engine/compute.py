"""What computes: a device, and the precision of its arithmetic."""

from dataclasses import dataclass

import torch

from detdiffusion.core.devices import device_of
from detdiffusion.errors import ConfigError

AUTOMATIC = "automatic"
PRECISIONS = {AUTOMATIC: None, "float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Engine:
    """What computes. device: as torch names it (cpu, cuda:1); None: an accelerator where there is one.

    Raises:
        ConfigError: there is no such device or precision.
    """

    device: str | None = None
    precision: str = AUTOMATIC

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(f"there is no precision {self.precision!r}; choose one of {', '.join(PRECISIONS)}")
        device_of(self.device)

    @property
    def torch_device(self) -> torch.device:
        """With its number, as the page lists devices and as a moved model names its own."""
        device = device_of(self.device)
        return torch.device(device.type, device.index or 0) if device.type == "cuda" else device

    @property
    def dtype(self) -> torch.dtype | None:
        """Of the arithmetic; None: what the device is fast in."""
        return PRECISIONS[self.precision]
