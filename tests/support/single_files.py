"""A Stable Diffusion folder as the one file that its first implementation would have written."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET: Sequence[tuple[str, str]] = (
    (r"^time_embedding\.linear_1", "time_embed.0"),
    (r"^time_embedding\.linear_2", "time_embed.2"),
    (r"^conv_in", "input_blocks.0.0"),
    (r"^conv_norm_out", "out.0"),
    (r"^conv_out", "out.2"),
    (r"^mid_block\.attentions\.0", "middle_block.1"),
)
VAE: Sequence[tuple[str, str]] = (
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.(query|to_q)", "mid.attn_1.q"),
    (r"mid_block\.attentions\.0\.(key|to_k)", "mid.attn_1.k"),
    (r"mid_block\.attentions\.0\.(value|to_v)", "mid.attn_1.v"),
    (r"mid_block\.attentions\.0\.(proj_attn|to_out\.0)", "mid.attn_1.proj_out"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
)


def write_single_file(folder: Path, file: Path) -> Path:
    """folder: with one layer a block, four levels, and weights as safetensors."""
    state = {}
    for key, value in load_file(folder / "unet/diffusion_pytorch_model.safetensors").items():
        state[f"model.diffusion_model.{unet_name(key)}"] = value
    for key, value in load_file(folder / "vae/diffusion_pytorch_model.safetensors").items():
        name = vae_name(key)
        whole = value[:, :, None, None] if "attn_1" in name and value.ndim == 2 else value
        state[f"first_stage_model.{name}"] = whole
    for key, value in load_file(folder / "text_encoder/model.safetensors").items():
        state[f"cond_stage_model.transformer.{key}"] = value
    state["model_ema.decay"] = torch.tensor(0.9999)
    save_file({name: value.contiguous() for name, value in state.items()}, file)
    return file


def unet_name(key: str) -> str:
    key = replaced(key, UNET)
    resnet = rf"\.resnets\.(\d)\.({'|'.join(RESNET)})(.*)"
    if match := re.match("mid_block" + resnet, key):
        return f"middle_block.{2 * int(match[1])}.{RESNET[match[2]]}{match[3]}"
    if match := re.match(r"(down|up)_blocks\.(\d)" + resnet, key):
        return f"{place(match[1], int(match[2]), int(match[3]))}.0.{RESNET[match[4]]}{match[5]}"
    if match := re.match(r"(down|up)_blocks\.(\d)\.attentions\.(\d)\.(.*)", key):
        return f"{place(match[1], int(match[2]), int(match[3]))}.1.{match[4]}"
    if match := re.match(r"down_blocks\.(\d)\.downsamplers\.0\.conv(.*)", key):
        return f"input_blocks.{2 + 2 * int(match[1])}.0.op{match[2]}"
    if match := re.match(r"up_blocks\.(\d)\.upsamplers\.0\.conv(.*)", key):
        return f"output_blocks.{2 * int(match[1]) + 1}.{1 if match[1] == '0' else 2}.conv{match[2]}"
    return key


def place(way: str, block: int, layer: int) -> str:
    return f"input_blocks.{1 + 2 * block + layer}" if way == "down" else f"output_blocks.{2 * block + layer}"


def vae_name(key: str) -> str:
    key = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}", key)
    key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", key)
    return replaced(key, VAE)


def replaced(key: str, rules: Sequence[tuple[str, str]]) -> str:
    for pattern, name in rules:
        key = re.sub(pattern, name, key)
    return key
