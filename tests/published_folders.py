"""Model folders in the form in which others published them: small random weights under the real names.

Old folders (GeoDiffusion's: diffusers 0.4 to 0.16, transformers 4.24) hold .bin files, configs without today's keys, an
autoencoder whose attention says query, key, value and proj_attn, `position_ids` among CLIP's weights, a
CLIPFeatureExtractor, and a tokenizer of vocab.json, merges.txt and added_tokens.json.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPTextConfig, CLIPTextModel

START, END = "<|startoftext|>", "<|endoftext|>"
UNET = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.4.1",
    "act_fn": "silu",
    "attention_head_dim": 2,
    "block_out_channels": [8, 8, 16, 16],
    "center_input_sample": False,
    "cross_attention_dim": 16,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 1,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 4,
    "out_channels": 4,
    "sample_size": 8,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
}
VAE = {  # norm_num_groups was no key yet: 32
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.4.1",
    "act_fn": "silu",
    "block_out_channels": [32, 32, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "out_channels": 3,
    "sample_size": 64,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
TEXT = {
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": 16,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 32,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "pad_token_id": 1,
    "projection_dim": 16,
    "torch_dtype": "float32",
    "transformers_version": "4.24.0",
}
_TOWER = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
CHECKER = {
    "_name_or_path": "some/repository",
    "architectures": ["StableDiffusionSafetyChecker"],
    "initializer_factor": 1.0,
    "logit_scale_init_value": 2.6592,
    "model_type": "clip",
    "projection_dim": 8,
    "text_config": {**_TOWER, "model_type": "clip_text_model", "temperature": 1.0, "bad_words_ids": None},
    "text_config_dict": _TOWER,
    "torch_dtype": "float32",
    "transformers_version": None,
    "vision_config": {**_TOWER, "image_size": 28, "patch_size": 14, "model_type": "clip_vision_model"},
    "vision_config_dict": {**_TOWER, "image_size": 28, "patch_size": 14},
}
PROCESSOR = {
    "crop_size": 28,
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 28,
}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.4.1",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.4.1",
    "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
    "requires_safety_checker": True,
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def write_stable_diffusion(
    folder: Path,
    *,
    words: Sequence[str] = (),
    pickled: bool = False,
    safety: bool = True,
    flags: bool = False,
    unet_config: Mapping[str, Any] = UNET,
    pipeline: str = INDEX["_class_name"],
) -> Path:
    """A Stable Diffusion folder.

    Args:
        words: that the tokenizer has beyond CLIP's.
        flags: the safety checker finds fault with every picture, instead of none.
        pipeline: the class that model_index.json names.
    """
    tokens = write_tokenizer(folder / "tokenizer", words)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(**{key: value for key, value in unet_config.items() if not key.startswith("_")})
        vae = {key: value for key, value in VAE.items() if not key.startswith("_")}
        text = CLIPTextModel(CLIPTextConfig(**TEXT, vocab_size=tokens))
        states = {
            "unet": _trained(unet).state_dict(),
            "vae": old_attention(AutoencoderKL(**vae).state_dict()),
            "text_encoder": {f"text_model.{key}": value for key, value in text.state_dict().items()},
        }
        checker = checker_state(flags)
    states["text_encoder"]["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    configs: dict[str, Any] = {"unet": dict(unet_config), "vae": VAE, "text_encoder": {**TEXT, "vocab_size": tokens}}
    index: dict[str, Any] = {**INDEX, "_class_name": pipeline}
    if safety:
        states["safety_checker"], configs["safety_checker"] = checker, CHECKER
        write_json(folder / "feature_extractor" / "preprocessor_config.json", PROCESSOR)
    else:
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    for name, state in states.items():
        write_json(folder / name / "config.json", configs[name])
        write_weights(folder / name, state, pickled=pickled)
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_json(folder / "model_index.json", index)
    return folder


def write_geodiffusion(
    folder: Path, *, grid: tuple[int, int] = (8, 8), pickled: bool = True, words: Sequence[str] = (), **changes: Any
) -> Path:
    """A GeoDiffusion folder: location words for the grid, then `words`; `changes` go into generation_config.json."""
    locations = [f"<l{index}>" for index in range(grid[0] * grid[1])]
    write_stable_diffusion(folder, words=[*locations, *words], pickled=pickled)
    config = {
        "dataset": "coco_stuff",
        "num_bucket_per_side": list(grid),
        "prompt_template": "An image with {bbox}",
        "width": 64,
        "height": 64,
        "cfg_scale": 5,
        "num_inference_steps": 50,
        "max_num_bbox": 18,
    }
    write_json(folder / "generation_config.json", {**config, **changes})
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def write_gligen(folder: Path, *, attention: str = "gated", **changes: Any) -> Path:
    """A GLIGEN folder, as diffusers 0.20 wrote it; `changes` go to `write_stable_diffusion`."""
    config = {**UNET, "_diffusers_version": "0.20.0.dev0", "attention_type": attention}
    return write_stable_diffusion(folder, unet_config=config, pipeline="StableDiffusionGLIGENPipeline", **changes)


def _trained(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """With gates that are open, where it has any: before a training GLIGEN's are closed."""
    for name, parameter in unet.named_parameters():
        if name.endswith((".alpha_attn", ".alpha_dense", ".null_positive_feature", ".null_position_feature")):
            torch.nn.init.normal_(parameter)
    return unet


def checker_state(flags: bool) -> dict[str, torch.Tensor]:
    """Weights of a safety checker under their old names."""
    model = StableDiffusionSafetyChecker(CLIPConfig(**CHECKER))
    model.concept_embeds_weights.fill_(-2.0 if flags else 2.0)  # cosines lie between
    model.special_care_embeds_weights.fill_(2.0)
    state = {key.replace("vision_model.", "vision_model.vision_model.", 1): v for key, v in model.state_dict().items()}
    state["vision_model.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    return state


def old_attention(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The autoencoder's weights under the names of diffusers before 0.17."""
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    pattern = re.compile("|".join(rf"(?<=\.){re.escape(name)}(?=\.)" for name in names))
    return {pattern.sub(lambda match: names[match[0]], key): value for key, value in state.items()}


def write_weights(folder: Path, state: dict[str, torch.Tensor], *, pickled: bool) -> None:
    of_transformers = folder.name in ("text_encoder", "safety_checker")
    if pickled:
        torch.save(state, folder / ("pytorch_model.bin" if of_transformers else "diffusion_pytorch_model.bin"))
    else:
        name = "model.safetensors" if of_transformers else "diffusion_pytorch_model.safetensors"
        save_file({key: value.contiguous() for key, value in state.items()}, folder / name, metadata={"format": "pt"})


def write_tokenizer(folder: Path, words: Sequence[str]) -> int:
    """CLIP's kind of tokenizer with letters and a few whole words; returns how many tokens it has."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    merges = [("c", "a"), ("ca", "r</w>"), ("a", "n</w>")]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    special = {"bos_token": START, "eos_token": END, "unk_token": END}
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    mapped = {name: {"content": token, **flags} for name, token in special.items()}
    settings = {
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": 77,
        "name_or_path": "some/repository",
        "pad_token": END,
        "special_tokens_map_file": "./special_tokens_map.json",
        "tokenizer_class": "CLIPTokenizer",
    }
    typed = {name: {"__type": "AddedToken", **token} for name, token in mapped.items()}
    write_json(folder / "vocab.json", {token: index for index, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]) + "\n")
    write_json(folder / "special_tokens_map.json", {**mapped, "pad_token": END})
    write_json(folder / "tokenizer_config.json", {**settings, **typed})
    if words:
        write_json(folder / "added_tokens.json", {word: len(tokens) + index for index, word in enumerate(words)})
    return len(tokens) + len(words)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))
