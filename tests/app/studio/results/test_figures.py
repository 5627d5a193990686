"""The figures of the paper."""

from typing import Any

import pytest

from app.engine.studio import Studio
from app.studio.results.figures import Figure, figure
from app.studio.results.form import Form
from detdiffusion.errors import ConfigError
from detdiffusion.image_record import read_image

FIXED = Form(fixed=True, seed=5.0, steps=3.0, guidance_scale=3.0)


@pytest.mark.parametrize(
    ("which", "names", "columns", "seeds"),
    [
        (Figure.MODELS, ["tiny", "silent"], 2, [5, 5]),
        (Figure.TAGS, ["As tagged", "Easy", "Hard"], 3, [5, 5, 5]),
        (Figure.TAGS_OF_NOISES, ["Easy"] * 4 + ["Hard"] * 4, 4, [5, 6, 7, 8, 5, 6, 7, 8]),
    ],
)
def test_figures_of_a_layout(
    two_models: Studio, street: dict[str, Any], which: Figure, names: list[str], columns: int, seeds: list[int]
) -> None:
    *busy, last = figure(two_models, street, FIXED, which, "me")
    assert busy[-1].progress == pytest.approx(1)
    assert (last.progress, last.columns, [panel.name for panel in last.panels]) == (None, columns, names)
    records = [read_image(panel.file).to_json() for panel in last.panels if panel.file]
    assert [record["seed"] for record in records] == seeds
    if which is Figure.MODELS:
        assert [record["model"] for record in records] == names


def test_a_figure_of_random_noises_has_the_own_one_first(studio: Studio, street: dict[str, Any]) -> None:
    *_, last = figure(studio, street, FIXED, Figure.NOISES, "me")
    seeds = [read_image(panel.file).to_json()["seed"] for panel in last.panels if panel.file]
    assert (seeds[0], len(seeds), len(set(seeds))) == (5, 8, 8)


def test_figures_of_tags_need_a_model_with_tags(silent_studio: Studio, street: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="silent does not know the tags easy and hard"):
        list(figure(silent_studio, street, FIXED, Figure.TAGS, "me"))
