"""The number format of arithmetic: bfloat16 where a device computes in it, float32 elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch

from detdiffusion.errors import ConfigError

FORMATS = (torch.float32, torch.bfloat16, torch.float16)  # in which models are stored, and compute


def preferred_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it (CPUs with AVX-512 BF16 or AMX, GPUs since Ampere), else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return torch.bfloat16
    return torch.float32


def computes_in(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device computes in one of `FORMATS`. A CPU does so in half precision where oneDNN can: from AVX-512 on,
    and on Arm with the instructions for it."""
    if device.type != "cpu" or dtype == torch.float32:
        return True
    if not torch.backends.mkldnn.is_available():
        return False
    asked = "_is_mkldnn_bf16_supported" if dtype == torch.bfloat16 else "_is_mkldnn_fp16_supported"
    return bool(getattr(torch.ops.mkldnn, asked)())


def usable_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """This number format where the device computes in it; else float32, with a warning that says so.

    Raises:
        ConfigError: it is none of `FORMATS`.
    """
    if not isinstance(dtype, torch.dtype) or dtype not in FORMATS:
        known = ", ".join(map(str, FORMATS))
        raise ConfigError(f"dtype needs to be one of {known}, not {dtype!r}")
    if computes_in(device, dtype):
        return dtype
    warnings.warn(f"this CPU does not compute in {name_of(dtype)}: float32 is used instead", stacklevel=2)
    return torch.float32


def arithmetic_dtype(device: torch.device, stored: Mapping[str, torch.dtype], asked: torch.dtype | None) -> torch.dtype:
    """What a model computes in on a device.

    Args:
        stored: the format of each part's weights, by the part's name. Weights in float32 leave the choice: `asked`, or
            else `preferred_dtype`. Others are computed in as they are.

    Raises:
        ConfigError: the parts differ, nothing computes in their format here, or it is not the one that is asked for.
    """
    weights, *others = {*stored.values()}
    if others:
        shown = ", ".join(f"{part} {name_of(one)}" for part, one in stored.items())
        raise ConfigError(f"the weights are of several formats ({shown}): pipe.to(torch.float32) makes them one")
    if weights == torch.float32:
        return preferred_dtype(device) if asked is None else usable_dtype(device, asked)
    if asked not in (None, weights):
        raise ConfigError(f"the weights are {name_of(weights)}: load the model in float32 to compute in {asked}")
    if not computes_in(device, weights):
        raise ConfigError(
            f"the weights are {name_of(weights)}, in which this CPU does not compute: load the model with "
            "dtype=torch.float32, or call pipe.to(torch.float32)"
        )
    return weights


def name_of(dtype: torch.dtype) -> str:
    """torch's name of a number format, such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def autocast(device: torch.device, dtype: torch.dtype | None = None) -> torch.autocast:
    """Arithmetic in `dtype` (default: `preferred_dtype`) over float32 weights; float32 leaves everything as it is."""
    chosen = dtype or preferred_dtype(device)
    return torch.autocast(device.type, dtype=chosen, enabled=chosen != torch.float32)
