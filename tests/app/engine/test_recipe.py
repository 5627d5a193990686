"""What no model can do is refused."""

import pytest

from app.engine.recipe import MAX_SEED, Recipe
from detdiffusion.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed -1"),
        ({"seed": MAX_SEED + 1}, "seed"),
        ({"seed": 1, "steps": 0}, "0 steps; choose 1 to 100"),
        ({"seed": 1, "steps": 101}, "101 steps"),
        ({"seed": 1, "guidance": 0.5}, "guidance 0.5"),
        ({"seed": 1, "guidance": float("nan")}, "guidance nan"),
    ],
)
def test_recipe_is_checked(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe(**values)  # type: ignore[arg-type]
