"""Results for programs: what the API returns."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from app.engine.generation import Ask, Result
from app.engine.studio import Studio
from app.studio.results.compare import Sides, asked_pair
from app.studio.results.images import object_table
from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.errors import ConfigError
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingConfig


def generate_record(
    studio: Studio,
    layout: Mapping[str, Any],
    strategy: str,
    recipe: SamplingConfig,
    *,
    image: bool = True,
    wanted: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """One image for a program: the API's `generate`. Raises as `generate` does. wanted: False stops the work."""
    try:
        chosen = Strategy(strategy)
    except ValueError:
        raise ConfigError(f"strategy {strategy!r} needs to be origin, easy or hard") from None
    if chosen is not Strategy.ORIGIN and not studio.model.tags_matter:
        raise ConfigError(studio.model.why_no_tags)
    asked = apply_strategy(studio.model.vocabulary.resolve(Layout.from_json(layout)), chosen)
    (result,) = studio.generation.results([Ask(asked, recipe, chosen)], "api", wanted)
    return _record(result, image=image)


def compare_record(
    studio: Studio,
    layout: Mapping[str, Any],
    recipe: SamplingConfig,
    *,
    image: bool = True,
    wanted: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """A pair for a program: the API's `compare`. Raises as `compare_pair` does. wanted: False stops the work."""
    asked = asked_pair(studio, layout, recipe, Sides())
    results = studio.generation.results(asked, "api", wanted)
    return {name: _record(result, image=image) for name, result in zip(("easy", "hard"), results, strict=True)}


def classes_record(studio: Studio) -> dict[str, Any]:
    """What the model can be asked for: the API's `classes`."""
    model = studio.model
    words = model.vocabulary
    detected = [label for label in words.labels if label in model.detector.labels]
    made_by = {"model": model.name, "detector": model.detector.name}
    return {"things": list(words.things), "stuff": list(words.stuff), "detected": detected, **made_by}


def _record(result: Result, *, image: bool) -> dict[str, Any]:
    objects = result.layout.to_json()["objects"]
    rows = [
        {
            **shown,
            "confidence": row.confidence,
            "found": None if row.confidence is None else row.found,
            "causes": causes,
        }
        for shown, row, causes in zip(objects, object_table(result).rows, map(list, result.causes), strict=True)
    ]
    detector = result.looks[0].detector.name
    made_by = {"model": result.model, "model_sha256": result.model_sha256, "detector": detector}
    png = {"png_base64": base64.b64encode(result.file.read_bytes()).decode("ascii")} if image else {}
    how = {"seed": result.recipe.seed, **made_by, "flagged": result.flagged, "seconds": result.seconds}
    return {"objects": rows, **how, **png}
