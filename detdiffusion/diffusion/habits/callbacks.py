"""callback_on_step_end as diffusers' pipelines call it: it sees latents and words after every step, and may change
them, switch guidance off (`pipe._guidance_scale = 0.0`) or end the sampling (`pipe._interrupt = True`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from torch import Tensor, nn

from detdiffusion.diffusion.output import StepInfo
from detdiffusion.diffusion.sampling import AfterStep, Stepped
from detdiffusion.errors import ConfigError, quoted
from detdiffusion.text.prompt import TextCondition

TENSOR_INPUTS = ("latents", "prompt_embeds")
# Words of each group of images, with what is drawn for a blueprint or a ControlNet.
Conditions: TypeAlias = list[tuple[TextCondition, Tensor | None]]
StepEnd: TypeAlias = Callable[[Any, int, Any, dict[str, Any]], Mapping[str, Any] | None]


def checked_names(callback: Any, names: Sequence[str]) -> tuple[str, ...]:
    """The tensors that a callback wants to see: diffusers' own callbacks say it themselves.

    Raises:
        ConfigError: it is no function, or one of the names is unknown.
    """
    if callback is not None and not callable(callback):
        raise ConfigError(
            "callback_on_step_end needs to be a function of (pipe, step, timestep, tensors), "
            f"not {type(callback).__name__}"
        )
    if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):
        names = callback.tensor_inputs
    unknown = [name for name in names if name not in TENSOR_INPUTS]
    if unknown:
        raise ConfigError(
            f"callback_on_step_end_tensor_inputs names {quoted(unknown)}; a callback can see {', '.join(TENSOR_INPUTS)}"
        )
    return tuple(dict.fromkeys(names))


class StepCallback:
    """Calls the caller's function after a step and takes over what it has changed; a `sampling.AfterStep`.

    Args:
        pipe: what the function is given; it reads and sets `_guidance_scale` and `_interrupt` there.
        names: of `checked_names`.
        conditions: what the steps read; changed in place where the function returns other prompt_embeds.
        timesteps: a call that gives those of the sampling.
    """

    def __init__(
        self,
        pipe: Any,
        callback: StepEnd,
        names: Sequence[str],
        conditions: Conditions,
        timesteps: Callable[[], Sequence[Any]],
    ) -> None:
        self._pipe, self._callback, self._names = pipe, callback, names
        self._conditions, self._timesteps = conditions, timesteps

    def __call__(self, index: int, t: Tensor, latents: Tensor) -> Stepped:
        """index: of the step, from 0; latents: [B, C, h, w] after it."""
        self._pipe._num_timesteps = len(self._timesteps())
        given: dict[str, Tensor] = {}
        if "latents" in self._names:
            given["latents"] = latents
        if "prompt_embeds" in self._names:
            given["prompt_embeds"] = shown = joined(self._conditions)
        answer = self._callback(self._pipe, index, t, dict(given))
        if not isinstance(answer, Mapping):
            raise ConfigError(
                f"callback_on_step_end returned {type(answer).__name__}: it needs to return the dict that it was given"
            )
        if "prompt_embeds" in given and (embeds := answer.get("prompt_embeds", shown)) is not shown:
            replace_words(self._conditions, embeds)
        scale = self._pipe.guidance_scale
        return Stepped(_latents(answer, latents), 1.0 if scale <= 1 else scale, not self._pipe.interrupt)


def joined(conditions: Conditions) -> Tensor:
    """The words of all images [parts * B, S, D], in the order of `sampling.guided`; zeros where one has fewer."""
    hidden = [condition.hidden.transpose(0, 1) for condition, _ in conditions]  # [rows, S, D] -> [S, rows, D]
    padded: Tensor = nn.utils.rnn.pad_sequence(hidden, batch_first=True)  # -> [groups, S, rows, D]
    return padded.permute(2, 0, 1, 3).flatten(0, 1)


def replace_words(conditions: Conditions, embeds: Any) -> None:
    """Puts other words in place of `joined`'s; where there are fewer rows, the first ones of each image are left out.

    Raises:
        ConfigError: they are of another shape.
    """
    now = joined(conditions)
    if not isinstance(embeds, Tensor) or embeds.shape[1:] != now.shape[1:] or len(embeds) % len(conditions):
        shape = list(embeds.shape) if isinstance(embeds, Tensor) else type(embeds).__name__
        raise ConfigError(f"callback_on_step_end returned prompt_embeds {shape}, where it was given {list(now.shape)}")
    rows = embeds.unflatten(0, (-1, len(conditions)))  # -> [rows, groups, S, D]
    last = slice(-len(rows), None)
    for place, (condition, raw) in enumerate(conditions):
        kept = condition.rows(last)
        hidden = rows[:, place, : kept.hidden.shape[1]].to(kept.hidden)
        conditions[place] = kept._replace(hidden=hidden), None if raw is None else raw[last]


def _latents(answer: Mapping[str, Any], latents: Tensor) -> Tensor:
    changed = answer.get("latents", latents)
    if not isinstance(changed, torch.Tensor) or changed.shape != latents.shape:
        raise ConfigError(f"callback_on_step_end returned other latents than a tensor {list(latents.shape)}")
    return changed.to(latents)


@dataclass(frozen=True)
class Watching:
    """Who looks on while images are drawn: a function of ours that sees previews, and one of diffusers' kind."""

    on_step: Callable[[StepInfo], None] | None = None
    callback: StepEnd | None = None
    names: tuple[str, ...] = ()

    def after_step(self, pipe: Any, conditions: Conditions, timesteps: Callable[[], Sequence[Any]]) -> AfterStep | None:
        """What `sampling.sample` calls after every step; None: nothing."""
        return self.callback and StepCallback(pipe, self.callback, self.names, conditions, timesteps)
