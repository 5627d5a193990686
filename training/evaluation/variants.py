"""What an evaluation asks of a model: the same layouts as they are, all easy, all hard, with one hard object, ..."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Attribute, Layout

if TYPE_CHECKING:
    from PIL import Image

    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline

ONE_HARD = "one-hard"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of asking. `difficulty` is that of attribute guidance."""

    strategy: str  # of `Strategy`, or one-hard
    difficulty: float = 0.0

    @property
    def name(self) -> str:
        """As reports show it."""
        return self.strategy if self.difficulty == 0 else f"difficulty {self.difficulty:g}"

    @property
    def slug(self) -> str:
        """Name of its folder."""
        return self.name.replace(" ", "-")

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
    strategies: Sequence[Strategy], difficulties: Sequence[float], *, one_hard: bool, attributes: bool
) -> list[Variant]:
    """The variants of one model, each once; a model without words for attributes has origin only.

    Raises:
        ConfigError: one hard object is to be compared with a variant that is not there.
    """
    if not attributes:
        return [Variant(Strategy.ORIGIN)]
    if one_hard and Strategy.EASY not in strategies:
        raise ConfigError("--one-hard compares with the pictures of easy: add easy to --strategies")
    variants = [Variant(strategy.value) for strategy in strategies]
    variants += [Variant(Strategy.ORIGIN.value, amount) for amount in difficulties]
    return list(dict.fromkeys([*variants, *([Variant(ONE_HARD)] if one_hard else [])]))


def tagged_object(place: int, layout: Layout) -> int | None:
    """Which thing of a layout `one-hard` asks to be hard: by a hash of the layout's number; None without a thing."""
    things = [i for i, box in enumerate(layout.boxes) if box.attribute is not Attribute.BACKGROUND]
    if not things:
        return None
    digest = hashlib.blake2b(f"one-hard/{place}".encode(), digest_size=8).digest()
    return things[int.from_bytes(digest, "big") % len(things)]


def draw(
    pipe: DetDiffusionPipeline,
    variant: Variant,
    asked: Sequence[Layout],
    seeds: Sequence[int],
    steps: int,
    guidance_scale: float,
) -> list[Image.Image]:
    """One batch of pictures, each from the noise of its seed."""
    more: dict[str, Any] = {"difficulty": variant.difficulty} if variant.difficulty else {}
    images: list[Image.Image] = pipe(asked, seeds=seeds, steps=steps, guidance_scale=guidance_scale, **more).images
    return images
