"""A model that nobody has trained: random weights around a trained autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from transformers import CLIPTextConfig, CLIPTextModel

from detdiffusion.diffusion.pipeline import DetDiffusionPipeline
from detdiffusion.models.blueprint import Blueprint
from detdiffusion.models.control import new_controlnet
from detdiffusion.models.features import feature_channels
from detdiffusion.models.perception_head import PerceptionHead
from detdiffusion.text.vocabulary import Vocabulary, init_embeddings, small_tokenizer


def new_pipeline(
    vocabulary: Vocabulary,
    unet_config: Mapping[str, Any],
    text_config: Mapping[str, Any],
    autoencoder: Any,
    scheduler_config: Mapping[str, Any],
    blueprint_config: Mapping[str, Any] | None,
    head_config: Mapping[str, Any] | None,
    seed: int,
    control_config: Mapping[str, Any] | None = None,
) -> DetDiffusionPipeline:
    """A model with random weights around a trained autoencoder.

    Args:
        unet_config: of `UNet2DConditionModel`; its channels and `cross_attention_dim` are filled in.
        text_config: of `CLIPTextConfig`; the vocabulary's size and token ids are filled in.
        scheduler_config: of `DPMSolverMultistepScheduler`.
        blueprint_config, head_config: of `Blueprint` and `PerceptionHead`, sizes filled in; None: the model has none.
        seed: of the weights; global randomness is left as it was.
        control_config: of `new_controlnet`; None: the model has none.
    """
    text = CLIPTextConfig(**text_config)
    tokenizer = small_tokenizer(vocabulary, text.max_position_embeddings)
    text.vocab_size, text.pad_token_id = len(tokenizer), tokenizer.pad_token_id
    text.bos_token_id, text.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    channels = autoencoder.config.latent_channels
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        text_encoder = CLIPTextModel(text)
        # Our choice: waves of up to 100 bins, for a grid of 32 by 32 (GeoDiffusion: 10,000, for 256 by 256).
        init_embeddings(text_encoder, tokenizer, vocabulary, temperature=100.0)
        blueprint = None if blueprint_config is None else Blueprint(len(vocabulary.labels), **blueprint_config)
        unet = UNet2DConditionModel(
            **unet_config,
            in_channels=channels + (0 if blueprint is None else blueprint.total_channels),
            out_channels=channels,
            cross_attention_dim=text.hidden_size,
        )
        head = None if head_config is None else PerceptionHead(feature_channels(unet), text.hidden_size, **head_config)
        control = None if control_config is None else new_controlnet(unet, **control_config)
    for module in (autoencoder, text_encoder, unet, blueprint, head, control):
        if module is not None:
            module.eval()
    return DetDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(**scheduler_config),
        blueprint=blueprint,
        perception_head=head,
        controlnet=control,
        vocabulary=vocabulary,
    )
