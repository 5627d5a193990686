"""How an image is made: seed, steps, guidance, difficulty, sampler."""

from dataclasses import dataclass

from detdiffusion.diffusion.sampling import check_sampler
from detdiffusion.errors import ConfigError

MAX_SEED = 2**32 - 1
MAX_STEPS = 100
MAX_GUIDANCE = 15.0
MAX_DIFFICULTY = 4.0  # beyond 2 pictures fall apart (docs/EVALUATION.md)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a picture is made. ConfigError for what no model can do."""

    seed: int
    steps: int = 20
    guidance: float = 3.0
    difficulty: float = 0.0  # of attribute guidance: 0 is the plain prompt
    sampler: str = ""  # of `sampling.SAMPLERS`; empty: the kind that the model came with

    def __post_init__(self) -> None:
        if self.sampler:
            check_sampler(self.sampler)
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"seed {self.seed} needs to be from 0 to {MAX_SEED}")
        if not 1 <= self.steps <= MAX_STEPS:
            raise ConfigError(f"{self.steps} steps; choose 1 to {MAX_STEPS}")
        if not 1 <= self.guidance <= MAX_GUIDANCE:
            raise ConfigError(f"guidance {self.guidance:g} needs to be from 1 to {MAX_GUIDANCE:g}")
        if not -MAX_DIFFICULTY <= self.difficulty <= MAX_DIFFICULTY:
            raise ConfigError(
                f"difficulty {self.difficulty:g} needs to be from -{MAX_DIFFICULTY:g} to {MAX_DIFFICULTY:g}"
            )
