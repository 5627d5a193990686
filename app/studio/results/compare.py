"""Two images of a layout, from the same noise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.components.images import ImageView
from app.engine.generation import Ask, Progress, Result
from app.engine.studio import Studio
from app.studio.results.form import Form, read_canvas
from app.studio.results.images import busy, finished, spent_text, unseen
from app.studio.results.pair_table import PairTable, Verdict
from app.studio.results.thresholds import Thresholds
from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.detectors import BUNDLED
from detdiffusion.errors import ConfigError, LayoutError
from detdiffusion.evaluation.comparison import compare
from detdiffusion.layout import Attribute
from detdiffusion.sampling_config import SamplingConfig

STRATEGY_NAMES = {Strategy.ORIGIN: "As tagged", Strategy.EASY: "Easy", Strategy.HARD: "Hard"}


@dataclass(frozen=True, slots=True)
class Side:
    """What one picture of a pair is asked for, beside layout and noise.

    model: of `Studio.models`; None is the present one. guidance_scale, attribute_guidance: None is that of the form.
    recommended: steps, guidance and sampler are those that its model recommends, whatever the form says.
    """

    strategy: Strategy = Strategy.ORIGIN
    model: str | None = None
    guidance_scale: float | None = None
    attribute_guidance: float | None = None
    recommended: bool = False

    @property
    def tag(self) -> Attribute | None:
        """The attribute that all objects get; None: as the layout has them."""
        return None if self.strategy is Strategy.ORIGIN else Attribute(self.strategy.value)

    def recipe(self, form: SamplingConfig) -> SamplingConfig:
        """The form's recipe, with what this side has of its own."""
        scale = form.guidance_scale if self.guidance_scale is None else self.guidance_scale
        strength = form.attribute_guidance if self.attribute_guidance is None else self.attribute_guidance
        return replace(form, guidance_scale=scale, attribute_guidance=strength)


@dataclass(frozen=True, slots=True)
class Sides:
    """The two pictures of a pair, and a second detector that looks at both. named: what they are called; None: by what
    tells them apart."""

    a: Side = Side(Strategy.EASY)
    b: Side = Side(Strategy.HARD)
    second: str | None = None
    named: tuple[str, str] | None = None

    def layout_asked(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """What matters of it: where both sides bring their own tag, easy and hard of the canvas do not."""
        if self.a.tag is None or self.b.tag is None:
            return value
        objects = [
            {key: said for key, said in item.items() if key != "attribute" or said == Attribute.BACKGROUND}
            for item in value["objects"]
        ]
        return {**value, "objects": objects}

    def names(self, model: str, form: SamplingConfig) -> tuple[str, str]:
        """What tells them apart, given the present model and the form's recipe; easy and hard in any case."""
        if self.named is not None:
            return self.named
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
    `table` is None until both are finished; `spent` says what they took; `layout` is what was asked for, in its public
    JSON form, without the tags that both sides bring along; `results` are what it shows, of `sides` named `names`."""

    a: ImageView
    b: ImageView
    table: PairTable | None
    seed: int
    objects: tuple[Boxed, ...] = ()
    spent: str = ""
    layout: Mapping[str, Any] | None = None
    results: tuple[Result, ...] = ()
    sides: Sides = Sides()
    names: tuple[str, str] = ("", "")

    def read(self, thresholds: Thresholds) -> "Pair":
        """As other thresholds read it."""
        if not self.results:
            return self
        return replace(self, **_read(tuple(map(thresholds.read, self.results)), self.sides, self.names))


def compare_pair(
    studio: Studio, value: Mapping[str, Any], form: Form, user: str, sides: Sides | None = None, **options: bool
) -> Iterator[Pair]:
    """The layout twice, from the same noise; sides: None is all things easy, and all things hard; options: of
    `GenerationService.run`. Raises as `generate` does, and ConfigError where both sides would be the same picture."""
    sides, recipe = sides or Sides(), form.recipe()
    asked = asked_pair(studio, value, recipe, sides)
    layout = asked[0].layout
    names = sides.names(studio.model.name, recipe)
    objects = tuple(Boxed(box.label, box.xyxy) for box in layout.boxes)
    kinds = tuple(zip(names, (sides.a.tag, sides.b.tag), strict=True))
    of = sides.layout_asked(value)
    how: dict[str, Any] = {"sides": sides, "names": names}
    for news in studio.generation.run(asked, user, **options):
        if isinstance(news, Progress):
            a, b = (busy(news, place, layout, *kind) for place, kind in enumerate(kinds))
            yield Pair(a, b, None, recipe.seed, objects, layout=of)
        else:
            seen, spent = _read(news, sides, names), spent_text(news)
            yield Pair(seed=recipe.seed, objects=objects, spent=spent, layout=of, results=news, **seen, **how)


def kept_pair(studio: Studio, pair: Pair) -> Pair:
    """A pair that was drawn to pass, in the history."""
    if not pair.results:
        return pair
    results = studio.generation.keep(pair.results)
    return replace(pair, results=results, **_read(results, pair.sides, pair.names))


def _read(results: Sequence[Result], sides: Sides, names: tuple[str, str]) -> dict[str, Any]:
    a, b = results
    return {
        "a": finished(a, names[0], sides.a.tag),
        "b": finished(b, names[1], sides.b.tag),
        "table": _pair_table(a, b, sides, names),
    }


def asked_pair(studio: Studio, value: Mapping[str, Any], recipe: SamplingConfig, sides: Sides) -> tuple[Ask, Ask]:
    """LayoutError for a bad layout or one without things; ConfigError where both sides would be the same picture."""
    layout = read_canvas(value, studio.model.vocabulary)
    detectors = (BUNDLED, *([sides.second] if sides.second else []))
    a, b = (
        Ask(apply_strategy(layout, side.strategy), _recipe(studio, side, recipe), side.strategy, side.model, detectors)
        for side in (sides.a, sides.b)
    )
    if (a.model or studio.model.name, a.recipe) == (b.model or studio.model.name, b.recipe):
        if not studio.model.tags_matter and sides.a.model in (None, studio.model.name):
            raise ConfigError(studio.model.why_no_tags)
        if a.strategy is b.strategy:
            raise ConfigError("both sides ask for the same image: choose other tags, another model or other values")
        if a.layout == b.layout and all(box.attribute is Attribute.BACKGROUND for box in layout.boxes):
            raise LayoutError("all objects are background: tag at least one easy or hard to compare")
        if a.layout == b.layout:
            names = " and ".join(STRATEGY_NAMES[side.strategy].lower() for side in (sides.a, sides.b))
            raise LayoutError(f"{names} are the same here: every object already has this tag")
    return a, b


def _recipe(studio: Studio, side: Side, form: SamplingConfig) -> SamplingConfig:
    """Another model is drawn as it wants to be, where the form has what the present one wants."""
    if side.model is None:
        return side.recipe(form)
    present, other = studio.model.recommended, studio.models.recommended(side.model)
    if side.recommended or (form.steps, form.guidance_scale) == (present.steps, present.guidance_scale):
        form = replace(form, steps=other.steps, guidance_scale=other.guidance_scale)
    if side.recommended:
        form = replace(form, sampler="", gligen_scheduled_sampling_beta=None)
    elif not studio.models.is_gligen(side.model):
        form = replace(form, gligen_scheduled_sampling_beta=None)
    return side.recipe(form)


def _pair_table(a: Result, b: Result, sides: Sides, names: tuple[str, str]) -> PairTable:
    verdicts = []
    for one, other in zip(a.looks, b.looks, strict=True):
        eye = one.detector
        comparison = compare([a.layout], [one.confidences], [other.confidences], one.limit)
        verdicts.append(Verdict(comparison, eye.name, one.limit, unseen(a, b)))
    return PairTable(tuple(verdicts), names, (sides.a.tag, sides.b.tag), (a.causes, b.causes))
