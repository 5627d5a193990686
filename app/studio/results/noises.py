"""A comparison from many noises."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from app.engine.generation import Progress, Result
from app.engine.studio import Studio
from app.studio.results.compare import Sides, asked_pair
from app.studio.results.form import Form
from app.studio.results.images import unseen
from app.studio.results.noise_table import NoiseRow, NoiseTable
from detdiffusion.evaluation.bootstrap import bootstrap_ci
from detdiffusion.evaluation.comparison import compare, mean

NOISES_AT_ONCE = 4


def many_noises(
    studio: Studio, value: Mapping[str, Any], form: Form, count: int, user: str, sides: Sides | None = None
) -> Iterator[NoiseTable]:
    """Both sides of a comparison from `count` seeds, the form's and those that follow it, some at a time: others may
    have the model in between. Raises as `compare_pair` does."""
    sides, recipe = sides or Sides(), form.recipe()
    names = sides.names(studio.model.name, recipe)
    of, tags = sides.layout_asked(value), (sides.a.tag, sides.b.tag)
    table = NoiseTable(wanted=count, names=names, tags=tags, progress=0.0, layout=of)
    seeds = [recipe.later(number).seed for number in range(count)]
    pairs: list[tuple[Result, Result]] = []
    yield table
    for first in range(0, count, NOISES_AT_ONCE):
        some = seeds[first : first + NOISES_AT_ONCE]
        asked = [asked_pair(studio, value, replace(recipe, seed=seed), sides) for seed in some]
        for news in studio.generation.run([ask for side in zip(*asked, strict=True) for ask in side], user):
            if isinstance(news, Progress):
                done = (first + len(some) * news.step / news.steps) / count
                yield replace(table, progress=done)
            else:
                pairs += zip(news[: len(some)], news[len(some) :], strict=True)
        table = _noise_table(pairs, replace(table, pairs=len(pairs), progress=len(pairs) / count))
        yield table
    yield replace(table, progress=None)


def _noise_table(pairs: Sequence[tuple[Result, Result]], table: NoiseTable) -> NoiseTable:
    """The table with what these pairs say."""
    eye = pairs[0][0].looks[0].detector
    comparison = compare(
        [a.layout for a, _ in pairs],
        [a.confidences for a, _ in pairs],
        [b.confidences for _, b in pairs],
        eye.min_score,
    )
    rows = []
    for index in sorted({row.index for row in comparison.rows}):
        mine = [row for row in comparison.rows if row.index == index]
        drops = [row.drop for row in mine]
        rows.append(
            NoiseRow(
                mine[0].label,
                tuple(row.easy for row in mine),
                tuple(row.hard for row in mine),
                mean(drops),
                bootstrap_ci(drops),
                (mean([row.missed_easy for row in mine]), mean([row.missed_hard for row in mine])),
            )
        )
    return replace(
        table,
        rows=tuple(rows),
        comparison=comparison,
        detector=eye.name,
        min_score=eye.min_score,
        unseen=unseen(*chain.from_iterable(pairs)),
    )
