"""The device that a command computes on, and how much of its memory was used."""

from __future__ import annotations

import ctypes
import re
import resource
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.errors import ConfigError

if TYPE_CHECKING:
    import torch


OPENVINO = "openvino"  # torch's tensors stay on the CPU, and drawing is computed by another library
_KINDS = ("cpu", "cuda", "mps", "xpu", "hpu", "mtia", "xla")


def check_device(name: str | None, *, draws: bool = False) -> None:
    """ConfigError where the device that was asked for is not there; where none was, nothing is looked at (and torch not
    imported). draws: as for `device_of`."""
    if name not in (None, "cpu"):
        device_of(name, draws=draws)


def has_openvino() -> bool:
    """Whether the library is installed."""
    return find_spec(OPENVINO) is not None


def device_of(name: str | None, said: str = "--device", *, draws: bool = False) -> torch.device:
    """The device of that name; without one the GPU, else the CPU.

    Args:
        said: how messages name the setting.
        draws: whether it is for a pipeline that draws, which OpenVINO may compute: its tensors are on the CPU.

    Raises:
        ConfigError: there is no such device, or this machine (or this torch) has none of it.
    """
    if name == OPENVINO:
        if not draws:
            raise ConfigError(f"{said} {name}: OpenVINO draws images and does nothing else here; use cpu")
        if not has_openvino():
            raise ConfigError(f"{said} {name}: it needs another package: pip install -r requirements-openvino.txt")
        name = "cpu"
    kind = (name or "").partition(":")[0]  # what can be seen without torch is said before it is imported
    if name and (kind not in _KINDS or not re.fullmatch(r"[a-z]+(:\d+)?", name)):
        raise ConfigError(f"{said} {name}: there is no such device; use cpu, or cuda, cuda:1, ...")
    if kind == "cuda" and not _may_have_cuda():
        raise ConfigError(f"{said} {name}: no CUDA device here; use cpu")
    if kind == "mps" and sys.platform != "darwin":
        raise ConfigError(f"{said} {name}: this device cannot be used here; use cpu")
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ConfigError(f"{said} {name}: there is no such device; use cpu, or cuda, cuda:1, ...") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise ConfigError(f"{said} {name}: no CUDA device here; use cpu")
        if (device.index or 0) >= count:
            raise ConfigError(f"{said} {name}: the CUDA devices here are numbered 0 to {count - 1}")
    elif device.type != "cpu":
        try:
            torch.zeros(1, device=device).tolist()
        except Exception as error:  # each kind of device fails with an error of its own
            raise ConfigError(f"{said} {name}: this device cannot be used here; use cpu") from error
    return device


def _may_have_cuda() -> bool:
    """False where Linux has neither NVIDIA's driver nor AMD's: then torch finds no device either."""
    if sys.platform != "linux" or Path("/dev/kfd").exists():
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def computing_device(module: Any) -> torch.device:
    """Where a network computes: where its weights are, or where accelerate's offloading brings them for that."""
    import torch

    for part in module.modules():
        device = getattr(vars(part).get("_hf_hook"), "execution_device", None)  # a module's own getattr is slow
        if device is not None:
            return torch.device(device)
    there: torch.device = module.device
    return there


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on a device; where that is CUDA's, nobody waits until it is there."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def memory_gb(device: torch.device) -> float:
    """The most that this process has held: of the accelerator, or of the machine's memory."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
