"""What an evaluation asks of a model: the same layouts as they are, all easy, all hard, with one hard object, ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.core.files import hash_number
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Attribute, Layout
from detdiffusion.sampling_config import SamplingConfig

if TYPE_CHECKING:
    from PIL import Image

    from detdiffusion.detection import Detector
    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline

ONE_HARD = "one-hard"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of asking."""

    strategy: str  # of `Strategy`, or one-hard
    attribute_guidance: float = 0.0
    detector_guidance: float = 0.0

    @property
    def name(self) -> str:
        """As reports show it."""
        if self.detector_guidance:
            return f"{self.strategy}, detector guidance {self.detector_guidance:g}"
        return self.strategy if self.attribute_guidance == 0 else f"attribute guidance {self.attribute_guidance:g}"

    @property
    def slug(self) -> str:
        """Name of its folder, as version 0.1 had it: ids of images depend on it, and evaluations that were begun."""
        if self.detector_guidance:
            return f"{self.strategy}-detector-{self.detector_guidance:g}"
        return self.strategy if self.attribute_guidance == 0 else f"difficulty-{self.attribute_guidance:g}"

    def sampling(self, sampling: SamplingConfig) -> SamplingConfig:
        """With this variant's guidance."""
        led = self.detector_guidance
        return replace(sampling, attribute_guidance=self.attribute_guidance, detector_guidance=led)

    def asked(self, place: int, layout: Layout) -> Layout:
        """What the model is asked for, of a layout with true attributes. place: its number among the layouts."""
        if self.strategy != ONE_HARD:
            return apply_strategy(layout, Strategy(self.strategy))
        easy, tagged = apply_strategy(layout, Strategy.EASY), tagged_object(place, layout)
        attributes = [box.attribute or Attribute.BACKGROUND for box in easy.boxes]
        if tagged is not None:
            attributes[tagged] = Attribute.HARD
        return easy.with_attributes(attributes)


def variants_of(
    strategies: Sequence[Strategy],
    attribute_guidances: Sequence[float],
    *,
    one_hard: bool,
    attributes: bool,
    detector_guidance: float = 0.0,
) -> list[Variant]:
    """The variants of one model, each once. A model without words for attributes has origin, and easy and hard only
    where a detector guides.

    Raises:
        ConfigError: one hard object is to be compared with a variant that is not there.
    """
    led = [Variant(strategy.value, detector_guidance=detector_guidance) for strategy in strategies if detector_guidance]
    if not attributes:
        return [Variant(Strategy.ORIGIN), *(one for one in led if one.strategy != Strategy.ORIGIN)]
    if one_hard and Strategy.EASY not in strategies:
        raise ConfigError("--one-hard compares with the images of easy: add easy to --strategies")
    variants = [Variant(strategy.value) for strategy in strategies]
    variants += [Variant(Strategy.ORIGIN.value, amount) for amount in attribute_guidances]
    return list(dict.fromkeys([*variants, *([Variant(ONE_HARD)] if one_hard else []), *led]))


def tagged_object(place: int, layout: Layout) -> int | None:
    """Which thing of a layout `one-hard` asks to be hard: by a hash of the layout's number; None without a thing."""
    things = [i for i, box in enumerate(layout.boxes) if box.attribute is not Attribute.BACKGROUND]
    if not things:
        return None
    return things[hash_number(f"one-hard/{place}") % len(things)]


def draw(
    pipe: DetDiffusionPipeline,
    variant: Variant,
    asked: Sequence[Layout],
    seeds: Sequence[int],
    sampling: SamplingConfig,
    detector: Detector | None = None,
) -> list[Image.Image]:
    """One batch of images, each from the noise of its seed; all else is that of `sampling` and the variant. detector:
    that guides or fixes boxes, where there is one."""
    by: dict[str, Any] = {} if detector is None else {"detector": detector}
    images: list[Image.Image] = pipe(asked, seeds=seeds, **variant.sampling(sampling).options(), **by).images
    return images
