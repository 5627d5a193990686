"""Noise -> latents: starting noise by seed, guidance, previews, cancelling."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import diffusers
import torch
from torch import Tensor

from detdiffusion.core.files import one_line
from detdiffusion.errors import ConfigError
from detdiffusion.sampling_config import SAMPLER_OPTIONS, SAMPLERS, WHOLE_SCHEDULE, check_sampler, in_interval

# [M, C, h, w] noisy latents and a timestep -> the U-Net's prediction, same shape. M is a multiple of B: see `guided`;
# where it is less than all parts, the first ones are left out.
Predict: TypeAlias = Callable[[Tensor, Tensor], Tensor]
# Number of the step just done, of how many, and a call that gives the finished latents as they look from here.
OnStep: TypeAlias = Callable[[int, int, Callable[[], Tensor]], None]


class Stepped(NamedTuple):
    """How sampling goes on after a step: with which latents and guidance, or not at all."""

    latents: Tensor
    guidance_scale: float
    goes_on: bool


# Index of the step just done (from 0), its timestep and the latents behind it -> how it goes on.
AfterStep: TypeAlias = Callable[[int, Tensor, Tensor], Stepped]

# Number of the step from 0, all timesteps, how many the model was trained with, and a call that gives the clean latents
# which the prediction implies -> those to go on with [B, C, h, w], or None: as they are.
Steer: TypeAlias = Callable[[int, Sequence[int], int, Callable[[], Tensor]], Tensor | None]

# A fraction of the schedule to begin at, and the clean latents [B, C, h, w] that get so much noise.
Begin: TypeAlias = tuple[float, Tensor]

WIDEST = 1.25  # standard deviation of what a scheduler makes of a standard normal; DPM-Solver++ ends at 1.05 at most


def make_scheduler(model_scheduler: Any, sampler: str | None) -> Any:
    """A fresh diffusers scheduler with the noise schedule of the model's own.

    Args:
        sampler: of `SAMPLERS`; None: the kind that the model came with.

    Raises:
        ConfigError: there is no such sampler.
    """
    kind, options = type(model_scheduler), {}
    if sampler:
        check_sampler(sampler)
        kind, options = getattr(diffusers, SAMPLERS[sampler]), dict(SAMPLER_OPTIONS.get(sampler, {}))
    # Some clip what they predict to -1..1 unless told otherwise: right for pixels, wrong for latents.
    return kind.from_config(model_scheduler.config, clip_sample=False, **options)


def check_scheduler(scheduler: Any, steps: int) -> None:
    """ConfigError where images break with a scheduler, its noise schedule and so many steps.

    It draws what a perfect model of normally distributed latents predicts, which are known to keep a standard deviation
    of 1. Good ones end near it (at few steps below it, as images are then too smooth); others far above, and their
    images are saturated: Heun's second look at the noisiest step multiplies its error by the schedule's highest noise.
    """
    settings = json.dumps(dict(scheduler.config), sort_keys=True, default=list)
    kind: Any = type(scheduler)
    problem = _problem(kind, settings, steps) if hasattr(scheduler, "alphas_cumprod") else "it has no betas"
    if problem:
        raise ConfigError(
            f"{type(scheduler).__name__} with {steps} steps does not fit this model's noise schedule: {problem}. "
            f"Choose a sampler ({', '.join(SAMPLERS)}), or more steps"
        )


@lru_cache(256)
def _problem(kind: Any, settings: str, steps: int) -> str:
    """What is wrong with a scheduler of this class and these settings (JSON); empty: nothing."""
    noise = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    try:
        scheduler = kind.from_config(json.loads(settings))
        prediction = scheduler.config.prediction_type

        def predict(latents: Tensor, t: Tensor) -> Tensor:
            clean: Tensor = scheduler.alphas_cumprod[int(t)]
            known: dict[str, Tensor] = {"epsilon": (1 - clean).sqrt(), "v_prediction": torch.zeros(())}
            return latents * known.get(prediction, clean.sqrt())

        drawn = sample(predict, scheduler, noise, seeds=[0], steps=steps, guidance_scale=1.0)
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, RuntimeError) as error:
        return one_line(error)
    spread = float(drawn.std())
    return "" if spread <= WIDEST else f"latents of a standard deviation of 1 end with {spread:.3g}"


def starting_noise(seeds: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    """Standard normal noise [B, *shape], each picture from its own seed on the CPU: independent of batch and device."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def sample(
    predict: Predict,
    scheduler: Any,
    noise: Tensor,
    *,
    seeds: Sequence[int] | None,
    steps: int,
    guidance_scale: float,
    attribute_guidance: float = 0.0,
    guidance_interval: tuple[float, float] = WHOLE_SCHEDULE,
    steer: Steer | None = None,
    begin: Begin | None = None,
    on_step: OnStep | None = None,
    generator: torch.Generator | list[torch.Generator] | None = None,
    after_step: AfterStep | None = None,
) -> Tensor:
    """Latents [B, C, h, w] of `noise`, float32.

    Args:
        predict: epsilon or v, as the scheduler's config says; its rows are those of `guided`.
        scheduler: a fresh diffusers scheduler; its state is changed.
        seeds: for schedulers that draw noise at every step (SDE-DPM-Solver++, DDPM): one stream a picture. None: they
            draw it from `generator`, as diffusers' pipelines do.
        guidance_scale: 1 switches guidance off.
        attribute_guidance: its strength; 0 switches it off.
        guidance_interval: see `in_interval`; elsewhere classifier-free guidance is off.
        steer: may change what every step takes the clean latents to be.
        begin: where to begin, and with what; None: with pure noise.
        on_step: called after every step; what it raises ends the sampling.
        generator: one for all images, or one an image; None: torch's own. Only where `seeds` is None.
        after_step: called after `on_step`; says how it goes on.
    """
    scheduler.set_timesteps(steps, device=noise.device)
    extra = _step_noise(scheduler, seeds, generator)
    trained = scheduler.config.num_train_timesteps
    latents, left = _first_latents(scheduler, noise, begin)
    timesteps = left.tolist()
    for number, t in enumerate(left, start=1):
        scaled = scheduler.scale_model_input(latents, t)
        # Of the list: to ask `t` would wait for an accelerator at every step.
        scale = guidance_scale if in_interval(int(timesteps[number - 1]), trained, guidance_interval) else 1.0
        prediction = guided(predict, scaled, t, scale, attribute_guidance)
        finished = _Finished(scheduler, prediction, scaled, t)
        if steer is not None and (clean := steer(number - 1, timesteps, trained, finished)) is not None:
            prediction = finished.prediction_of(clean)
        latents = scheduler.step(prediction, t, latents, **extra).prev_sample
        if on_step is not None:
            on_step(number, len(timesteps), _Finished(scheduler, prediction, scaled, t))
        if after_step is not None:
            latents, guidance_scale, goes_on = after_step(number - 1, t, latents)
            if not goes_on:
                break
    return latents


def _first_latents(scheduler: Any, noise: Tensor, begin: Begin | None) -> tuple[Tensor, Tensor]:
    """The noisy latents to begin with, and the timesteps that are left; always one at least."""
    timesteps = scheduler.timesteps
    if begin is None:
        return noise * scheduler.init_noise_sigma, timesteps
    _, clean = begin
    skipped = first_step(scheduler, begin)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skipped)
    latents: Tensor = scheduler.add_noise(clean, noise, timesteps[skipped : skipped + 1].expand(len(clean)))
    return latents, timesteps[skipped:]


def first_step(scheduler: Any, begin: Begin | None) -> int:
    """Index of the timestep that a sampling begins with; always one at least is left."""
    if begin is None:
        return 0
    skipped = int((scheduler.timesteps >= begin[0] * scheduler.config.num_train_timesteps).sum())
    return min(skipped, len(scheduler.timesteps) - 1)


def among_first(scheduler: Any, share: float, begin: Begin | None) -> Callable[[Tensor], bool]:
    """Tells of a timestep whether it is among the first `share` of those that a sampling takes, counted as diffusers
    counts GLIGEN's.

    Args:
        scheduler: whose timesteps are set when it is asked.
    """

    def early(t: Tensor) -> bool:
        left = scheduler.timesteps[first_step(scheduler, begin) :]
        count = int(share * len(left))
        return count == len(left) or bool(t > left[count])

    return early


def guided(predict: Predict, latents: Tensor, t: Tensor, scale: float, attribute_guidance: float = 0.0) -> Tensor:
    """Guidance on the prediction, u + s (c - u) + a (hard - easy), all parts in one batch: [B, C, h, w] float32.

    The first two terms are classifier-free guidance; the third, attribute guidance, is ours: it goes on in the
    direction in which the words for hard lead away from those for easy.

    Args:
        predict: sees B rows for each part that is needed, in the order u (unless `scale` is 1), c, hard, easy (unless
            `attribute_guidance` is 0).
        scale, attribute_guidance: s and a.
    """
    parts = 1 + (scale != 1) + 2 * (attribute_guidance != 0)
    predicted = list(predict(torch.cat([latents] * parts), t).float().chunk(parts))
    unconditional = predicted.pop(0) if scale != 1 else None
    conditional = predicted.pop(0)
    result = conditional if unconditional is None else unconditional + scale * (conditional - unconditional)
    if attribute_guidance != 0:
        hard, easy = predicted
        result = result + attribute_guidance * (hard - easy)
    return result


def finished_latents(prediction: Tensor, latents: Tensor, alpha_bar: Tensor, prediction_type: str) -> Tensor:
    """The clean latents that a prediction implies.

    Args:
        prediction: epsilon, v or the clean latents themselves, as `prediction_type` names it in diffusers.
        latents: sqrt(alpha_bar) clean + sqrt(1 - alpha_bar) noise.
    """
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    if prediction_type == "epsilon":
        return (latents - noise * prediction) / signal
    if prediction_type == "v_prediction":
        return signal * latents - noise * prediction
    return prediction


def implied_prediction(clean: Tensor, latents: Tensor, alpha_bar: Tensor, prediction_type: str) -> Tensor:
    """The prediction that implies these clean latents: the inverse of `finished_latents`."""
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    if prediction_type == "epsilon":
        return (latents - signal * clean) / noise
    if prediction_type == "v_prediction":
        return (signal * latents - clean) / noise
    return clean


class _Finished:
    """Gives the finished latents of one step when it is called: previews cost nothing unless someone looks."""

    def __init__(self, scheduler: Any, prediction: Tensor, latents: Tensor, t: Tensor) -> None:
        self._scheduler, self._prediction, self._latents, self._t = scheduler, prediction, latents, t

    def __call__(self) -> Tensor:
        return finished_latents(self._prediction, self._latents, *self._kind())

    def prediction_of(self, clean: Tensor) -> Tensor:
        """What the model would have to predict for these clean latents."""
        return implied_prediction(clean, self._latents, *self._kind())

    def _kind(self) -> tuple[Tensor, str]:
        alpha_bar = self._scheduler.alphas_cumprod[self._t.long().cpu()].to(self._latents)
        return alpha_bar, self._scheduler.config.prediction_type


def _step_noise(scheduler: Any, seeds: Sequence[int] | None, generator: Any) -> dict[str, Any]:
    if "generator" not in inspect.signature(scheduler.step).parameters:
        return {}
    if seeds is None:
        return {"generator": generator}
    # Another stream than the starting noise's, or the first step would draw that noise again.
    return {"generator": [torch.Generator().manual_seed(seed ^ 0x5DEECE66D) for seed in seeds]}
