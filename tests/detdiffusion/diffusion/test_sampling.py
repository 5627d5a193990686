"""Noise by seed, guidance, and samplers that must find the picture when the prediction is perfect."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
)
from torch import Tensor

from detdiffusion.diffusion.sampling import (
    SAMPLERS,
    check_scheduler,
    finished_latents,
    guided,
    implied_prediction,
    make_scheduler,
    sample,
    starting_noise,
)
from detdiffusion.errors import Cancelled, ConfigError
from detdiffusion.sampling_config import WHOLE_SCHEDULE, check_interval, in_interval

CLEAN = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(9))
SEEDS = (3, 4)
OURS = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def oracle(scheduler: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """The perfect prediction for latents whose clean form is CLEAN, under guidance too."""

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        alpha_bar = scheduler.alphas_cumprod[t.long()]
        clean = CLEAN.repeat(len(latents) // 2, 1, 1, 1)
        noise = (latents - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
        if scheduler.config.prediction_type == "epsilon":
            return noise
        return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * clean

    return predict


def test_guidance_is_on_in_its_interval_alone() -> None:
    """Rows that the U-Net sees at every step: both halves where guidance is on, the layouts alone where it is off."""
    scheduler = DPMSolverMultistepScheduler(prediction_type="v_prediction")
    seen: list[tuple[int, int]] = []

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        seen.append((int(t), len(latents)))
        return 0.1 * latents

    sample(
        predict,
        scheduler,
        starting_noise(SEEDS, (4, 3, 3)),
        seeds=SEEDS,
        steps=10,
        guidance_scale=3.0,
        guidance_interval=(0.25, 0.8),
    )
    assert [rows for _, rows in seen] == [2, 2, 4, 4, 4, 4, 4, 4, 2, 2]
    assert all((rows == 4) == (250 <= t < 800) for t, rows in seen)
    assert in_interval(0, 1000, WHOLE_SCHEDULE) and in_interval(999, 1000, WHOLE_SCHEDULE)


@pytest.mark.parametrize("interval", [(0.5,), (0.5, 0.5), (0.9, 0.1), (-0.1, 1.0), (0.0, 1.1), (0.0, float("nan"))])
def test_an_interval_that_is_none_is_refused(interval: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"guidance_interval is .*two rising numbers from 0 to 1"):
        check_interval(interval)


def test_noise_depends_on_its_seed_alone() -> None:
    noise = starting_noise([7, 8, 7], (4, 3, 3))
    torch.testing.assert_close(noise[0], noise[2])
    torch.testing.assert_close(noise[1], starting_noise([8], (4, 3, 3))[0])
    assert not torch.equal(noise[0], noise[1])
    golden = torch.tensor([-0.1468, 0.7861])  # a seed means the same picture tomorrow
    torch.testing.assert_close(starting_noise([7], (1, 1, 2)).flatten(), golden, atol=1e-4, rtol=0)


def test_noise_leaves_global_randomness_alone() -> None:
    before = torch.random.get_rng_state()
    starting_noise([7], (4, 3, 3))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize("kind", [DPMSolverMultistepScheduler, DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler])
def test_a_perfect_prediction_gives_the_clean_latents(kind: Any, guidance_scale: float, prediction_type: str) -> None:
    unclipped = {} if kind in (DPMSolverMultistepScheduler, EulerDiscreteScheduler) else {"clip_sample": False}
    scheduler = kind(beta_schedule="scaled_linear", prediction_type=prediction_type, **unclipped)
    seen: list[Tensor] = []
    latents = sample(
        oracle(scheduler),
        scheduler,
        starting_noise(SEEDS, (4, 3, 3)),
        seeds=SEEDS,
        steps=10,
        guidance_scale=guidance_scale,
        on_step=lambda step, steps, finished: seen.append(finished()),
    )
    torch.testing.assert_close(latents, CLEAN, atol=2e-3, rtol=0)
    assert len(seen) == 10
    for preview in seen:
        torch.testing.assert_close(preview, CLEAN, atol=2e-2, rtol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_any_sampler_can_take_the_place_of_the_models_own(sampler: str) -> None:
    own = DPMSolverMultistepScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    scheduler = make_scheduler(own, sampler)
    latents = sample(
        oracle(scheduler),
        scheduler,
        starting_noise(SEEDS, (4, 3, 3)),
        seeds=SEEDS,
        steps=12,
        guidance_scale=3.0,
    )
    assert type(scheduler).__name__ == SAMPLERS[sampler]
    assert CLEAN.abs().max() > 1, "the test would not see what is clipped"
    torch.testing.assert_close(latents, CLEAN, atol=2e-2, rtol=0)


@pytest.mark.parametrize("kind", [DDIMScheduler, DDPMScheduler])
def test_latents_are_never_clipped(kind: Any) -> None:
    """These two clip unless told otherwise, also where a person puts them into a pipeline."""
    pipeline_has = kind.from_config(OURS)
    assert pipeline_has.config.clip_sample
    for sampler in (None, "ddim", "ddpm"):
        assert make_scheduler(pipeline_has, sampler).config.clip_sample is False
    scheduler = make_scheduler(pipeline_has, None)
    latents = sample(
        oracle(scheduler), scheduler, starting_noise(SEEDS, (4, 3, 3)), seeds=SEEDS, steps=12, guidance_scale=3.0
    )
    torch.testing.assert_close(latents, CLEAN, atol=2e-2, rtol=0)


def test_a_samplers_options_hold_whatever_the_models_scheduler_left_to_chance() -> None:
    """diffusers drops settings that a config only holds because they are the class's own."""
    own = DPMSolverMultistepScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    assert make_scheduler(own, "sde-dpm++").config.algorithm_type == "sde-dpmsolver++"


@pytest.mark.parametrize("sampler", [None, *SAMPLERS])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8, 20, 100])
@pytest.mark.parametrize("schedule", ["ours", "stable diffusion"])
def test_every_sampler_fits_with_any_number_of_steps(sampler: str | None, steps: int, schedule: str) -> None:
    own = DPMSolverMultistepScheduler.from_config(OURS if schedule == "ours" else STABLE_DIFFUSION)
    check_scheduler(make_scheduler(own, sampler), steps)


@pytest.mark.parametrize(
    ("kind", "steps", "reason"),
    [
        (HeunDiscreteScheduler, 8, "latents of a standard deviation of 1 end with 1"),  # images all black and white
        (HeunDiscreteScheduler, 20, "latents of a standard deviation of 1 end with 6.8"),
        (EulerAncestralDiscreteScheduler, 4, "end with nan"),
        (PNDMScheduler, 2, "could not be broadcast"),
        (FlowMatchEulerDiscreteScheduler, 8, "it has no betas"),
    ],
)
def test_a_scheduler_with_which_images_break_is_refused(kind: Any, steps: int, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"{kind.__name__} with {steps} steps does not fit .*{reason}.*dpm\+\+"):
        check_scheduler(kind.from_config(OURS), steps)


def test_a_scheduler_that_fits_elsewhere_is_taken_there() -> None:
    """Heun's, for Stable Diffusion's noise schedule, which ends at less noise."""
    check_scheduler(HeunDiscreteScheduler.from_config(STABLE_DIFFUSION), 8)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_noise_at_every_step_comes_from_the_seed(sampler: str) -> None:
    own = DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", prediction_type="v_prediction")
    starts = starting_noise((3, 3), (4, 3, 3))

    def run(*seeds: int) -> Tensor:
        scheduler, how = make_scheduler(own, sampler), {"steps": 5, "guidance_scale": 1.0}
        return sample(lambda latents, t: 0.1 * latents, scheduler, starts[: len(seeds)], seeds=seeds, **how)

    one, other = run(3, 4)
    assert torch.equal(run(3, 4)[1], other) and torch.equal(run(4)[0], other), "again, and in another batch"
    assert torch.equal(one, other) == (sampler not in ("sde-dpm++", "ddpm"))


def test_an_unknown_sampler_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="no sampler 'magic'; choose one of dpm\\+\\+, sde-dpm\\+\\+, unipc"):
        make_scheduler(DPMSolverMultistepScheduler(), "magic")


def test_schedulers_that_draw_noise_do_so_by_seed() -> None:
    def run(seeds: tuple[int, ...]) -> Tensor:
        scheduler = DDPMScheduler()
        return sample(
            lambda latents, t: 0.1 * latents,
            scheduler,
            starting_noise(seeds, (4, 3, 3)),
            seeds=seeds,
            steps=5,
            guidance_scale=1,
        )

    both, second = run((3, 4)), run((4,))
    torch.testing.assert_close(both[1:], second)
    assert not torch.allclose(both[0], both[1])


def test_guidance_takes_both_halves_from_one_batch() -> None:
    sizes = []

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        sizes.append(len(latents))
        return torch.cat([torch.full_like(CLEAN, 2.0), torch.full_like(CLEAN, 5.0)]) if len(latents) == 4 else latents

    assert guided(predict, CLEAN, torch.tensor(1), 3.0).unique().tolist() == [2 + 3 * (5 - 2)]
    assert guided(predict, CLEAN, torch.tensor(1), 0.0).unique().tolist() == [2]
    torch.testing.assert_close(guided(predict, CLEAN, torch.tensor(1), 1.0), CLEAN)
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize(
    ("scale", "attribute_guidance", "rows", "expected"),
    [
        (3.0, 2.0, 8, 2 + 3 * (5 - 2) + 2 * (11 - 7)),
        (3.0, -1.0, 8, 2 + 3 * (5 - 2) - (11 - 7)),
        (1.0, 2.0, 6, 5 + 2 * (11 - 7)),
        (1.0, 0.0, 2, 5),
    ],
)
def test_attribute_guidance_goes_from_easy_to_hard(
    scale: float, attribute_guidance: float, rows: int, expected: float
) -> None:
    def predict(latents: Tensor, t: Tensor) -> Tensor:
        assert len(latents) == rows
        parts = {8: (2, 5, 11, 7), 6: (5, 11, 7), 2: (5,)}[rows]
        return torch.cat([torch.full_like(CLEAN, float(part)) for part in parts])

    assert guided(predict, CLEAN, torch.tensor(1), scale, attribute_guidance).unique().tolist() == [expected]


def test_finished_latents_of_a_sample_prediction() -> None:
    torch.testing.assert_close(finished_latents(CLEAN, torch.zeros(()), torch.tensor(0.3), "sample"), CLEAN)


def test_an_error_in_on_step_ends_the_sampling() -> None:
    calls = []

    def stop(step: int, steps: int, finished: Callable[[], Tensor]) -> None:
        calls.append((step, steps))
        if step == 2:
            raise Cancelled("stopped")

    scheduler = DPMSolverMultistepScheduler()
    with pytest.raises(Cancelled):
        sample(
            oracle(scheduler),
            scheduler,
            starting_noise(SEEDS, (4, 3, 3)),
            seeds=SEEDS,
            steps=5,
            guidance_scale=1,
            on_step=stop,
        )
    assert calls == [(1, 5), (2, 5)]


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_a_prediction_follows_from_the_clean_latents(prediction_type: str) -> None:
    alpha_bar, latents = torch.tensor(0.6), torch.randn_like(CLEAN)
    prediction = implied_prediction(CLEAN, latents, alpha_bar, prediction_type)
    assert torch.allclose(finished_latents(prediction, latents, alpha_bar, prediction_type), CLEAN, atol=1e-5)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_steering_changes_where_sampling_ends(sampler: str) -> None:
    """Whatever the sampler: told at every step that the clean latents are others, it ends with those."""
    scheduler = make_scheduler(DDPMScheduler(**OURS), sampler)
    options: dict[str, Any] = {"seeds": SEEDS, "steps": 20, "guidance_scale": 1.0}
    noise = starting_noise(SEEDS, (4, 3, 3))
    steered = sample(oracle(scheduler), scheduler, noise, **options, steer=lambda *_: 0.5 * CLEAN)
    scheduler = make_scheduler(DDPMScheduler(**OURS), sampler)
    alone = sample(oracle(scheduler), scheduler, noise, **options, steer=lambda *_: None)
    assert (steered - 0.5 * CLEAN).abs().max() < 0.05 and (alone - CLEAN).abs().max() < 0.05
