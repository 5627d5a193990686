"""What the studio draws for its visitors."""

import pytest

from app.engine.limits import beyond_limits, check_limits, check_size
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.sampling_config import SamplingConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 101}, "101 steps; choose 1 to 100$"),
        ({"guidance_scale": 0.5}, "guidance 0.5"),
        ({"guidance_scale": 15.5}, "guidance 15.5 needs to be from 1 to 15"),
        ({"attribute_guidance": 4.5}, "attribute guidance 4.5 needs to be from -4 to 4"),
        ({"attribute_guidance": -4.5}, "attribute guidance -4.5"),
    ],
)
def test_more_than_the_studio_draws_is_refused(values: dict[str, float], message: str) -> None:
    config = SamplingConfig(1, **values)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        check_limits(config)


def test_images_that_could_take_all_memory_are_refused() -> None:
    check_size((512, 512), (256, 256))
    with pytest.raises(
        LayoutError, match="5056x4992 pixels; the studio draws at most 262,144 with this model, 4 times"
    ):
        check_size((4992, 5056), (256, 256))


def test_all_that_is_beyond_is_named() -> None:
    found = [(one.what, one.bounds) for one in beyond_limits(SamplingConfig(1, 500, 20, -5))]
    assert found == [("500 steps", "1 to 100"), ("guidance 20", "1 to 15"), ("attribute guidance -5", "-4 to 4")]


def test_its_limits_are_within_them() -> None:
    for config in (SamplingConfig(1, 100, 15.0, 4.0), SamplingConfig(1, 1, 1.0, -4.0)):
        check_limits(config)
