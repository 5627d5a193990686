"""What the page shows of a diagnosis, as HTML: slices and errors as bars, images with boxes. What is put into it is
escaped."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan

from markupsafe import Markup

from app.components.html import flag
from detdiffusion.evaluation.tide import ErrorType
from training.core.charts import nice_ceiling
from training.core.markup import joined
from training.diagnosis.page import ERRORS, OTHERS, summary
from training.diagnosis.result import Diagnosis, Slice

SLICE, ERROR, IMAGE = "slice", "error", "image"  # of a button's name, before what it is
SUMMARY = Markup("<p class=facts>{}</p>")
GROUP = Markup("<h3>{title}</h3><p class=note>{note}</p>{bars}")
BAR = Markup(
    '<button type="button" class="{kind}" data-name="{kind} {name}" aria-pressed="{chosen}"><span>{said}</span>'
    '<small>{number}</small><i class="track"><i class="bar" style="width:{width:.1%}"></i>{marks}</i></button>'
)
INTERVAL = Markup(
    '<i class="interval" style="left:{low:.1%};width:{width:.1%}"></i>'
    '<i class="average" style="left:{average:.1%}"></i>'
)
TITLE = Markup("<h3>{title}</h3><p class=note>{note}</p>")
TILES = Markup(
    "<p class=note>Green: found. Red: missed. Other colours: wrong. White frame: what it is about. A press opens it on "
    'the canvas.</p><div class="tiles">{}</div>'
)
TILE = Markup(
    '<figure><button type="button" class="tile" data-name="image {number}" title="Open on the canvas: {name}">'
    '<img src="{address}" alt="{said}">{frame}</button><figcaption>{said}</figcaption></figure>'
)
FRAME = Markup('<i class="about" style="left:{:.2%};top:{:.2%};width:{:.2%};height:{:.2%}"></i>')
LOST = Markup("<figure><p class=hint>{}</p></figure>")
FEW = "There are too few objects to tell slices apart (20 in 10 images each). Diagnose more images."


@dataclass(frozen=True, slots=True)
class Tile:
    """An image of a slice or an error. number: of the image in the data; box: the object or detection in question, in
    fractions; address: of the small image, "" where it cannot be read, which `said` says then."""

    number: int
    name: str
    said: str
    address: str
    box: tuple[float, float, float, float]


def bars_html(found: Diagnosis, picked: str) -> str:
    """Slices, worst first, kinds of error, and slices that are not beyond chance.

    Args:
        picked: "slice NAME" or "error KIND".
    """
    average = f"The green line: all objects, {100 * found.recall.mean:.0f} %."
    named = [_slice(one, found.recall.mean, picked) for one in found.slices]
    note = average if named else f"None is, beyond chance, of {found.tested:,} slices." if found.tested else FEW
    groups = [GROUP.format(title="Found less often than the average", note=note, bars=joined(named))]
    costs = [cost for cost in found.errors.values() if not isnan(cost)]
    most = nice_ceiling(max(costs, default=0.0))
    errors = joined(_error(found, kind, most, picked) for kind in ErrorType)
    groups.append(GROUP.format(title="What errors cost", note=how_many(found), bars=errors))
    others = [_slice(one, found.recall.mean, picked) for one in others_of(found)]
    if others:
        note = f"They may be as good as the others. {'' if named else average}"
        groups.append(GROUP.format(title="The next ones, within chance", note=note, bars=joined(others)))
    return SUMMARY.format(summary(found)[0]) + joined(groups)


def how_many(found: Diagnosis) -> str:
    """What the numbers beside the errors are."""
    return f"Points of mAP at IoU 0.5 · how many, with detections from {found.error_score:g} on."


def others_of(found: Diagnosis) -> list[Slice]:
    """The next slices, as the report lists them."""
    return [one for one in found.others if one.explained_by is None][:OTHERS]


def title_html(found: Diagnosis, picked: str, images: int) -> str:
    """What the images are of."""
    kind, _, name = picked.partition(" ")
    one = found.slice(name) if kind == SLICE else None
    if one is not None:
        interval = f"{100 * one.ci95[0]:.0f} to {100 * one.ci95[1]:.0f} %"
        note = f"Found {100 * one.recall:.0f} % ({interval}) of {one.count:,} objects in {one.images:,} images."
        return TITLE.format(title=name, note=note)
    count = found.error_counts.get(name, 0)
    note = f"{count:,} in {images:,} images. To make more images, choose a slice." if count else "There is none."
    return TITLE.format(title=ERRORS[name][:1].upper() + ERRORS[name][1:], note=note)


def tiles_html(tiles: Iterable[Tile]) -> str:
    """Images, each a button that opens it on the canvas."""
    return TILES.format(joined(map(_tile, tiles)))


def _tile(one: Tile) -> Markup:
    if not one.address:
        return LOST.format(one.said)
    x1, y1, x2, y2 = one.box
    frame = FRAME.format(x1, y1, x2 - x1, y2 - y1)
    return TILE.format(number=one.number, name=one.name, said=one.said, address=one.address, frame=frame)


def _slice(one: Slice, average: float, picked: str) -> Markup:
    low, high = one.ci95
    marks = INTERVAL.format(low=low, width=max(0.0, high - low), average=average)
    number = f"{100 * one.recall:.0f} % of {one.count:,}"
    return _bar(SLICE, one.name, one.name, number, one.recall, marks, picked)


def _error(found: Diagnosis, kind: ErrorType, most: float, picked: str) -> Markup:
    cost, count = found.errors.get(kind, float("nan")), found.error_counts.get(kind, 0)
    number = f"{'–' if isnan(cost) else f'{cost:.1f}'} · {count:,}"
    width = 0.0 if isnan(cost) else cost / most
    said = ERRORS[kind][:1].upper() + ERRORS[kind][1:]
    return _bar(ERROR, kind, said, number, width, Markup(""), picked)


def _bar(kind: str, name: str, said: str, number: str, width: float, marks: Markup, picked: str) -> Markup:
    chosen = flag(picked == f"{kind} {name}")
    return BAR.format(kind=kind, name=name, said=said, number=number, width=width, marks=marks, chosen=chosen)
