"""Phases of the schedule, and steps between timesteps: against diffusers' own DDIM."""

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from detdiffusion.errors import ConfigError
from training.distillation.phases import CLEAN, Phases, Step

X = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1))
P = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(2))


def ddim(prediction_type: str) -> DDIMScheduler:
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2" if prediction_type == "v_prediction" else "scaled_linear",
        prediction_type=prediction_type,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
        clip_sample=False,
    )


@pytest.mark.parametrize(("steps", "substeps"), [(1, 8), (2, 10), (4, 5), (3, 7)])
def test_phases_begin_where_the_sampler_steps(steps: int, substeps: int) -> None:
    phases, scheduler = Phases(steps, substeps, 1000), ddim("v_prediction")
    scheduler.set_timesteps(steps)
    assert phases.points[::substeps].tolist() == [*scheduler.timesteps.tolist(), CLEAN]
    assert len(phases.points) == steps * substeps + 1 and bool((phases.points.diff() < 0).all())


def test_every_timestep_has_its_place() -> None:
    phases = Phases(2, 5, 1000)
    start, next_, end = phases.places(torch.tensor([999, 950, 600, 500, 499, 99, 0]))
    assert start.tolist() == [999, 999, 699, 599, 499, 99, 99]
    assert next_.tolist() == [899, 899, 599, 499, 399, -1, -1]
    assert end.tolist() == [499, 499, 499, 499, -1, -1, -1]


@pytest.mark.parametrize(("steps", "substeps"), [(0, 5), (2, 0), (40, 40)])
def test_phases_that_do_not_fit_are_refused(steps: int, substeps: int) -> None:
    with pytest.raises(ConfigError, match="do not fit a schedule of 1000 timesteps"):
        Phases(steps, substeps, 1000)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_step_is_that_of_ddim(prediction_type: str) -> None:
    scheduler = ddim(prediction_type)
    scheduler.set_timesteps(4)
    for t in scheduler.timesteps:
        expected: Tensor = scheduler.step(P, t, X).prev_sample
        times = torch.full((3,), int(t)), torch.full((3,), int(t) - 250)
        step = Step.between(scheduler.alphas_cumprod, *times, prediction_type)
        torch.testing.assert_close(step(X, P), expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(step.leading_to(X, expected), P, rtol=1e-2, atol=1e-2)
