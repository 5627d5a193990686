"""What a setting costs is measured on the work that it asks for."""

from typing import Any

from app.engine.costs import ROUNDS, STEPS, measure
from app.engine.studio import Studio


def test_each_row_runs_what_its_setting_asks_for(studio: Studio) -> None:
    """Counted in layouts that the U-Net looks at, which no busy machine changes."""
    looked: list[int] = []
    hook = studio.model.pipeline.unet.register_forward_pre_hook(
        lambda _module, arguments, named: looked.append(len(_noisy(arguments, named))), with_kwargs=True
    )
    counts: list[int] = []
    for costs in measure(studio):
        if not costs.progress or costs.rows:
            counts.append(sum(looked))
        looked.clear()
    hook.remove()
    steps = 1 + STEPS
    plan = len(costs.rows)
    assert counts[:3] == [2 * steps, steps, 4 * steps], "attributes: once more easy, once more hard"
    assert len(counts) == ROUNDS * plan
    assert [row.setting for row in costs.rows[:3]] == ["Guidance", "Guidance", "Attribute guidance"]
    assert all(row.seconds > 0 for row in costs.rows) and not costs.progress


def _noisy(arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return arguments[0] if arguments else named["sample"]
