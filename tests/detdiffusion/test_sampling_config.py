"""How an image is made: values are checked at birth."""

import math

import pytest

from detdiffusion.errors import ConfigError
from detdiffusion.sampling_config import MAX_SEED, SamplingConfig


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
