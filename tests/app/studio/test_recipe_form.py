from app.studio.recipe_form import SAMPLERS
from detdiffusion.sampling_config import SAMPLERS as KNOWN


def test_every_sampler_is_offered() -> None:
    assert sorted(SAMPLERS.values()) == sorted(["", *KNOWN])
