"""Inputs of the page -> views. No gradio here: every function runs in a plain unit test."""

import base64
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from app.components.views import (
    DifficultyView,
    InsideView,
    Layer,
    Mark,
    NoiseRow,
    NoiseTable,
    ObjectRow,
    ObjectTable,
    PairTable,
    PictureView,
    SheetView,
    Verdict,
    data_address,
    header_html,
    hint_html,
    layer_address,
    prompt_html,
)
from app.engine.generation import Ask, Progress, Result
from app.engine.insight import Inside, Insight, look_inside
from app.engine.studio import Studio
from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.detection import mask_coverage
from detdiffusion.detectors import BUNDLED
from detdiffusion.diffusion.masks import object_colour
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.evaluation.bootstrap import bootstrap_ci
from detdiffusion.evaluation.comparison import compare, mean
from detdiffusion.layout import Attribute, Layout
from detdiffusion.sampling_config import MAX_SEED, SamplingConfig
from detdiffusion.text.prompt import readable_prompt

UNCHECKED = "the safety checker made the picture black"
UNKNOWN = "no detector here knows these classes"
NOISES_AT_ONCE = 4
View = TypeVar("View")


@dataclass(frozen=True, slots=True)
class Form:
    """The settings beside the canvas, as the page holds them."""

    fixed: bool
    seed: float | None
    steps: float
    guidance_scale: float
    attribute_guidance: float = 0.0
    sampler: str = ""

    def recipe(self) -> SamplingConfig:
        """ConfigError for a seed that is no whole number, or a value out of range."""
        if not self.fixed:
            return replace(self.settings, seed=new_seed())
        if self.seed is None or not float(self.seed).is_integer():
            raise ConfigError(f"fixed noise needs a seed: a whole number from 0 to {MAX_SEED}")
        return replace(self.settings, seed=int(self.seed))

    @property
    def settings(self) -> SamplingConfig:
        """Without the seed, whatever it is."""
        return SamplingConfig(0, int(self.steps), self.guidance_scale, self.attribute_guidance, self.sampler)


@dataclass(frozen=True, slots=True)
class Single:
    """One picture, or the noise becoming one. `table` is None until it is finished; `spent` says what it took."""

    picture: PictureView
    table: ObjectTable | None
    seed: int
    spent: str = ""


STRATEGY_NAMES = {Strategy.ORIGIN: "As drawn", Strategy.EASY: "Easy", Strategy.HARD: "Hard"}


@dataclass(frozen=True, slots=True)
class Side:
    """What one picture of a pair is asked for, beside layout and noise.

    model: of `Studio.models`; None is the present one. guidance_scale, attribute_guidance: None is that of the form.
    """

    strategy: Strategy = Strategy.ORIGIN
    model: str | None = None
    guidance_scale: float | None = None
    attribute_guidance: float | None = None

    @property
    def tag(self) -> Attribute | None:
        return None if self.strategy is Strategy.ORIGIN else Attribute(self.strategy.value)

    def recipe(self, form: SamplingConfig) -> SamplingConfig:
        scale = form.guidance_scale if self.guidance_scale is None else self.guidance_scale
        strength = form.attribute_guidance if self.attribute_guidance is None else self.attribute_guidance
        return replace(form, guidance_scale=scale, attribute_guidance=strength)


@dataclass(frozen=True, slots=True)
class Sides:
    """The two pictures of a pair, and a second detector that looks at both."""

    a: Side = Side(Strategy.EASY)
    b: Side = Side(Strategy.HARD)
    second: str | None = None

    def names(self, model: str, form: SamplingConfig) -> tuple[str, str]:
        """What tells them apart, given the present model and the form's recipe; easy and hard in any case."""
        a, b = self.a, self.b
        first, second = a.recipe(form), b.recipe(form)
        harder = first.attribute_guidance != second.attribute_guidance
        parts = [
            [
                *([STRATEGY_NAMES[side.strategy]] if a.strategy is not b.strategy else []),
                *([side.model or model] if (a.model or model) != (b.model or model) else []),
                *([f"guidance {recipe.guidance_scale:g}"] if first.guidance_scale != second.guidance_scale else []),
                *([f"attribute guidance {recipe.attribute_guidance:g}"] if harder else []),
            ]
            for side, recipe in ((a, first), (b, second))
        ]
        words = [" · ".join(names) for names in parts]
        return words[0] or "A", words[1] or "B"


@dataclass(frozen=True, slots=True)
class Boxed:
    """An object of a layout, as the comparison links it with its row: a box in fractions (x1, y1, x2, y2)."""

    label: str
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Pair:
    """The same layout and noise twice: every thing easy beside every thing hard, or what else `Sides` asks for.
    `table` is None until both are finished; `spent` says what they took."""

    a: PictureView
    b: PictureView
    table: PairTable | None
    seed: int
    objects: tuple[Boxed, ...] = ()
    spent: str = ""


def new_seed() -> int:
    """A seed short enough to read out."""
    return secrets.randbelow(1_000_000)


def examples(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> layout for every `*.json` of a folder, `beach-day.json` as "Beach day"."""
    files = sorted(folder.glob("*.json"))
    return {file.stem.replace("-", " ").capitalize(): Layout.from_json(file.read_bytes()).to_json() for file in files}


def show_header(studio: Studio) -> str:
    """The page's title, and which model and detector it works with."""
    model, words = studio.model, studio.model.vocabulary
    return header_html(model.name, f"{len(words.things)} things, {len(words.stuff)} stuff", model.detector.name)


def show_prompt(studio: Studio, value: Mapping[str, Any]) -> str:
    """The prompt of what is on the canvas as the model reads it, as HTML; in its place, what is still wrong. Above
    it, why tags change nothing, where they do not."""
    why = why_no_tags(studio)
    note = hint_html(why) if why else ""
    if not value["objects"]:
        return note + hint_html("The prompt stands here as soon as there is a box.")
    vocabulary = studio.model.vocabulary
    try:
        prompt = readable_prompt(Layout.from_json(value), vocabulary)
    except LayoutError as error:
        return note + hint_html(str(error))
    return note + prompt_html(prompt, vocabulary.attributes_by_word)


def why_no_tags(studio: Studio) -> str:
    """Why this model cannot be asked for easy or hard objects; empty where it can."""
    if studio.model.tags_matter:
        return ""
    return f"{studio.model.name} has no words for easy and hard: tags change nothing, there is nothing to compare."


def generate(studio: Studio, value: Mapping[str, Any], form: Form, user: str) -> Iterator[Single]:
    """The layout as it is tagged. LayoutError or ConfigError for bad input, Cancelled when told to stop."""
    layout, recipe = Layout.from_json(value), form.recipe()
    for news in studio.generation.run([Ask(layout, recipe)], user):
        if isinstance(news, Progress):
            yield Single(_busy(news, 0, layout), None, recipe.seed)
        else:
            yield Single(_finished(news[0]), _object_table(news[0]), recipe.seed, spent_text(news))


def compare_pair(
    studio: Studio, value: Mapping[str, Any], form: Form, user: str, sides: Sides | None = None
) -> Iterator[Pair]:
    """The layout twice, from the same noise; sides: None is all things easy, and all things hard. Raises as `generate`
    does, and ConfigError where both sides would be the same picture."""
    sides, recipe = sides or Sides(), form.recipe()
    asked = asked_pair(studio, value, recipe, sides)
    layout = asked[0].layout
    names = sides.names(studio.model.name, recipe)
    objects = tuple(Boxed(box.label, box.xyxy) for box in layout.boxes)
    kinds = tuple(zip(names, (sides.a.tag, sides.b.tag), strict=True))
    for news in studio.generation.run(asked, user):
        if isinstance(news, Progress):
            a, b = (_busy(news, place, layout, *kind) for place, kind in enumerate(kinds))
            yield Pair(a, b, None, recipe.seed, objects)
        else:
            a, b = (_finished(result, *kind) for result, kind in zip(news, kinds, strict=True))
            table = _pair_table(news[0], news[1], sides, names)
            yield Pair(a, b, table, recipe.seed, objects, spent_text(news))


def spent_text(results: Sequence[Result]) -> str:
    """What a run took, in a few words."""
    steps = sum(result.recipe.steps for result in results)
    seconds = results[0].seconds
    pictures = f"{len(results)} picture{'' if len(results) == 1 else 's'}"
    return f"{pictures} in {seconds:.1f} s · {1000 * seconds / steps:.0f} ms a step · {results[0].memory_gb:.1f} GB"


def asked_pair(studio: Studio, value: Mapping[str, Any], recipe: SamplingConfig, sides: Sides) -> tuple[Ask, Ask]:
    """LayoutError for a bad layout or one without things; ConfigError where both sides would be the same picture."""
    layout = studio.model.vocabulary.resolve(Layout.from_json(value))
    detectors = (BUNDLED, *([sides.second] if sides.second else []))
    a, b = (
        Ask(apply_strategy(layout, side.strategy), side.recipe(recipe), side.strategy, side.model, detectors)
        for side in (sides.a, sides.b)
    )
    if (a.model or studio.model.name, a.recipe) == (b.model or studio.model.name, b.recipe):
        if not studio.model.tags_matter and sides.a.model in (None, studio.model.name):
            raise ConfigError(why_no_tags(studio))
        if a.strategy is b.strategy:
            raise ConfigError("both sides ask for the same picture: choose other tags, another model or other values")
        if a.layout == b.layout and all(box.attribute is Attribute.BACKGROUND for box in layout.boxes):
            raise LayoutError("everything here is background: tag at least one object easy or hard to compare")
        if a.layout == b.layout:
            names = " and ".join(STRATEGY_NAMES[side.strategy].lower() for side in (sides.a, sides.b))
            raise LayoutError(f"{names} are the same here: every thing is tagged so already")
    return a, b


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
    layout = studio.model.vocabulary.resolve(Layout.from_json(value))
    asked, names = _panels(studio, layout, recipe, which)
    columns = {Figure.TAGS_OF_NOISES: 4, Figure.NOISES: 4}.get(which, len(asked))

    def sheet(panels: Sequence[PictureView], progress: float | None, spent: str = "") -> SheetView:
        return SheetView(which, tuple(panels), columns, layout.width / layout.height, progress, spent)

    for news in studio.generation.run(asked, user):
        if isinstance(news, Progress):
            busy = [_busy(news, place, layout, *name) for place, name in enumerate(names)]
            yield sheet(busy, news.step / news.steps)
        else:
            panels = [_finished(result, *name) for result, name in zip(news, names, strict=True)]
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
        return [Ask(layout, one, detectors=detectors) for one in recipes], [("As drawn", None)] * 8
    if not studio.model.tags_matter:
        raise ConfigError(why_no_tags(studio))
    count, strategies = (1, list(Strategy)) if which is Figure.TAGS else (4, [Strategy.EASY, Strategy.HARD])
    sides = [(Side(strategy), recipe.later(number)) for strategy in strategies for number in range(count)]
    asked = [Ask(apply_strategy(layout, side.strategy), one, side.strategy, detectors=detectors) for side, one in sides]
    return asked, [(STRATEGY_NAMES[side.strategy], side.tag) for side, _ in sides]


def difficulty_levels(highest: float) -> tuple[float, ...]:
    """Values of attribute guidance for a strip of pictures: from half as far towards easy up to the highest."""
    return tuple(highest * share for share in (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0))


def difficulty_strip(
    studio: Studio, value: Mapping[str, Any], form: Form, highest: float, user: str
) -> Iterator[DifficultyView]:
    """The layout as it is tagged, from one noise, the more difficult the further right; one picture after the other, so
    that others may have the model in between. Raises as `generate` does, and ConfigError where tags change nothing."""
    if not studio.model.tags_matter:
        raise ConfigError(why_no_tags(studio))
    recipe, layout = form.recipe(), studio.model.vocabulary.resolve(Layout.from_json(value))
    if all(box.attribute is Attribute.BACKGROUND for box in layout.boxes):
        raise LayoutError("everything here is background: nothing can become harder; draw an object")
    levels = difficulty_levels(highest)
    ratio = layout.width / layout.height
    panels = [PictureView(name=f"{level:+g}" if level else "0", ratio=ratio) for level in levels]
    view = DifficultyView(levels, SheetView("Difficulty", tuple(panels), len(levels), ratio, progress=0.0))
    yield view
    for place, level in enumerate(levels):
        for news in studio.generation.run([Ask(layout, replace(recipe, attribute_guidance=level))], user):
            if isinstance(news, Progress):
                panels[place] = _busy(news, 0, layout, panels[place].name)
                done = (place + news.step / news.steps) / len(levels)
            else:
                panels[place] = replace(_finished(news[0], panels[place].name), caption="")
                done = (place + 1) / len(levels)
                view = replace(view, tables=(*view.tables, _object_table(news[0])))
            view = replace(view, sheet=replace(view.sheet, panels=tuple(panels), progress=done))
            yield view
    yield replace(view, sheet=replace(view.sheet, progress=None))


def show_inside(studio: Studio, picture: Path | None, what: Insight) -> InsideView:
    """What the model read and saw in its last picture. Raises as `look_inside` does."""
    if picture is None:
        return InsideView()
    inside = look_inside(studio, picture, what)
    masks = what is Insight.MASKS
    layers = []
    for place, box in enumerate(inside.layout.boxes):
        colour = object_colour(place)
        map_ = None if inside.maps is None else inside.maps[place]
        layers.append(
            Layer(
                box.label,
                box.attribute or Attribute.EASY,
                f"rgb{colour}",
                "" if map_ is None else layer_address(0.6 * (map_ >= 0.5) if masks else 0.85 * map_, colour),
                mask_coverage(map_, box.xyxy) if masks and map_ is not None else None,
            )
        )
    tokens = tuple(tuple((token.text, token.object) for token in window) for window in inside.tokens)
    return InsideView(data_address(inside.picture), tuple(layers), masks, tokens, inside.length, _note_of(inside))


def _note_of(inside: Inside) -> str:
    if inside.maps is None:
        return f"{inside.model} has no perception head, so there are no masks; its attention can be looked at."
    if inside.what is Insight.ATTENTION and inside.blueprint:
        return "This model knows from its blueprint where objects are: it reads their words all over the picture."
    return ""


def many_noises(
    studio: Studio, value: Mapping[str, Any], form: Form, count: int, user: str, sides: Sides | None = None
) -> Iterator[NoiseTable]:
    """Both sides of a comparison from `count` seeds, the form's and those that follow it, some at a time: others may
    have the model in between. Raises as `compare_pair` does."""
    sides, recipe = sides or Sides(), form.recipe()
    names = sides.names(studio.model.name, recipe)
    table = NoiseTable(wanted=count, names=names, tags=(sides.a.tag, sides.b.tag), progress=0.0)
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
    unseen = _unseen(*(result for pair in pairs for result in pair))
    return replace(
        table, rows=tuple(rows), comparison=comparison, detector=eye.name, min_score=eye.min_score, unseen=unseen
    )


def generate_record(
    studio: Studio, layout: Mapping[str, Any], strategy: str, recipe: SamplingConfig, *, picture: bool = True
) -> dict[str, Any]:
    """One picture for a program: the API's `generate`. Raises as `generate` does."""
    try:
        chosen = Strategy(strategy)
    except ValueError:
        raise ConfigError(f"strategy {strategy!r} needs to be origin, easy or hard") from None
    if chosen is not Strategy.ORIGIN and not studio.model.tags_matter:
        raise ConfigError(why_no_tags(studio))
    asked = apply_strategy(studio.model.vocabulary.resolve(Layout.from_json(layout)), chosen)
    (result,) = studio.generation.results([Ask(asked, recipe, chosen)], user="api")
    return _record(result, picture=picture)


def compare_record(
    studio: Studio, layout: Mapping[str, Any], recipe: SamplingConfig, *, picture: bool = True
) -> dict[str, Any]:
    """A pair for a program: the API's `compare`. Raises as `compare_pair` does."""
    asked = asked_pair(studio, layout, recipe, Sides())
    results = studio.generation.results(asked, user="api")
    return {name: _record(result, picture=picture) for name, result in zip(("easy", "hard"), results, strict=True)}


def classes_record(studio: Studio) -> dict[str, Any]:
    """What the model can be asked for: the API's `classes`."""
    model = studio.model
    words = model.vocabulary
    detected = [label for label in words.labels if label in model.detector.labels]
    made_by = {"model": model.name, "detector": model.detector.name}
    return {"things": list(words.things), "stuff": list(words.stuff), "detected": detected, **made_by}


def _record(result: Result, *, picture: bool) -> dict[str, Any]:
    objects = [
        {**shown, "confidence": row.confidence, "found": None if row.confidence is None else row.found}
        for shown, row in zip(result.layout.to_json()["objects"], _object_table(result).rows, strict=True)
    ]
    made_by = {"model": result.model.name, "model_sha256": result.model.sha256, "detector": result.model.detector.name}
    png = {"png_base64": base64.b64encode(result.file.read_bytes()).decode("ascii")} if picture else {}
    how = {"seed": result.recipe.seed, **made_by, "flagged": result.flagged, "seconds": result.seconds}
    return {"objects": objects, **how, **png}


def _busy(news: Progress, index: int, layout: Layout, name: str = "", tag: Attribute | None = None) -> PictureView:
    preview = news.previews[index]
    return PictureView(
        preview=data_address(preview) if preview else "",
        caption=_waiting(news.before) if news.before else f"Step {news.step} of {news.steps}",
        name=name,
        tag=tag,
        ratio=layout.width / layout.height,
        progress=news.step / news.steps,
    )


def _waiting(before: int) -> str:
    return "Waiting: one other is drawn before" if before == 1 else f"Waiting: {before} others are drawn before"


def _finished(result: Result, name: str = "", tag: Attribute | None = None) -> PictureView:
    limit = result.looks[0].detector.min_score
    found = [Mark(*one) for one in result.found()]
    missed = [
        Mark(box.label, box.xyxy, None)
        for box, confidence in zip(result.layout.boxes, result.confidences, strict=True)
        if confidence < limit
    ]
    caption = f"Seed {result.recipe.seed}" + (
        "" if name else f" · {result.recipe.steps} steps · {result.seconds:.1f} s"
    )
    if result.flagged:
        caption += " · made black by the model's safety checker: try another seed"
    ratio = result.layout.width / result.layout.height
    return PictureView(file=result.file, marks=(*found, *missed), caption=caption, name=name, tag=tag, ratio=ratio)


def _object_table(result: Result) -> ObjectTable:
    limit = result.model.detector.min_score
    rows = tuple(
        ObjectRow(
            label=box.label,
            attribute=box.attribute or Attribute.EASY,
            confidence=None if math.isnan(confidence) else float(confidence),
            found=bool(confidence >= limit),
        )
        for box, confidence in zip(result.layout.boxes, result.confidences, strict=True)
    )
    return ObjectTable(rows, result.model.detector.name, limit, _unseen(result))


def _pair_table(a: Result, b: Result, sides: Sides, names: tuple[str, str]) -> PairTable:
    verdicts = []
    for one, other in zip(a.looks, b.looks, strict=True):
        eye = one.detector
        comparison = compare([a.layout], [one.confidences], [other.confidences], eye.min_score)
        verdicts.append(Verdict(comparison, eye.name, eye.min_score, _unseen(a, b)))
    return PairTable(tuple(verdicts), names, (sides.a.tag, sides.b.tag))


def _unseen(*results: Result) -> str:
    return UNCHECKED if any(result.flagged for result in results) else UNKNOWN


class Opening:
    """The example that the page opens with: its pictures are made in the background, once for all visitors."""

    def __init__(self, studio: Studio, name: str, layout: Mapping[str, Any], recipe: SamplingConfig) -> None:
        self.name, self.layout, self.recipe, self.model = name, layout, recipe, studio.model
        form = Form(True, recipe.seed, recipe.steps, recipe.guidance_scale, recipe.attribute_guidance, recipe.sampler)
        worker = ThreadPoolExecutor(1, thread_name_prefix="opening")
        self.pair: Future[Pair] | None = None  # where tags change nothing there is nothing to compare
        if studio.model.tags_matter:
            self.pair = worker.submit(lambda: _last(compare_pair(studio, layout, form, "opening")))
        self.single: Future[Single] = worker.submit(lambda: _last(generate(studio, layout, form, "opening")))
        worker.shutdown(wait=False)

    @property
    def lost(self) -> bool:
        """Whether its pictures were there and have been deleted since (in the gallery, for one)."""
        views: list[PictureView] = []
        if self.single.done() and not self.single.exception():
            views.append(self.single.result().picture)
        if self.pair and self.pair.done() and not self.pair.exception():
            views += [self.pair.result().a, self.pair.result().b]
        return any(view.file is not None and not view.file.exists() for view in views)


def open_example(
    studio: Studio, examples: Mapping[str, Mapping[str, Any]], name: str, recipe: SamplingConfig
) -> Opening | None:
    """The example of this name or, where the model does not know its classes, the first that it knows; else None."""
    for candidate in sorted(examples, key=lambda other: other != name):
        try:
            studio.model.vocabulary.resolve(Layout.from_json(examples[candidate]))
        except LayoutError:
            continue
        return Opening(studio, candidate, examples[candidate], recipe)
    return None


def _last(views: Iterator[View]) -> View:
    *_, last = views
    return last
