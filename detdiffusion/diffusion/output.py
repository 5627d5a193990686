"""What a call of the pipeline gives: finished images, and a look at them after every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diffusers.utils import BaseOutput
from PIL import Image

from detdiffusion.layout import Layout


@dataclass(frozen=True, slots=True)
class StepInfo:
    """Where a generation stands. `preview()` decodes the pictures as they look from here."""

    step: int  # 1..steps
    steps: int
    preview: Callable[[], list[Image.Image]]


@dataclass
class DetDiffusionOutput(BaseOutput):  # type: ignore[misc]
    """`images` as PIL pictures (or as `output_type` says); `layouts` with every attribute filled in.

    `flagged` tells which pictures the model's safety checker made black; None where nothing was checked.
    """

    images: Any
    layouts: list[Layout]
    flagged: list[bool] | None = None

    @property
    def nsfw_content_detected(self) -> list[bool] | None:
        """`flagged`, as Stable Diffusion's pipelines call it."""
        return self.flagged
