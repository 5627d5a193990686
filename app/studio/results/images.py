"""Progress and results of a generation -> images and tables of the page."""

import math
from collections.abc import Sequence

from app.components.images import ImageView, Mark, data_address
from app.engine.generation import Progress, Result
from app.studio.results.object_table import ObjectRow, ObjectTable
from detdiffusion.layout import Attribute, Layout

UNCHECKED = "the safety checker blacked out the image"
UNKNOWN = "no available detector knows these classes"


def spent_text(results: Sequence[Result]) -> str:
    """What a run took, in a few words."""
    steps = sum(result.recipe.steps for result in results)
    seconds = results[0].seconds
    pictures = f"{len(results)} image{'' if len(results) == 1 else 's'}"
    return f"{pictures} in {seconds:.1f} s · {1000 * seconds / steps:.0f} ms per step · {results[0].memory_gb:.1f} GB"


def busy(news: Progress, index: int, layout: Layout, name: str = "", tag: Attribute | None = None) -> ImageView:
    """An image while it is drawn."""
    preview = news.previews[index]
    return ImageView(
        preview=data_address(preview) if preview else "",
        caption=_doing(news),
        name=name,
        tag=tag,
        ratio=layout.width / layout.height,
        progress=news.step / news.steps,
    )


def _doing(news: Progress) -> str:
    if news.before:
        return f"Waiting: {news.before} request{'' if news.before == 1 else 's'} ahead"
    return f"Step {news.step} of {news.steps}" if news.step else "Starting"


def finished(result: Result, name: str = "", tag: Attribute | None = None) -> ImageView:
    """A drawn image, with what the detector found and missed."""
    limit = result.looks[0].limit
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
        caption += " · blacked out by the model's safety checker: try another seed"
    ratio = result.layout.width / result.layout.height
    return ImageView(file=result.file, marks=(*found, *missed), caption=caption, name=name, tag=tag, ratio=ratio)


def object_table(result: Result) -> ObjectTable:
    """How sure the detector is of each object."""
    limit = result.looks[0].limit
    rows = tuple(
        ObjectRow(
            label=box.label,
            attribute=box.attribute or Attribute.EASY,
            confidence=None if math.isnan(confidence) else float(confidence),
            found=bool(confidence >= limit),
        )
        for box, confidence in zip(result.layout.boxes, result.confidences, strict=True)
    )
    return ObjectTable(rows, result.looks[0].detector.name, limit, unseen(result))


def unseen(*results: Result) -> str:
    """Why there is nothing to say about an object."""
    return UNCHECKED if any(result.flagged for result in results) else UNKNOWN
