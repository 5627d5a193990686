"""What the studio lets its visitors ask for. Commands take more: nobody else waits for them."""

from typing import NamedTuple

from detdiffusion import bounds
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.sampling_config import SamplingConfig

MAX_STEPS, MAX_GUIDANCE = bounds.STUDIO_STEPS, bounds.STUDIO_GUIDANCE
MAX_ATTRIBUTE_GUIDANCE = bounds.STUDIO_ATTRIBUTE_GUIDANCE  # beyond 2 images fall apart (docs/EVALUATION.md)


class Beyond(NamedTuple):
    """A setting that the studio does not take.

    what: "500 steps"; bounds: "1 to 100"; fault: both, as an error says it.
    """

    what: str
    bounds: str
    fault: str


def beyond_limits(asked: SamplingConfig) -> list[Beyond]:
    """All that is more, or less, than the studio draws with."""
    limit = MAX_ATTRIBUTE_GUIDANCE
    settings = (
        (f"{asked.steps} steps", "; choose", asked.steps, 1, MAX_STEPS),
        (f"guidance {asked.guidance_scale:g}", " needs to be from", asked.guidance_scale, 1, MAX_GUIDANCE),
        (
            f"attribute guidance {asked.attribute_guidance:g}",
            " needs to be from",
            asked.attribute_guidance,
            -limit,
            limit,
        ),
    )
    return [
        Beyond(what, f"{low:g} to {high:g}", f"{what}{words} {low:g} to {high:g}")
        for what, words, value, low, high in settings
        if not low <= value <= high
    ]


def check_size(size: tuple[int, int], native: tuple[int, int]) -> None:
    """LayoutError for an image that is so large that it could take all memory. size, native: (height, width) in pixels,
    as a model would draw it, and its own."""
    (height, width), most = size, bounds.STUDIO_SIZE * native[0] * native[1]
    if height * width > most:
        raise LayoutError(
            f"{width}x{height} pixels; the studio draws at most {most:,} with this model, {bounds.STUDIO_SIZE} times "
            f"its own {native[1]}x{native[0]}"
        )


def check_limits(asked: SamplingConfig) -> None:
    """ConfigError for more than the studio draws."""
    for beyond in beyond_limits(asked):
        raise ConfigError(beyond.fault)
