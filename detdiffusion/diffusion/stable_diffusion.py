"""A Stable Diffusion folder -> a DetDiffusion model to train: more words, more input channels, a perception head.

The model starts as its base: new words change no old one, the blueprint's input channels start at zero, and the
perception head only reads. The autoencoder and a safety checker that the folder brings stay as they are, frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer

from detdiffusion.core.parts import part_folder
from detdiffusion.diffusion.checkpoint import check_base, no_progress_bars
from detdiffusion.diffusion.habits.hub import HubOptions, folder_variant, model_folder
from detdiffusion.diffusion.manifest import read_vocabulary
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.errors import CheckpointError, ConfigError, why
from detdiffusion.models.blueprint import Blueprint, widen_conv_in
from detdiffusion.models.control import new_controlnet
from detdiffusion.models.features import feature_channels
from detdiffusion.models.perception_head import PerceptionHead
from detdiffusion.text.vocabulary import VOCABULARY_FILE, Vocabulary, extend_tokenizer, init_embeddings


def pipeline_from_stable_diffusion(
    base: str | Path,
    vocabulary: Vocabulary,
    *,
    blueprint_config: Mapping[str, Any] | None,
    head_config: Mapping[str, Any] | None,
    seed: int,
    size: tuple[int, int] | None = None,
    rescale_locations: bool = True,
    control_config: Mapping[str, Any] | None = None,
    hub: HubOptions | None = None,
    grounded: bool = False,
) -> DetDiffusionPipeline:
    """A model, float32 on the CPU, that draws what its base draws until it is trained.

    Args:
        base: folder of Stable Diffusion v1.5 or of a model like it, or an id of the Hugging Face hub. Location words
            that it already has (GeoDiffusion's) keep what they learned.
        vocabulary: of the model, but for `padding`, which is as the base has learned to read prompts.
        blueprint_config, head_config: of `Blueprint` and `PerceptionHead`, sizes filled in; None: the model has none.
        seed: of the new weights; global randomness is left as it was.
        size: (height, width) in pixels of the pictures that the model will be trained on; None: as the base.
        rescale_locations: see `init_embeddings`.
        control_config: of `new_controlnet`, which starts as a copy of the base's encoder; None: the model has none.
        hub: how a hub id is fetched.
        grounded: the base is GLIGEN's, which learns nothing here: it gets no blueprint and no ControlNet.

    Raises:
        CheckpointError: the base is missing, damaged, unsafe or of another architecture.
        ConfigError: the size is no multiple of the autoencoder's cells.
    """
    folder = model_folder(base, hub)
    ours = (folder / VOCABULARY_FILE).is_file()
    vocabulary = replace(vocabulary, padding=read_vocabulary(folder).padding if ours else True)
    blueprint: Blueprint | None = None
    head: PerceptionHead | None = None
    control: ControlNetModel | None = None
    with torch.random.fork_rng(), no_progress_bars():
        parts = _load(folder, check_base(folder, grounded=grounded))  # draws weights, which those of the folder replace
        text_encoder, unet = parts["text_encoder"], parts["unet"]
        torch.manual_seed(seed)
        _add_words(text_encoder, parts["tokenizer"], vocabulary, rescale=rescale_locations)
        if blueprint_config is not None:
            blueprint = Blueprint(len(vocabulary.labels), **blueprint_config).eval()
        if head_config is not None:
            head = PerceptionHead(feature_channels(unet), text_encoder.config.hidden_size, **head_config).eval()
        if blueprint is not None:
            widen_conv_in(unet, blueprint.total_channels)
        if control_config is not None:
            control = new_controlnet(unet, **control_config).eval()
    for name in ("vae", "safety_checker"):
        if name in parts:
            parts[name].requires_grad_(False)
    pipe = DetDiffusionPipeline(
        **parts, blueprint=blueprint, perception_head=head, controlnet=control, vocabulary=vocabulary
    )
    if size is not None:
        _set_size(pipe, size)
    return pipe


def _load(folder: Path, classes: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a checked folder by the names that DetDiffusionPipeline gives them; float32, ready to run."""

    def load(name: str, class_: Any, **options: Any) -> Any:
        return class_.from_pretrained(str(part_folder(folder, name)), local_files_only=True, **options)

    def weights(name: str) -> dict[str, Any]:
        variant = folder_variant(part_folder(folder, name))
        return {"use_safetensors": True, "dtype": torch.float32, "variant": variant}

    try:
        parts = {name: load(name, class_, **weights(name)) for name, class_ in classes.items()}
        parts["tokenizer"] = load("tokenizer", CLIPTokenizer)
        # Our choice: the sampler that GeoDiffusion uses on COCO-Stuff, with the folder's own noise schedule.
        parts["scheduler"] = load("scheduler", DPMSolverMultistepScheduler)
        if "safety_checker" in classes:
            parts["feature_extractor"] = load("feature_extractor", CLIPImageProcessor)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} cannot be read as a whole: {why(error)}; copy it again") from error
    return parts


def _add_words(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, vocabulary: Vocabulary, *, rescale: bool) -> None:
    """Gives the base the words that it lacks; those that it has keep their rows."""
    known = len(tokenizer)
    if not extend_tokenizer(tokenizer, vocabulary):
        return
    learned = text_encoder.get_input_embeddings().weight.detach()[:known].clone()  # [known, D]
    init_embeddings(text_encoder, tokenizer, vocabulary, rescale=rescale)
    with torch.no_grad():
        text_encoder.get_input_embeddings().weight[:known] = learned


def _set_size(pipe: DetDiffusionPipeline, size: tuple[int, int]) -> None:
    height, width = size
    cell = pipe.downsample
    if min(size) < cell or height % cell or width % cell:
        raise ConfigError(f"{width}x{height} pixels: both sides need to be multiples of {cell}")
    sides = (height // cell, width // cell)
    pipe.unet.register_to_config(sample_size=sides[0] if sides[0] == sides[1] else sides)
