"""What steers a model, words and drawings, and its one forward: the half of a pipeline that training shares."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.core.devices import computing_device, send
from detdiffusion.layout import Layout
from detdiffusion.models.blueprint import Blueprint, Boxes, painting_order
from detdiffusion.models.control import control_images, control_scale
from detdiffusion.models.grounding import gligen_inputs, grounding, is_grounded
from detdiffusion.text.prompt import (
    PromptBatch,
    TextCondition,
    empty_prompt,
    encode_batch,
    encode_phrases,
    encode_prompt,
    prompt_batch,
)
from detdiffusion.text.vocabulary import Vocabulary

Drawn = Boxes | Tensor | list[Layout | None] | None


class Shown(NamedTuple):
    """What a model is shown of B layouts, before any network has seen it; small, and made on the CPU."""

    prompts: PromptBatch
    drawn: Drawn  # boxes of a blueprint, images [B, 3, H, W] for a ControlNet, the layouts for GLIGEN, or nothing


class Denoiser:
    """The parts of `DetDiffusionPipeline` that see every step."""

    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: UNet2DConditionModel
    blueprint: Blueprint | None
    controlnet: ControlNetModel | None
    vocabulary: Vocabulary
    _attention_device = ""

    @property
    def drawing_device(self) -> torch.device:
        """Where steps are computed."""
        return computing_device(self.unet)

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

    def show_layouts(self, layouts: Sequence[Layout | None], size: tuple[int, int]) -> Shown:
        """What `encode_shown` and `draw_shown` read. No network takes part, so it can be made ahead, on any thread.

        Args:
            layouts: None stands for the empty prompt.
            size: (height, width) of the latents.

        Raises:
            LayoutError: a class that the model does not know.
        """
        return Shown(self._prompts(layouts), self._drawn(layouts, size))

    def encode_shown(self, shown: Shown) -> TextCondition:
        """Text condition of a batch."""
        return encode_batch(self.text_encoder, shown.prompts)

    def draw_shown(self, shown: Shown, size: tuple[int, int]) -> Tensor | None:
        """As `draw_layouts`; a blueprint is painted on the model's device."""
        return self._painted(shown.drawn, size)

    def encode_layouts(self, layouts: Sequence[Layout | None], *, pad_to: int = 8) -> TextCondition:
        """Text condition of a batch; None stands for the empty prompt. `pad_to`: see `prompt_batch`."""
        return encode_batch(self.text_encoder, self._prompts(layouts, pad_to))

    def draw_layouts(self, layouts: Sequence[Layout | None], size: tuple[int, int]) -> Tensor | None:
        """What the model sees of layouts beside the words, on its device; nothing drawn for None.

        Raw drawings [B, C, scale * h, scale * w] of the blueprint, pictures [B, 3, H, W] for a ControlNet, boxes and
        phrases [B, 30, 5 + D] for GLIGEN, or None where the model has none of these. A model without words for
        attributes does not see them here either.

        Args:
            size: (height, width) of the latents.
        """
        return self._painted(self._drawn(layouts, size), size)

    def _prompts(self, layouts: Sequence[Layout | None], pad_to: int = 8) -> PromptBatch:
        length = self.text_encoder.config.max_position_embeddings
        prompts = [
            empty_prompt(self.tokenizer, length, padding=self.vocabulary.padding)
            if layout is None
            else encode_prompt(layout, self.vocabulary, self.tokenizer, length)
            for layout in layouts
        ]
        return prompt_batch(prompts, pad_to=pad_to)

    def _drawn(self, layouts: Sequence[Layout | None], size: tuple[int, int]) -> Drawn:
        if self.controlnet is not None:
            scale = control_scale(self.controlnet)
            return control_images(layouts, self.vocabulary, (size[0] * scale, size[1] * scale))
        if is_grounded(self.unet):
            return list(layouts)
        if self.blueprint is None:
            return None
        return painting_order([layout and self.vocabulary.neutral(layout) for layout in layouts], self.vocabulary)

    def _painted(self, drawn: Drawn, size: tuple[int, int]) -> Tensor | None:
        device = self.drawing_device
        if isinstance(drawn, list):
            encode = partial(encode_phrases, self.text_encoder, self.tokenizer)
            return grounding(drawn, self.vocabulary, encode).to(device)
        if drawn is None or isinstance(drawn, Tensor):
            return drawn if drawn is None else send(drawn, device)
        assert self.blueprint is not None
        return self.blueprint.paint(Boxes(*(send(part, device) for part in drawn)), size)

    def denoise(self, latents: Tensor, t: Tensor, condition: TextCondition, raw: Tensor | None) -> Tensor:
        """The U-Net's prediction [B, C, h, w] for noisy latents [B, C, h, w]: the one forward of sampling and training.

        Args:
            t: timestep, a scalar or [B].
            raw: `draw_layouts`'s answer; None where GLIGEN shall not see the boxes.
        """
        self.choose_attention(latents.device.type)
        if self.blueprint is not None:
            latents = torch.cat([latents, self.blueprint(raw)], dim=1)
        steered: dict[str, Any] = {}
        if self.controlnet is not None:
            steered = _steer(self.controlnet, latents, t, condition, raw)
        elif raw is not None and is_grounded(self.unet):
            steered = gligen_inputs(raw)
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
