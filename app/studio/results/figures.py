"""The figures of the paper, of one layout."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from app.components.images import ImageView
from app.engine.generation import Ask, Progress
from app.engine.studio import Studio
from app.studio.results.compare import STRATEGY_NAMES, Side
from app.studio.results.form import Form, new_seed, read_canvas
from app.studio.results.images import busy, finished, spent_text
from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.detectors import BUNDLED
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Attribute, Layout
from detdiffusion.sampling_config import SamplingConfig


@dataclass(frozen=True, slots=True)
class SheetView:
    """Pictures of one figure, row by row."""

    title: str
    panels: tuple[ImageView, ...]
    columns: int
    ratio: float = 1.0  # width / height of each
    progress: float | None = None
    spent: str = ""  # what it took
    layout: Mapping[str, Any] | None = None  # what was asked for, in its public JSON form


class Figure(StrEnum):
    """The paper's kinds of pictures (supplement D) of one layout."""

    MODELS = "Models"  # Fig. 1
    TAGS = "Easy and hard"  # Fig. 2
    TAGS_OF_NOISES = "Easy and hard, four noises"  # Fig. 3
    NOISES = "Random noises"  # Fig. 4


def figure(studio: Studio, value: Mapping[str, Any], form: Form, which: Figure, user: str) -> Iterator[SheetView]:
    """All pictures of a figure, by one detector. Raises as `generate` does, and ConfigError where tags change nothing
    that the figure is about."""
    recipe = form.recipe()
    layout = read_canvas(value, studio.model.vocabulary)
    asked, names = _panels(studio, layout, recipe, which)
    columns = {Figure.TAGS_OF_NOISES: 4, Figure.NOISES: 4}.get(which, len(asked))

    def sheet(panels: Sequence[ImageView], progress: float | None, spent: str = "") -> SheetView:
        return SheetView(which, tuple(panels), columns, layout.width / layout.height, progress, spent, value)

    for news in studio.generation.run(asked, user):
        if isinstance(news, Progress):
            panels = [busy(news, place, layout, *name) for place, name in enumerate(names)]
            yield sheet(panels, news.step / news.steps)
        else:
            panels = [finished(result, *name) for result, name in zip(news, names, strict=True)]
            yield sheet(panels, None, spent_text(news))


def _panels(
    studio: Studio, layout: Layout, recipe: SamplingConfig, which: Figure
) -> tuple[list[Ask], list[tuple[str, Attribute | None]]]:
    """What is asked, and what stands below each picture."""
    detectors = (BUNDLED,)
    if which is Figure.MODELS:
        able = [name for name in studio.models.folders() if studio.models.knows(name, layout)]
        asked = [Ask(layout, recipe, model=name, detectors=detectors) for name in able]
        return asked, [(name, None) for name in able]
    if which is Figure.NOISES:
        recipes = [recipe, *(replace(recipe, seed=new_seed()) for _ in range(7))]
        return [Ask(layout, one, detectors=detectors) for one in recipes], [("As tagged", None)] * 8
    if not studio.model.tags_matter:
        raise ConfigError(studio.model.why_no_tags)
    count, strategies = (1, list(Strategy)) if which is Figure.TAGS else (4, [Strategy.EASY, Strategy.HARD])
    sides = [(Side(strategy), recipe.later(number)) for strategy in strategies for number in range(count)]
    asked = [Ask(apply_strategy(layout, side.strategy), one, side.strategy, detectors=detectors) for side, one in sides]
    return asked, [(STRATEGY_NAMES[side.strategy], side.tag) for side, _ in sides]
