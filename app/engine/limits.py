"""What the studio lets its visitors ask for. Commands take more: nobody else waits for them."""

from detdiffusion.errors import ConfigError
from detdiffusion.sampling_config import SamplingConfig

MAX_STEPS = 100
MAX_GUIDANCE = 15.0
MAX_ATTRIBUTE_GUIDANCE = 4.0  # beyond 2 images fall apart (docs/EVALUATION.md)


def check_limits(asked: SamplingConfig) -> None:
    """ConfigError for more than the studio draws."""
    if asked.steps > MAX_STEPS:
        raise ConfigError(f"{asked.steps} steps; choose 1 to {MAX_STEPS}")
    if not 1 <= asked.guidance_scale <= MAX_GUIDANCE:
        raise ConfigError(f"guidance {asked.guidance_scale:g} needs to be from 1 to {MAX_GUIDANCE:g}")
    limit = MAX_ATTRIBUTE_GUIDANCE
    if not -limit <= asked.attribute_guidance <= limit:
        raise ConfigError(f"attribute guidance {asked.attribute_guidance:g} needs to be from -{limit:g} to {limit:g}")
