"""What is on the canvas, and how an image of it shall be made, as the page holds them."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import MAX_SEED, SamplingConfig
from detdiffusion.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Form:
    """The settings beside the canvas, as the page holds them."""

    fixed: bool
    seed: float | None
    steps: float
    guidance_scale: float
    attribute_guidance: float = 0.0
    sampler: str = ""
    detector_guidance: float = 0.0
    fix_boxes: bool = False
    gligen_scheduled_sampling_beta: float | None = None  # None: as the model's folder says, or the model is no GLIGEN's

    def recipe(self) -> SamplingConfig:
        """ConfigError for a seed that is no whole number, or a value out of range."""
        if not self.fixed:
            return replace(self.settings, seed=new_seed())
        if self.seed is None or not float(self.seed).is_integer():
            raise ConfigError(f"fixed noise needs a seed: a whole number from 0 to {MAX_SEED}")
        return replace(self.settings, seed=int(self.seed))

    @property
    def settings(self) -> SamplingConfig:
        """Without the seed, whatever it is."""
        by_detector = (self.detector_guidance, self.fix_boxes)
        return SamplingConfig(
            0,
            int(self.steps),
            self.guidance_scale,
            self.attribute_guidance,
            self.sampler,
            *by_detector,
            self.gligen_scheduled_sampling_beta,
        )


def read_canvas(value: Mapping[str, Any], vocabulary: Vocabulary) -> Layout:
    """What is drawn, in the model's words. LayoutError for an empty canvas, or a class that the model does not know."""
    if not value.get("objects"):
        raise LayoutError("the layout has no objects: draw a box on the canvas, or choose an example under Layouts")
    return vocabulary.resolve(Layout.from_json(value))


def new_seed() -> int:
    """A seed short enough to read out."""
    return secrets.randbelow(1_000_000)
