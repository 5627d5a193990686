"""The number format of arithmetic: bfloat16 where a device computes in it, float32 elsewhere."""

from __future__ import annotations

import torch


def preferred_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it (CPUs with AVX-512 BF16 or AMX, GPUs since Ampere), else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return torch.bfloat16
    return torch.float32


def autocast(device: torch.device, dtype: torch.dtype | None = None) -> torch.autocast:
    """Arithmetic in `dtype` (default: `preferred_dtype`) over float32 weights; float32 leaves everything as it is."""
    chosen = dtype or preferred_dtype(device)
    return torch.autocast(device.type, dtype=chosen, enabled=chosen != torch.float32)
