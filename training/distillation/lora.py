"""A student as LoRA weights (Hu et al. 2021) beside its teacher: a small file, as diffusers writes and reads it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from detdiffusion.errors import ConfigError

# What LCM-LoRA (Luo et al. 2023) adapts: attention, its feed-forward layers, and the convolutions.
ADAPTED = (
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj"),
)


def check_peft() -> None:
    """ConfigError where the library that trains LoRA weights is not installed."""
    if find_spec("peft") is None:
        raise ConfigError("--lora-rank needs peft: pip install -r requirements-lora.txt")


def add_lora(unet: Any, rank: int, seed: int) -> None:
    """Freezes a U-Net and gives it LoRA weights of this rank, which change nothing as they begin."""
    import torch
    from peft import LoraConfig

    unet.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(ADAPTED)))


def take_lora(unet: Any, folder: Path) -> None:
    """Writes the LoRA weights into `folder` (pytorch_lora_weights.safetensors, in half precision), and adds them to the
    U-Net's own, which is a plain one from then on."""
    from diffusers.loaders import StableDiffusionLoraLoaderMixin
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    state = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    half = {name: tensor.half() for name, tensor in state.items()}
    StableDiffusionLoraLoaderMixin.save_lora_weights(folder, unet_lora_layers=half)
    unet.fuse_lora()
    unet.unload_lora()
    unet.requires_grad_(True)
