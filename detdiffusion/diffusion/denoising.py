"""What steers a model, words and drawings, and its one forward: the half of a pipeline that training shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.layout import Layout
from detdiffusion.models.blueprint import Blueprint
from detdiffusion.models.control import control_images, control_scale
from detdiffusion.text.prompt import TextCondition, empty_prompt, encode_prompt, encode_text
from detdiffusion.text.vocabulary import Vocabulary


class Denoiser:
    """The parts of `DetDiffusionPipeline` that see every step."""

    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: UNet2DConditionModel
    blueprint: Blueprint | None
    controlnet: ControlNetModel | None
    vocabulary: Vocabulary
    _attention_device = ""

    def conditions(
        self, layouts: Sequence[Layout | None], size: tuple[int, int], *, guided: bool, contrast: bool
    ) -> tuple[TextCondition, Tensor | None]:
        """What `denoise` needs for B layouts (None: the empty prompt), as many rows for each part of `sampling.guided`,
        in its order. `guided` and `contrast`: with the parts for guidance, and for attribute guidance."""
        shown = list(layouts)
        for way in (Strategy.HARD, Strategy.EASY) if contrast else ():
            shown += [layout and apply_strategy(layout, way) for layout in layouts]
        if not guided:
            return self.encode_layouts(shown), self.draw_layouts(shown, size)
        condition = self.encode_layouts([None, *shown])  # the empty prompt is encoded once
        rows = torch.tensor([0] * len(layouts) + list(range(1, len(shown) + 1)), device=condition.hidden.device)
        raw = self.draw_layouts([*[None] * len(layouts), *shown], size)
        return condition.rows(rows), raw

    def encode_layouts(self, layouts: Sequence[Layout | None], *, pad_to: int = 8) -> TextCondition:
        """Text condition of a batch; None stands for the empty prompt. `pad_to`: see `encode_text`."""
        length = self.text_encoder.config.max_position_embeddings
        prompts = [
            empty_prompt(self.tokenizer, length, padding=self.vocabulary.padding)
            if layout is None
            else encode_prompt(layout, self.vocabulary, self.tokenizer, length)
            for layout in layouts
        ]
        return encode_text(self.text_encoder, prompts, pad_to=pad_to)

    def draw_layouts(self, layouts: Sequence[Layout | None], size: tuple[int, int]) -> Tensor | None:
        """What the model sees of layouts beside the words, on its device; nothing drawn for None.

        Raw drawings [B, C, scale * h, scale * w] of the blueprint, pictures [B, 3, H, W] for a ControlNet, or None
        where the model has neither. A model without words for attributes does not see them here either.

        Args:
            size: (height, width) of the latents.
        """
        if self.controlnet is not None:
            scale = control_scale(self.controlnet)
            pictures = control_images(layouts, self.vocabulary, (size[0] * scale, size[1] * scale))
            return pictures.to(self.unet.device)
        if self.blueprint is None:
            return None
        raw: Tensor = self.blueprint.empty(len(layouts), size)
        drawn = [row for row, layout in enumerate(layouts) if layout is not None]
        if drawn:
            shown = [self.vocabulary.neutral(layout) for layout in layouts if layout is not None]
            raw[drawn] = self.blueprint.draw(shown, self.vocabulary, size)
        return raw.to(self.unet.device)

    def denoise(self, latents: Tensor, t: Tensor, condition: TextCondition, raw: Tensor | None) -> Tensor:
        """The U-Net's prediction [B, C, h, w] for noisy latents [B, C, h, w]: the one forward of sampling and training.

        Args:
            t: timestep, a scalar or [B].
            raw: `draw_layouts`'s answer.
        """
        self.choose_attention(latents.device.type)
        if self.blueprint is not None:
            latents = torch.cat([latents, self.blueprint(raw)], dim=1)
        steered = {} if self.controlnet is None else _steer(self.controlnet, latents, t, condition, raw)
        prediction: Tensor = self.unet(
            latents, t, encoder_hidden_states=condition.hidden, encoder_attention_mask=condition.mask, **steered
        ).sample
        return prediction

    def choose_attention(self, device: str) -> None:
        """Sets the attention that is fastest on a kind of device ("cpu", "cuda")."""
        if device != self._attention_device:  # plain matrix products: in bf16 2.5 times as fast as the CPU's SDPA
            for module in filter(None, (self.unet, self.controlnet)):
                module.set_attn_processor(AttnProcessor() if device == "cpu" else AttnProcessor2_0())
            self._attention_device = device


def _steer(
    controlnet: ControlNetModel, latents: Tensor, t: Tensor, condition: TextCondition, images: Tensor | None
) -> dict[str, Any]:
    """What a ControlNet adds to the U-Net's features. It knows no mask over words: see `Vocabulary.padding`."""
    down, middle = controlnet(
        latents, t, encoder_hidden_states=condition.hidden, controlnet_cond=images, return_dict=False
    )
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
