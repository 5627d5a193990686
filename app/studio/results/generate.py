"""One image of a layout."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.components.images import ImageView
from app.engine.generation import Ask, Progress, Result
from app.engine.studio import Studio
from app.studio.results.form import Form, read_canvas
from app.studio.results.images import busy, finished, object_table, spent_text
from app.studio.results.object_table import ObjectTable
from app.studio.results.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Single:
    """One picture, or the noise becoming one. `table` is None until it is finished; `spent` says what it took;
    `layout` is what was asked for, in its public JSON form; `result` is what it shows."""

    picture: ImageView
    table: ObjectTable | None
    seed: int
    spent: str = ""
    layout: Mapping[str, Any] | None = None
    result: Result | None = None

    def read(self, thresholds: Thresholds) -> "Single":
        """As other thresholds read it."""
        if self.result is None:
            return self
        return replace(self, **_read(thresholds.read(self.result)))


def generate(studio: Studio, value: Mapping[str, Any], form: Form, user: str, **options: bool) -> Iterator[Single]:
    """The layout as it is tagged; options: of `GenerationService.run`. LayoutError or ConfigError for bad input,
    Cancelled when told to stop."""
    layout, recipe = read_canvas(value, studio.model.vocabulary), form.recipe()
    for news in studio.generation.run([Ask(layout, recipe)], user, **options):
        if isinstance(news, Progress):
            yield Single(busy(news, 0, layout), None, recipe.seed, layout=value)
        else:
            seen = _read(news[0])
            yield Single(**seen, seed=recipe.seed, spent=spent_text(news), layout=value, result=news[0])


def _read(result: Result) -> dict[str, Any]:
    return {"picture": finished(result), "table": object_table(result)}
