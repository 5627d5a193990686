"""How an image is made: values are checked at birth."""

import math

import pytest

from detdiffusion.errors import ConfigError
from detdiffusion.sampling_config import MAX_SEED, Recommended, SamplingConfig, SamplingRequest


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed -1"),
        ({"seed": MAX_SEED + 1}, "seed"),
        ({"seed": 1.5}, "seed 1.5 needs to be a whole number"),
        ({"seed": True}, "seed True needs to be a whole number"),
        ({"seed": "1"}, "seed '1' needs to be a whole number"),
        ({"seed": 1, "steps": "many"}, "'many' steps; choose 1 to 1000"),
        ({"seed": 1, "guidance_scale": "3"}, "guidance '3' needs to be a number"),
        ({"seed": 1, "attribute_guidance": None}, "attribute guidance None needs to be a number"),
        ({"seed": 1, "sampler": ["ddim"]}, "no sampler"),
        ({"seed": 1, "steps": 0}, "0 steps; choose 1 to 1000"),
        ({"seed": 1, "steps": 1001}, "1001 steps"),
        ({"seed": 1, "guidance_scale": math.nan}, "guidance nan"),
        ({"seed": 1, "attribute_guidance": math.inf}, "attribute guidance inf"),
        ({"seed": 1, "sampler": "magic"}, "no sampler 'magic'; choose one of dpm"),
    ],
)
def test_values_are_checked(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SamplingConfig(**values)  # type: ignore[arg-type]


def test_seeds_that_follow_start_again_behind_the_last() -> None:
    last = SamplingConfig(MAX_SEED, 5, 2.0, 1.0, "ddim")
    assert last.later(0) == last
    assert last.later(1) == SamplingConfig(0, 5, 2.0, 1.0, "ddim")
    assert MAX_SEED < 2**53, "whole in JavaScript's numbers"


STUDENT = Recommended(steps=2, guidance_scale=1.0, fewest_steps=2, most_steps=2)


def test_what_is_not_asked_for_is_the_models_own() -> None:
    assert SamplingRequest().of(STUDENT, 7) == SamplingConfig(7, 2, 1.0)
    assert SamplingRequest(steps=8).of(STUDENT, 7) == SamplingConfig(7, 8, 1.0)
    assert SamplingRequest(guidance_scale=3.0, attribute_guidance=1.0, sampler="ddim").of(
        Recommended(), 7
    ) == SamplingConfig(7, 20, 3.0, 1.0, "ddim")
    with pytest.raises(ConfigError, match="0 steps; choose 1 to 1000"):
        SamplingRequest(steps=0)


def test_recommendations_come_back_from_json() -> None:
    assert Recommended.from_json(STUDENT.to_json()) == STUDENT
    assert Recommended.from_json(None) == Recommended()
    assert Recommended.from_json({"steps": 8}) == Recommended(steps=8)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"sampling names \[\]: it is an object of steps, guidance_scale, fewest_steps, most_steps"),
        ({"step": 2}, r"sampling names \['step'\]"),
        ({"steps": 0}, "0 steps; choose 1 to 1000"),
        ({"steps": "2"}, "'2' steps"),
        ({"guidance_scale": "high"}, "guidance 'high' needs to be a number"),
        ({"steps": 2}, "2 steps are recommended, of 4 to 1000"),
        ({"steps": 20, "most_steps": 8}, "20 steps are recommended, of 4 to 8"),
        ({"most_steps": 1e9}, "whole numbers from 1 to 1000"),
    ],
)
def test_a_recommendation_that_makes_no_sense_is_refused(values: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recommended.from_json(values)


@pytest.mark.parametrize(
    ("model", "asked", "said"),
    [
        (STUDENT, SamplingConfig(0, 2, 1.0), ""),
        (STUDENT, SamplingConfig(0, 20, 1.0), "20 steps, where it needs at most 2"),
        (STUDENT, SamplingConfig(0, 2, 2.0), "guidance 2, where it has guidance built in and needs 1"),
        (Recommended(), SamplingConfig(0, 1, 1.0), "1 step, where it needs at least 4: expect worse"),
        (Recommended(), SamplingConfig(0, 1000, 9.0), ""),
    ],
)
def test_what_a_model_is_not_made_for_is_said(model: Recommended, asked: SamplingConfig, said: str) -> None:
    advice = model.advice(asked)
    assert said in advice
    assert bool(advice) is bool(said)
