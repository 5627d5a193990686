"""Data sets in the workspace -> what the page shows of them: layouts, pictures, numbers. No gradio here."""

import base64
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from app.components.views import hint_html, layout_svg
from app.datasets.form import PAGE, SET, DatasetOrder, Kind, layouts_spec, make_dataset, make_loop
from app.engine.studio import Studio
from app.evaluation.handlers import current, find_status, report_frame
from app.runs.files import LOG, log_tail, read_object
from app.runs.jobs import Runs, State, Status
from app.runs.views import RunHead, log_html, run_row
from detdiffusion.drawing import draw_layout
from detdiffusion.errors import ConfigError, DataError, DetDiffusionError
from detdiffusion.files import written_aside
from detdiffusion.layout import Attribute, Layout
from training.core.chunks import Chunks, Row
from training.data.filters import NO_FILTER
from training.data.layout_sources import open_source
from training.loop import StageState, read_status
from training.synthesis.store import MANIFEST, job_chunks, read_chunks

LAYOUTS, PICTURES, NUMBERS = "Layouts", "Pictures", "Numbers"
A_PAGE = 12  # layouts or pictures
SIDE = 220  # pixels of a shown picture
BROWSED = (256, 256)  # height and width for layouts of no size of their own
COUNTED = 500  # layouts, whose classes and tags are counted
NONE_YET = "None yet."
NO_RUN = "No data set yet. Choose layouts and a model, then press Start."


@dataclass(frozen=True, slots=True)
class DatasetScreen:
    """What the page shows of the runs."""

    runs: str
    head: str
    page: str
    log: str
    pages: int = 0  # of pictures
    may_stop: bool = False
    stopping: bool = False
    may_resume: bool = False
    may_download: bool = False


def start(studio: Studio, runs: Runs, order: DatasetOrder) -> str:
    """Starts a data set and returns its name.

    Raises:
        ConfigError: it cannot work, with the reason; nothing was written.
    """
    plan = make_dataset(order, runs, studio.models.home)
    runs.start(plan.name, plan.commands, plan.about, online=False)
    return plan.name


def start_loop(runs: Runs, config: str) -> str:
    """The same for a closed loop."""
    plan = make_loop(config, runs)
    runs.start(plan.name, plan.commands, plan.about, online=False)
    return plan.name


def look(runs: Runs, chosen: str, view: str, page: int) -> DatasetScreen:
    """The runs as they are now, and a page of one of them."""
    statuses = [_measured(status, runs.folder(status.name)) for status in runs.statuses()]
    status = find_status(statuses, chosen)
    listed = "".join(run_row(other, chosen=other is status) for other in statuses) or hint_html(NONE_YET)
    if status is None:
        return DatasetScreen(listed, hint_html(NO_RUN), "", log_html([]))
    folder = runs.folder(status.name)
    shown, pages = ("", 0) if view == LAYOUTS else _page(folder, status, view, page)
    return DatasetScreen(
        listed,
        RunHead(status, "stage" if _is_loop(status) else "picture").html(),
        shown,
        log_html(log_tail(folder / LOG)),
        pages,
        may_stop=status.state.alive,
        stopping=status.state is State.STOPPING,
        may_resume=status.state in (State.STOPPED, State.FAILED),
        may_download=status.state is State.FINISHED and not _is_loop(status),
    )


def download(runs: Runs, chosen: str, into: Path) -> Path:
    """The finished data set as a zip file in a folder: pictures are stored as they are, one after the other.

    Raises:
        ConfigError: there is none.
        DataError: the disk is full.
    """
    name = current(runs, chosen)
    folder, path = runs.folder(name) / SET, into / f"{name}.zip"
    if not (folder / MANIFEST).is_file():
        raise ConfigError(f"{name} holds no data set")
    try:
        with written_aside(path) as aside, zipfile.ZipFile(aside, "w") as file:
            for part in sorted(folder.rglob("*")):
                inside = part.relative_to(folder)
                if part.is_file() and inside.parts[0] not in ("claims", "logs"):
                    file.write(part, Path(name) / inside)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}): free some space") from error
    return path


# --- layouts --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Browser:
    """A page of the layouts that are to be drawn. `layouts` are those that are shown, for who wants to take one."""

    html: str
    pages: int
    layouts: tuple[Layout, ...] = ()


def browse(order: DatasetOrder, label: str, page: int) -> Browser:
    """Layouts of the form, with counts of classes and tags.

    Args:
        label: only layouts with an object of this class; "" all of them.

    Raises:
        DetDiffusionError: there are none, or they cannot be read.
    """
    spec = layouts_spec(order)
    changed = Path(spec).stat().st_mtime_ns if Path(spec).exists() else 0
    counted, whole = _read(spec, changed, _stuff(order.model))
    kept = [one for one in counted if not label or label in one.labels]
    if not kept:
        raise ConfigError(f"no layout has an object of class {label!r}")
    pages = -(-len(kept) // A_PAGE)
    page = min(max(page, 0), pages - 1)
    shown = kept[page * A_PAGE :][:A_PAGE]
    tiles = "".join(_tile(number, layout) for number, layout in enumerate(shown))
    return Browser(f'{_counts(counted, whole, label)}<div class="tiles">{tiles}</div>', pages, tuple(shown))


@lru_cache(maxsize=4)
def _read(spec: str, changed: int, stuff: frozenset[str]) -> tuple[tuple[Layout, ...], int]:
    """The first layouts, and how many there are. changed: when the folder was, so that it is read again then."""
    source = open_source(spec, NO_FILTER)
    return tuple(_tagged(source.layout(i, BROWSED), stuff) for i in range(min(COUNTED, len(source)))), len(source)


def _tagged(layout: Layout, stuff: frozenset[str]) -> Layout:
    """Whatever a thing is, stuff is background."""
    boxes = (replace(box, attribute=Attribute.BACKGROUND) if box.label in stuff else box for box in layout.boxes)
    return replace(layout, boxes=tuple(boxes))


def _stuff(model: str) -> frozenset[str]:
    """Of the model that is to draw; none where there is no such model, which is said when it is to start."""
    from detdiffusion.diffusion.manifest import read_vocabulary

    try:
        return frozenset(read_vocabulary(Path(model)).stuff)
    except DetDiffusionError:
        return frozenset()


def _counts(layouts: Sequence[Layout], whole: int, label: str) -> str:
    """Classes by number of objects, each a button that filters, and tags."""
    classes = Counter(box.label for layout in layouts for box in layout.boxes)
    tags = Counter(str(box.attribute or "things") for layout in layouts for box in layout.boxes)
    about = f"{whole:,} layouts" if whole == len(layouts) else f"{whole:,} layouts, the first {len(layouts):,} shown"
    buttons = "".join(_class_button(name, count, chosen=name == label) for name, count in classes.most_common())
    shown = ", ".join(f"{count:,} {tag}" for tag, count in sorted(tags.items()))
    return f'<p class="facts">{about} · {classes.total():,} objects: {shown}</p><div class="strip">{buttons}</div>'


def _class_button(name: str, count: int, *, chosen: bool) -> str:
    return (
        f'<button type="button" data-name="class {escape(name, quote=True)}" aria-pressed="{str(chosen).lower()}">'
        f"{escape(name)} <small>{count:,}</small></button>"
    )


def _tile(number: int, layout: Layout) -> str:
    names = escape(", ".join(layout.labels), quote=True)
    return (
        f'<button type="button" class="tile" data-name="layout {number}" title="Open in the Studio: {names}">'
        f"{layout_svg(layout)}</button>"
    )


# --- a run ----------------------------------------------------------------------------------------


def _is_loop(status: Status) -> bool:
    return status.about.get("kind") == Kind.LOOP


def _measured(status: Status, folder: Path) -> Status:
    """With the pictures that are committed, or the stages that are done."""
    if _is_loop(status):
        states = list(read_status(Path(status.about["out"])).values())
        return replace(status, step=states.count(StageState.FINISHED), steps=len(states))
    settings = read_object(folder / SET / MANIFEST)
    if settings is None:
        return status
    chunks = job_chunks(folder / SET, int(settings["count"]), int(settings["chunk"]))
    return replace(status, step=sum(len(chunks.numbers(chunk)) for chunk in chunks.done()), steps=chunks.count)


def _page(folder: Path, status: Status, view: str, page: int) -> tuple[str, int]:
    """What is shown of a run, and of how many pages."""
    return _loop(folder, status) if _is_loop(status) else _dataset(folder, view, page)


def _loop(folder: Path, status: Status) -> tuple[str, int]:
    """Stages, and the report once it is there."""
    if status.state is State.FINISHED:
        return report_frame(status.name, (folder / PAGE).read_text(encoding="utf-8")), 0
    rows = "".join(
        f'<li class="{state}"><i></i><span>{escape(name)}</span><small>{state}</small></li>'
        for name, state in read_status(Path(status.about["out"])).items()
    )
    return f'<ol class="stages">{rows}</ol>' if rows else hint_html("The stages appear here."), 0


def _dataset(folder: Path, view: str, page: int) -> tuple[str, int]:
    """Numbers, or a page of pictures; the newest ones while they are being made."""
    card = read_object(folder / SET / "card.json")
    if view == NUMBERS:
        return (hint_html("The numbers appear when all pictures are there.") if card is None else _card(card)), 0
    try:
        chunks = read_chunks(folder / SET)
    except DetDiffusionError:
        return hint_html("The pictures appear here."), 0
    done = sorted(chunks.done())
    numbers = [number for chunk in done for number in chunks.numbers(chunk)]
    if not numbers:
        return hint_html("The first pictures appear when a chunk of them is finished."), 0
    pages = -(-len(numbers) // A_PAGE)
    shown = numbers[min(max(page, 0), pages - 1) * A_PAGE :][:A_PAGE]
    tiles = "".join(_picture(chunks.root, row) for row in _rows(chunks, shown))
    return f'<div class="tiles pictures">{tiles}</div>', pages


def _rows(chunks: Chunks, numbers: Sequence[int]) -> Iterator[Row]:
    for chunk in dict.fromkeys(number // chunks.size for number in numbers):
        yield from (row for row in chunks.rows(chunk) if row["id"] in numbers)


def _picture(out: Path, row: Row) -> str:
    """With its boxes, green where the detector is half sure or more, and red where it is not."""
    known = [(item["label"], value) for item, value in zip(row["layout"]["objects"], row["confidence"], strict=True)]
    said = ", ".join(f"{label} {value:.2f}" for label, value in known if value is not None)
    if not said:
        empty = all(item["attribute"] == Attribute.BACKGROUND for item in row["layout"]["objects"])
        said = "background alone" if empty else "no detector looked"
    return (
        f'<figure><img src="{_thumbnail(out / row["file"], json.dumps(row["layout"]), tuple(row["confidence"]))}" '
        f'alt="{escape(said, quote=True)}"><figcaption>{escape(said)}</figcaption></figure>'
    )


@lru_cache(maxsize=256)
def _thumbnail(path: Path, layout: str, confidences: tuple[float | None, ...]) -> str:
    """As a data address."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize((SIDE, round(SIDE * image.height / image.width)), Image.Resampling.LANCZOS)
    drawn = Layout.from_json(layout)
    seen = [_seen(value) for value in confidences]
    things = [replace(box, attribute=tag) for box, tag in zip(drawn.boxes, seen, strict=True) if tag is not None]
    if things:
        small = draw_layout(small, replace(drawn, boxes=tuple(things)))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _seen(confidence: float | None) -> Attribute | None:
    if confidence is None:
        return None
    return Attribute.EASY if confidence >= 0.5 else Attribute.HARD


def _card(card: dict[str, Any]) -> str:
    """The data card's table."""
    heads = ("Class", "Objects", "Easy before", "Hard before", "Asked easy", "Asked hard", "Found", "Missed", "Mean")
    rows = []
    for name, counts in card["classes"].items():
        parts = [counts[when][tag] for when in ("before", "asked", "after") for tag in ("easy", "hard")]
        numbers = [counts["objects"], *parts]
        mean = counts["mean_confidence"]
        cells = [f"{number:,}" for number in numbers] + ["–" if mean is None else f"{mean:.2f}"]
        shown = "".join(f"<td class=number>{cell}</td>" for cell in cells)
        rows.append(f"<tr><td>{escape(name)}</td>{shown}</tr>")
    head = f"<th>{heads[0]}</th>" + "".join(f"<th class=number>{name}</th>" for name in heads[1:])
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    fates = "".join(
        f"<p class=facts>Asked {escape(tag)}: "
        + ", ".join(f"{count:,} {escape(fate)}" for fate, count in counts.items())
        + "</p>"
        for tag, counts in card["fates"].items()
    )
    return f'<div class="scroll">{table}</div>{fates}'
