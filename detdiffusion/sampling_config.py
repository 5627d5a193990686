"""How an image is made: one frozen value for the command, the studio, `generate`, `evaluate` and image files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from numbers import Real
from types import MappingProxyType
from typing import Any

from detdiffusion.errors import ConfigError, quoted

# 48 bits: what `generate` gives each image, and whole in JavaScript's numbers (53 bits). Torch's generator on the CPU
# reads the lowest 32 bits: seeds that differ above them alone start from the same noise.
MAX_SEED = 2**48 - 1
MAX_STEPS = 1000
DEFAULT_STEPS = 20
DEFAULT_GUIDANCE = 2.0  # of classifier-free guidance
MAX_DETECTOR_GUIDANCE = 4.0  # from 2 up images begin to break
WHOLE_SCHEDULE = (0.0, 1.0)

# By the name that people give them -> diffusers' class. Each takes one forward a step, so they differ in quality for
# few steps. The two that add noise at every step, sde-dpm++ and ddpm, forget the errors of earlier steps.
SAMPLERS: Mapping[str, str] = MappingProxyType(
    {
        "dpm++": "DPMSolverMultistepScheduler",
        "sde-dpm++": "DPMSolverMultistepScheduler",
        "unipc": "UniPCMultistepScheduler",
        "ddim": "DDIMScheduler",
        "euler": "EulerDiscreteScheduler",
        "ddpm": "DDPMScheduler",
    }
)

SAMPLER_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"dpm++": {"algorithm_type": "dpmsolver++"}, "sde-dpm++": {"algorithm_type": "sde-dpmsolver++"}}
)
"""What some samplers set of their class, over the model's own."""


def check_sampler(name: str) -> None:
    """ConfigError if there is no such sampler."""
    if not isinstance(name, str) or name not in SAMPLERS:
        raise ConfigError(f"there is no sampler {quoted(name)}; choose one of {', '.join(SAMPLERS)}")


def sampler_named(scheduler: Mapping[str, Any]) -> str:
    """The name of a kind of scheduler, by its config as diffusers saves it; empty for one that has no name here."""
    for name, kind in SAMPLERS.items():
        options = SAMPLER_OPTIONS.get(name, {})
        if scheduler.get("_class_name") == kind and all(scheduler.get(key) == value for key, value in options.items()):
            return name
    return ""


def in_interval(timestep: float, timesteps: int, interval: tuple[float, float]) -> bool:
    """Whether a timestep (0 .. timesteps - 1) lies in a part of the noise schedule, from the clean end (0) to the noisy
    one (1): above the lower end, and not above the upper one.

    Guidance at the noisiest timesteps draws images of one prompt towards each other, with edges that are too hard
    (Kynkaanniemi et al. 2024, "Applying guidance in a limited interval").
    """
    low, high = interval
    return low < (timestep + 1) / timesteps <= high


def check_interval(interval: Sequence[float]) -> tuple[float, float]:
    """ConfigError where it is no part of the noise schedule."""
    if len(interval) != 2 or not 0 <= interval[0] < interval[1] <= 1:
        raise ConfigError(f"guidance_interval is {list(interval)}, and needs to be two rising numbers from 0 to 1")
    return float(interval[0]), float(interval[1])


def check_share(share: object) -> float:
    """ConfigError where it is no share of the steps."""
    if not _is_finite(share) or not 0 <= share <= 1:  # type: ignore[operator]  # a number
        raise ConfigError(f"gligen_scheduled_sampling_beta {quoted(share)} needs to be a number from 0 to 1")
    return float(share)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """All that decides an image beside its layout and the model.

    Attributes:
        seed: of the starting noise, 0 to `MAX_SEED`; the same seed starts from the same noise everywhere.
        steps: of the sampler, 1 to `MAX_STEPS`.
        guidance_scale: of classifier-free guidance; 1 switches it off.
        attribute_guidance: how far to go on from easy towards hard; below 0 towards easy; 0 switches it off.
        sampler: of `SAMPLERS`; empty is the kind that the model came with.
        fix_boxes: objects that a detector does not find in their place are drawn again.
        detector_guidance: how strongly a detector's gradient leads objects, 0 to `MAX_DETECTOR_GUIDANCE`; 0: not.
        gligen_scheduled_sampling_beta: the first part of the steps, 0 to 1, in which a GLIGEN model sees the boxes;
            None: as its folder says.

    Raises:
        ConfigError: a value is out of range.
    """

    seed: int
    steps: int = DEFAULT_STEPS
    guidance_scale: float = DEFAULT_GUIDANCE
    attribute_guidance: float = 0.0
    sampler: str = ""
    detector_guidance: float = 0.0
    fix_boxes: bool = False
    gligen_scheduled_sampling_beta: float | None = None

    def __post_init__(self) -> None:
        if self.sampler:
            check_sampler(self.sampler)
        if not _is_whole(self.seed) or not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"seed {quoted(self.seed)} needs to be a whole number from 0 to {MAX_SEED}")
        if not _is_whole(self.steps) or not 1 <= self.steps <= MAX_STEPS:
            raise ConfigError(f"{quoted(self.steps)} steps; choose 1 to {MAX_STEPS}")
        if not _is_finite(self.guidance_scale):
            raise ConfigError(f"guidance {quoted(self.guidance_scale)} needs to be a number")
        if not _is_finite(self.attribute_guidance):
            raise ConfigError(f"attribute guidance {quoted(self.attribute_guidance)} needs to be a number")
        if not _is_finite(self.detector_guidance) or not 0 <= self.detector_guidance <= MAX_DETECTOR_GUIDANCE:
            raise ConfigError(
                f"detector guidance {quoted(self.detector_guidance)} needs to be a number from 0 to "
                f"{MAX_DETECTOR_GUIDANCE:g}; 1 is usual"
            )
        if not isinstance(self.fix_boxes, bool):
            raise ConfigError(f"fix_boxes {quoted(self.fix_boxes)} needs to be True or False")
        if self.gligen_scheduled_sampling_beta is not None:
            check_share(self.gligen_scheduled_sampling_beta)

    def options(self) -> dict[str, Any]:
        """All but the seed, by the names that `DetDiffusionPipeline` takes; what is off is left out."""
        strength = {"attribute_guidance": self.attribute_guidance} if self.attribute_guidance else {}
        sampler = {"sampler": self.sampler} if self.sampler else {}
        led = {"detector_guidance": self.detector_guidance} if self.detector_guidance else {}
        fixed = {"fix_boxes": True} if self.fix_boxes else {}
        beta = self.gligen_scheduled_sampling_beta
        early = {} if beta is None else {"gligen_scheduled_sampling_beta": beta}
        whole = {"steps": self.steps, "guidance_scale": self.guidance_scale}
        return {**whole, **strength, **sampler, **led, **fixed, **early}

    def later(self, number: int) -> SamplingConfig:
        """With the seed that lies `number` behind this one; behind the last comes the first."""
        return replace(self, seed=(self.seed + number) % (MAX_SEED + 1))


@dataclass(frozen=True, slots=True)
class Recommended:
    """How a model wants to be sampled: `sampling` in its model_index.json. Its sampler is the folder's scheduler.

    Attributes:
        steps, guidance_scale: what is taken where nobody says otherwise.
        fewest_steps, most_steps: outside of them images get worse, and who asks for them is told.

    Raises:
        ConfigError: a value is out of range, or they contradict each other.
    """

    steps: int = DEFAULT_STEPS
    guidance_scale: float = DEFAULT_GUIDANCE
    fewest_steps: int = 4
    most_steps: int = MAX_STEPS

    def __post_init__(self) -> None:
        SamplingConfig(0, self.steps, self.guidance_scale)
        bounds = (self.fewest_steps, self.most_steps)
        if not all(_is_whole(bound) for bound in bounds) or not 1 <= bounds[0] <= self.steps <= bounds[1] <= MAX_STEPS:
            raise ConfigError(
                f"{self.steps} steps are recommended, of {quoted(bounds[0])} to {quoted(bounds[1])}: these need to be "
                f"whole numbers from 1 to {MAX_STEPS}, with the recommended one between them"
            )

    @classmethod
    def from_json(cls, values: Any) -> Recommended:
        """Of model_index.json; None: the model says nothing. ConfigError: it says something else than is known."""
        if values is None:
            return cls()
        known = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping) or (strange := [name for name in values if name not in known]):
            what = strange if isinstance(values, Mapping) else values
            raise ConfigError(f"sampling names {quoted(what)}: it is an object of {', '.join(known)}")
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """As model_index.json holds it."""
        return asdict(self)

    @property
    def guided(self) -> bool:
        """False for a model that has guidance built in."""
        return self.guidance_scale != 1

    def named(self, steps: int | None = None) -> str:
        """ "fast (2 steps)" of a student, "full (20 steps)" of another model. steps: that are asked of it instead."""
        steps = steps or self.steps
        return f"{'full' if self.guided else 'fast'} ({steps} step{'s' * (steps > 1)})"

    def advice(self, asked: SamplingConfig) -> str:
        """What is wrong with sampling this model so; empty: nothing."""
        said = []
        if not self.fewest_steps <= asked.steps <= self.most_steps:
            bound = f"at least {self.fewest_steps}" if asked.steps < self.fewest_steps else f"at most {self.most_steps}"
            said.append(f"{asked.steps} step{'s' * (asked.steps > 1)}, where it needs {bound}")
        if not self.guided and asked.guidance_scale != 1:
            said.append(f"guidance {asked.guidance_scale:g}, where it has guidance built in and needs 1")
        own = f"{self.steps} steps and guidance {self.guidance_scale:g}"
        return f"this model is asked for {', and '.join(said)}: expect worse images than with {own}" if said else ""


@dataclass(frozen=True, slots=True)
class TagGuidance:
    """Guidance away from other tags (`steering.tag_guidance`): `tag_guidance` in a model's model_index.json.

    Attributes:
        strength: as a share of what the guidance scale says: an image goes `strength * (scale - 1)` further away from
            the other tags.
        noisiest: the part of the noise schedule, 0 to 1 from its noisy end, in which it takes the place of guidance
            away from the empty prompt.

    Raises:
        ConfigError: a value is out of range.
    """

    strength: float
    noisiest: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
                raise ConfigError(
                    f"tag_guidance: {field.name} is {quoted(value)}, and needs to be above 0, and 1 at most"
                )

    @classmethod
    def from_json(cls, values: Any) -> TagGuidance | None:
        """Of model_index.json; None: the model has none. ConfigError: it says something else than is known."""
        if values is None:
            return None
        known = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or set(values) != known:
            raise ConfigError(f"tag_guidance is {quoted(values)}, and needs to be an object of strength and noisiest")
        return cls(**values)

    def is_on(self, t: float, timesteps: int) -> bool:
        """Whether it is on at a timestep (0 .. timesteps - 1)."""
        return in_interval(t, timesteps, (1.0 - self.noisiest, 1.0))


@dataclass(frozen=True, slots=True)
class SamplingRequest:
    """What somebody asks of sampling, whatever the model; None: as each model recommends it. Else `SamplingConfig`.

    Raises:
        ConfigError: a value is out of range.
    """

    steps: int | None = None
    guidance_scale: float | None = None
    attribute_guidance: float = 0.0
    sampler: str = ""
    detector_guidance: float = 0.0
    fix_boxes: bool = False
    gligen_scheduled_sampling_beta: float | None = None

    def __post_init__(self) -> None:
        self.of(Recommended())

    def of(self, model: Recommended, seed: int = 0) -> SamplingConfig:
        """For one model. ConfigError: the seed is out of range."""
        steps = model.steps if self.steps is None else self.steps
        scale = model.guidance_scale if self.guidance_scale is None else self.guidance_scale
        own = (self.attribute_guidance, self.sampler, self.detector_guidance, self.fix_boxes)
        return SamplingConfig(seed, steps, scale, *own, self.gligen_scheduled_sampling_beta)


def _is_whole(value: object) -> bool:
    """True and False are whole numbers for Python alone."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    """Whole numbers beyond all floats are as good as infinite."""
    return not isinstance(value, bool) and isinstance(value, Real) and abs(value) <= sys.float_info.max  # type: ignore[operator]  # numpy's, too


AS_RECOMMENDED = SamplingRequest()
