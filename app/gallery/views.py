"""What the Gallery tab shows: frozen values, and the little HTML that they become. Everything from a user is escaped
here."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from pathlib import Path

from PIL import Image

from app.components.views import Mark, PictureView, data_address
from app.store.history import Entry
from detdiffusion.attributes import Strategy

SIDE = 200  # pixels of a tile's picture, at most
STRATEGIES = {Strategy.ORIGIN: "as drawn", Strategy.EASY: "easy", Strategy.HARD: "hard"}


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
    page: int = 0
    pages: int = 1
    count: int = 0
    selected: tuple[int, ...] = ()
    shown: PictureView = field(default_factory=PictureView)
    facts: str = ""
    labels: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    newest: int = 0


def tiles_html(entries: Sequence[Entry], pictures: Path, selected: Sequence[int]) -> str:
    """Each a button that chooses the picture, and one that stars it (gallery.js)."""
    tiles = "".join(_tile(entry, pictures, chosen=entry.id in selected) for entry in entries)
    return f'<div class="tiles">{tiles}</div>'


def _tile(entry: Entry, pictures: Path, *, chosen: bool) -> str:
    names = escape(", ".join(entry.labels), quote=True)
    address = _thumbnail(pictures / entry.file)
    picture = f'<img src="{address}" alt="{names}">' if address else "<em>cannot be read</em>"
    star = "Take the star away" if entry.starred else "Star"
    how = f'Seed {entry.seed} <b class="{entry.strategy.value}">{STRATEGIES[entry.strategy]}</b>'
    return (
        f'<div class="tile"><button type="button" class="pick" data-name="pick {entry.id}" '
        f'aria-pressed="{_bool(chosen)}" title="{names}">{picture}<span>{how}</span><small>{_found(entry)}</small>'
        f'</button><button type="button" class="star" data-name="star {entry.id}" '
        f'aria-pressed="{_bool(entry.starred)}" aria-label="{star}" title="{star}">'
        f"{'★' if entry.starred else '☆'}</button></div>"
    )


def _found(entry: Entry) -> str:
    """What the detector made of it, in short."""
    if not entry.known:
        return "not checked"
    drop = "" if entry.drop is None else f" · drop {entry.drop:.2f}"
    return f"found {len(entry.known) - entry.missed} of {len(entry.known)}{drop}"


def large_view(entry: Entry, pictures: Path) -> PictureView:
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
    return PictureView(file=pictures / entry.file, marks=marks, caption=f"Seed {entry.seed}", ratio=ratio)


def facts_html(entry: Entry) -> str:
    """What is known of a picture, a line each."""
    how = [entry.model, f"{entry.steps} steps", f"guidance {entry.guidance:g}", STRATEGIES[entry.strategy]]
    if entry.difficulty:
        how.append(f"difficulty {entry.difficulty:+g}")
    if entry.sampler:
        how.append(entry.sampler)
    seen = [_found(entry)]
    if entry.mean_confidence is not None:
        seen += [f"mean confidence {entry.mean_confidence:.2f}", f"by {entry.detector} at {entry.min_score:.2f}"]
    lines = (" · ".join(how), " · ".join(seen), time.strftime("%d %b %Y, %H:%M", time.localtime(entry.made_at)))
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def storage_html(pictures: int, size: int) -> str:
    return f"<p><b>{count_text(pictures)}</b>, {size_text(size)}</p>"


def head_html(count: int, selected: int) -> str:
    chosen = f"<small>{selected:,} selected</small>" if selected else ""
    return f"<h2>{count_text(count)}{chosen}</h2>"


def count_text(pictures: int) -> str:
    return f"{pictures:,} picture{'' if pictures == 1 else 's'}"


def size_text(size: int) -> str:
    """Bytes as one would say it: 812 kB, 14 MB, 3.2 GB."""
    if size < 1_000_000:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.0f} MB" if size < 1_000_000_000 else f"{size / 1e9:.1f} GB"


@lru_cache(maxsize=512)
def _thumbnail(path: Path) -> str:
    """As a data address; empty where the file is no picture (any more). A file of a name never changes."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    small.thumbnail((SIDE, SIDE))
    return data_address(small)


def _bool(value: bool) -> str:
    return "true" if value else "false"
