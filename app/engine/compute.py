"""What computes: a device, and the precision of its arithmetic."""

from dataclasses import dataclass

import torch

from detdiffusion.core.devices import OPENVINO, device_of, has_openvino
from detdiffusion.errors import ConfigError

AUTOMATIC = "automatic"
PRECISIONS = {AUTOMATIC: None, "float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Engine:
    """What computes. device: as torch names it (cpu, cuda:1), or openvino; None: an accelerator where there is one.

    Raises:
        ConfigError: there is no such device or precision.
    """

    device: str | None = None
    precision: str = AUTOMATIC

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(f"there is no precision {self.precision!r}; choose one of {', '.join(PRECISIONS)}")
        device_of(self.device, draws=True)

    @property
    def torch_device(self) -> torch.device:
        """With its number, as the page lists devices and as a moved model names its own."""
        device = device_of(self.device, draws=True)
        return torch.device(device.type, device.index or 0) if device.type == "cuda" else device

    @property
    def place(self) -> str:
        """`device`, chosen: of `devices`."""
        return OPENVINO if self.device == OPENVINO else str(self.torch_device)

    @property
    def dtype(self) -> torch.dtype | None:
        """Of the arithmetic; None: what the device is fast in."""
        return PRECISIONS[self.precision]


def devices() -> list[str]:
    """What this machine can draw on."""
    openvino = [OPENVINO] if has_openvino() else []
    return ["cpu", *openvino, *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
