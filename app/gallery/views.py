"""What the Gallery tab shows: frozen values, and the little HTML that they become."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from app.components.html import flag
from app.components.images import ImageView, Mark, data_address
from app.store.entries import Entry
from detdiffusion.attributes import Strategy
from detdiffusion.image_record import image_fault
from training.core.markup import joined

SIDE = 200  # pixels of a tile's picture, at most
STRATEGIES = {Strategy.ORIGIN: "as tagged", Strategy.EASY: "easy", Strategy.HARD: "hard"}

_TILE = Markup(
    '<div class="tile"><button type="button" class="pick" data-name="pick {id}" aria-pressed="{chosen}" '
    'title="{names}">{picture}<span>Seed {seed} <b class="{strategy}">{asked}</b></span><small>{found}</small></button>'
    '<button type="button" class="star" data-name="star {id}" aria-pressed="{starred}" aria-label="{star}" '
    'title="{star}">{sign}</button></div>'
)


@dataclass(frozen=True, slots=True)
class GalleryScreen:
    """The gallery as it is now.

    Attributes:
        selected: numbers of pictures, in the order in which they were chosen.
        shown: the one that was chosen last, large; `facts` is what is known of it.
        labels, models: to choose from in the filter.
        newest: number of the newest picture.
    """

    tiles: str
    head: str = ""
    storage: str = ""
    trash: str = ""
    page: int = 0
    pages: int = 1
    count: int = 0
    selected: tuple[int, ...] = ()
    shown: ImageView = field(default_factory=ImageView)
    facts: str = ""
    labels: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    newest: int = 0


def tiles_html(entries: Sequence[Entry], pictures: Path, selected: Sequence[int]) -> Markup:
    """Each a button that chooses the picture, and one that stars it (gallery.js)."""
    tiles = joined(_tile(entry, pictures, chosen=entry.id in selected) for entry in entries)
    return Markup('<div class="tiles">{}</div>').format(tiles)


def _tile(entry: Entry, pictures: Path, *, chosen: bool) -> Markup:
    names, address = ", ".join(entry.labels), _thumbnail(pictures / entry.file)
    picture = Markup("<em>cannot be read</em>")
    if address:
        picture = Markup('<img src="{}" alt="{}">').format(address, names)
    return _TILE.format(
        id=entry.id,
        chosen=flag(chosen),
        names=names,
        picture=picture,
        seed=entry.sampling.seed,
        strategy=entry.strategy.value,
        asked=STRATEGIES[entry.strategy],
        found=_found(entry),
        starred=flag(entry.starred),
        star="Remove the star" if entry.starred else "Star",
        sign="★" if entry.starred else "☆",
    )


def _found(entry: Entry) -> str:
    """What the detector made of it, in short."""
    if not entry.known:
        return "not checked"
    drop = "" if entry.drop is None else f" · drop {entry.drop:.2f}"
    return f"found {len(entry.known) - entry.missed} of {len(entry.known)}{drop}"


def large_view(entry: Entry, pictures: Path) -> ImageView:
    """The picture with what the detector found, and the objects that it missed."""
    objects = [
        Mark(box.label, box.xyxy, None if confidence < entry.min_score else confidence)
        for box, confidence in zip(entry.layout.boxes, entry.confidences, strict=True)
        if confidence is not None
    ]
    marks = tuple(objects)  # of an older studio: found ones stand where they were asked for
    if entry.found is not None:
        missed = (mark for mark in objects if mark.score is None)
        marks = (*(Mark(*one) for one in entry.found), *missed)
    ratio = entry.layout.width / entry.layout.height
    return ImageView(file=pictures / entry.file, marks=marks, caption=f"Seed {entry.sampling.seed}", ratio=ratio)


def facts_html(entry: Entry, fault: str = "") -> Markup:
    """What is known of a picture, a line each. fault: what is wrong with its file."""
    sampling = entry.sampling
    settings = [f"{sampling.steps} steps", f"guidance {sampling.guidance_scale:g}"]
    how = [entry.model, *settings, STRATEGIES[entry.strategy]]
    if sampling.attribute_guidance:
        how.append(f"attribute guidance {sampling.attribute_guidance:+g}")
    if sampling.detector_guidance:
        how.append(f"detector guidance {sampling.detector_guidance:g}")
    if sampling.fix_boxes:
        how.append("boxes fixed")
    if sampling.gligen_scheduled_sampling_beta is not None:
        how.append(f"boxes seen in {sampling.gligen_scheduled_sampling_beta:.0%} of the steps")
    if sampling.sampler:
        how.append(sampling.sampler)
    seen = [_found(entry)]
    if entry.mean_confidence is not None:
        seen += [f"mean confidence {entry.mean_confidence:.2f}", f"by {entry.detector} at {entry.min_score:.2f}"]
    lines = (fault, " · ".join(how), " · ".join(seen), time.strftime("%d %b %Y, %H:%M", time.localtime(entry.made_at)))
    return joined(Markup("<p>{}</p>").format(line) for line in lines if line)


def storage_html(pictures: int, size: int) -> Markup:
    """How much the gallery holds, and what that takes."""
    return Markup("<p><b>{}</b>, {}</p>").format(count_text(pictures), size_text(size))


def trash_html(pictures: int, size: int) -> Markup:
    """The same of its trash; empty where that is empty."""
    return Markup("<p>Trash: {}, {}</p>").format(count_text(pictures), size_text(size)) if pictures else Markup("")


def head_html(count: int, selected: int) -> Markup:
    """How many pictures are shown, and how many of them are selected."""
    chosen = Markup("<small>{:,} selected</small>").format(selected) if selected else ""
    return Markup("<h2>{}{}</h2>").format(count_text(count), chosen)


def count_text(pictures: int) -> str:
    """`1 image`, `1,200 images`."""
    return f"{pictures:,} image{'' if pictures == 1 else 's'}"


def size_text(size: int) -> str:
    """Bytes as one would say it: 812 kB, 14 MB, 3.2 GB."""
    if size < 1_000_000:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.0f} MB" if size < 1_000_000_000 else f"{size / 1e9:.1f} GB"


@lru_cache(maxsize=512)
def _thumbnail(path: Path) -> str:
    """As a data address; empty where the file is not (any more) what was saved. A file of a name never changes."""
    if image_fault(path):
        return ""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    small.thumbnail((SIDE, SIDE))
    return data_address(small)
