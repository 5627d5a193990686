"""Data sets in the workspace -> what the page shows of them: layouts, pictures, numbers. No gradio here."""

import base64
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.components.html import hint_html
from app.components.images import ImageView, Mark
from app.components.places import ANYWHERE, Places
from app.datasets.form import PAGE, SET, DatasetOrder, Kind, Need, layouts_spec, make_dataset, make_loop, make_more
from app.datasets.views import card_html, images_html, layouts_html, reasons, stages_html
from app.engine.studio import Studio
from app.runs import handlers as shared
from app.runs.files import read_object
from app.runs.form import model_name
from app.runs.handlers import RunScreen
from app.runs.jobs import Runs, State, Status
from app.runs.views import report_frame
from detdiffusion.bounds import ZIP_FILES
from detdiffusion.core.files import written_aside
from detdiffusion.drawing import draw_layout
from detdiffusion.errors import ConfigError, DataError, DetDiffusionError, why
from detdiffusion.layout import Attribute, Layout
from detdiffusion.text.vocabulary import Vocabulary
from training.core.chunks import Chunks, Row
from training.data.filters import NO_FILTER
from training.data.layout_sources import PapercutLayouts, open_source
from training.diagnosis.evidence import FILE as EVIDENCE
from training.diagnosis.evidence import Evidence
from training.loop import rounds
from training.synthesis.store import MANIFEST, read_chunks, read_manifest

LAYOUTS, IMAGES, REFUSED, NUMBERS = "Layouts", "Images", "Refused", "Numbers"
A_PAGE = 12  # layouts or pictures
SURE = 0.5  # of the detector: a lower confidence is shown as missed
SIDE = 220  # pixels of a shown picture
BROWSED = (256, 256)  # height and width for layouts of no size of their own
COUNTED = 500  # layouts, whose classes and tags are counted
DRAWN = 100  # the same of the built-in world, whose scenes are drawn to have their layouts: 30 ms each
NOT_DATA = ("claims", "logs", "status.json", "status.lock")  # of the folder that `generate` writes
READING = "Reading the layouts."
UNCHECKED = "This data set was made without the check. For the next one, tick Check labels in the form."
NO_RUN = "No data set yet. Choose layouts and a model, then press Start."


@dataclass(frozen=True, slots=True)
class DatasetScreen:
    """What the page shows of the runs, and a page of the one that is shown."""

    run: RunScreen
    page: str
    pages: int = 0  # of pictures
    may_download: bool = False


def start(studio: Studio, runs: Runs, order: DatasetOrder) -> str:
    """Starts a data set and returns its name.

    Raises:
        ConfigError: it cannot work, with the reason; nothing was written.
    """
    plan = make_dataset(order, runs, studio.models.home)
    _check_classes(order, runs.places)
    runs.start(plan.name, plan.commands, plan.about, online=False, status=plan.status)
    return plan.name


def _check_classes(order: DatasetOrder, places: Places) -> None:
    """ConfigError where the model cannot draw a class of the layouts (of those that the page counts)."""
    spec = layouts_spec(order, places)
    counted, _ = _read(spec, _changed(spec), _stuff(order.model))
    _check_known(order.model, [label for layout in counted for label in layout.labels])


def _check_known(model: str, labels: Iterable[str]) -> None:
    known = _labels(model)
    unknown = sorted({label for label in labels if known and label not in known})
    if unknown:
        raise ConfigError(
            f"{model_name(Path(model))} does not know {', '.join(unknown)}: leave these objects out of the "
            "layouts, rename their class, or choose another model"
        )


def start_more(studio: Studio, runs: Runs, order: DatasetOrder, need: Need) -> str:
    """The same for layouts that are planned for a slice of a diagnosis."""
    plan = make_more(order, need, runs, studio.models.home)
    evidence = Evidence.load(need.diagnosis / EVIDENCE)
    _check_known(order.model, evidence.labels[np.unique(evidence.label)].tolist())
    runs.start(plan.name, plan.commands, plan.about, online=False, status=plan.status, counts=plan.counts)
    return plan.name


def start_loop(runs: Runs, config: str) -> str:
    """The same for a closed loop."""
    plan = make_loop(config, runs)
    runs.start(plan.name, plan.commands, plan.about, online=False, status=plan.status)
    return plan.name


def look(runs: Runs, chosen: str, view: str, page: int) -> DatasetScreen:
    """The runs as they are now, and a page of one of them."""
    run = shared.look(runs, chosen, NO_RUN)
    status = run.status
    if status is None:
        return DatasetScreen(run, "")
    shown, pages = ("", 0) if view == LAYOUTS else _page(runs, status, view, page)
    return DatasetScreen(run, shown, pages, may_download=status.state is State.FINISHED and not _is_loop(status))


def download(runs: Runs, chosen: str, into: Path) -> Path:
    """The finished data set as a zip file in a folder: pictures are stored as they are, one after the other.

    Raises:
        ConfigError: there is none, or it has too many files.
        DataError: the disk is full.
    """
    name = shared.current(runs, chosen).name
    folder, path = runs.folder(name) / SET, into / f"{name}.zip"
    if not (folder / MANIFEST).is_file():
        raise ConfigError(f"{name} holds no data set")
    inside = (part.relative_to(folder) for part in folder.rglob("*") if part.is_file())
    parts = sorted(islice((part for part in inside if part.parts[0] not in NOT_DATA), ZIP_FILES + 1))
    if len(parts) > ZIP_FILES:
        raise ConfigError(f"{name} has more than {ZIP_FILES:,} files, too many for a zip: copy {folder}")
    try:
        with written_aside(path) as aside, zipfile.ZipFile(aside, "w") as file:
            for part in parts:
                file.write(folder / part, Path(name) / part)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({why(error)}): free some space") from error
    return path


# --- layouts --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Browser:
    """A page of the layouts that are to be drawn. `layouts` are those that are shown, for who wants to take one."""

    html: str
    pages: int
    layouts: tuple[Layout, ...] = ()


def browse(order: DatasetOrder, label: str, page: int, places: Places = ANYWHERE) -> Browser:
    """Layouts of the form, with counts of classes and tags.

    Args:
        label: only layouts with an object of this class; "" all of them.
        places: where a folder, and the model, may lie.

    Raises:
        DetDiffusionError: there are none, or they cannot be read.
    """
    places.readable(order.model)
    spec = layouts_spec(order, places)
    counted, whole = _read(spec, _changed(spec), _stuff(order.model))
    kept = [one for one in counted if not label or label in one.labels]
    if not kept:
        raise ConfigError(f"no layout has an object of class {label!r}")
    pages = -(-len(kept) // A_PAGE)
    page = min(max(page, 0), pages - 1)
    shown = kept[page * A_PAGE :][:A_PAGE]
    return Browser(layouts_html(counted, whole, label, shown, _labels(order.model)), pages, tuple(shown))


def _changed(spec: str) -> int:
    return Path(spec).stat().st_mtime_ns if Path(spec).exists() else 0


@lru_cache(maxsize=4)
def _read(spec: str, changed: int, stuff: frozenset[str]) -> tuple[tuple[Layout, ...], int]:
    """The first layouts, and how many there are. changed: when the folder was, so that it is read again then."""
    source = open_source(spec, NO_FILTER)
    count = min(len(source), DRAWN if isinstance(source, PapercutLayouts) else COUNTED)
    return tuple(_tagged(source.layout(number, BROWSED), stuff) for number in range(count)), len(source)


def _tagged(layout: Layout, stuff: frozenset[str]) -> Layout:
    """Whatever a thing is, stuff is background."""
    boxes = (replace(box, attribute=Attribute.BACKGROUND) if box.label in stuff else box for box in layout.boxes)
    return replace(layout, boxes=tuple(boxes))


def _labels(model: str) -> frozenset[str]:
    """Classes that the model can draw; none where there is no such model, which is said when it is to start."""
    words = _vocabulary(model)
    return frozenset(words.labels) if words else frozenset()


def _stuff(model: str) -> frozenset[str]:
    """Those of them that are stuff."""
    words = _vocabulary(model)
    return frozenset(words.stuff) if words else frozenset()


def _vocabulary(model: str) -> Vocabulary | None:
    from detdiffusion.diffusion.manifest import read_vocabulary

    try:
        return read_vocabulary(Path(model))
    except DetDiffusionError:
        return None


# --- a run ----------------------------------------------------------------------------------------


def _is_loop(status: Status) -> bool:
    return status.about.get("kind") == Kind.LOOP


def _page(runs: Runs, status: Status, view: str, page: int) -> tuple[str, int]:
    """What is shown of a run, and of how many pages."""
    return _loop(runs, status) if _is_loop(status) else _dataset(runs.folder(status.name), view, page)


def _loop(runs: Runs, status: Status) -> tuple[str, int]:
    """Stages, and the report once it is there: of a loop with rounds after the first of them already."""
    path = runs.folder(status.name) / PAGE
    if status.state is State.FINISHED and path.is_file():
        return report_frame(status.name, path.read_text(encoding="utf-8")), 0
    stages, report = stages_html(status.stages), _rounds(runs, status)
    if report is None:
        return stages, 0
    frame = report_frame(status.name, report.read_text(encoding="utf-8"))
    return frame if status.state is State.FINISHED else stages + frame, 0


def _rounds(runs: Runs, status: Status) -> Path | None:
    """The report of a loop's rounds, which the loop writes into its own folder; None where there is none (yet)."""
    try:
        out = runs.places.readable(status.about.get("out", ""))
    except ConfigError:
        return None
    return out / rounds.PAGE if (out / rounds.FILE).is_file() and (out / rounds.PAGE).is_file() else None


def _dataset(folder: Path, view: str, page: int) -> tuple[str, int]:
    """Numbers, or a page of images; the newest ones while they are being made."""
    card = read_object(folder / SET / "card.json")
    if view == NUMBERS:
        return (hint_html("The numbers appear when all images are finished.") if card is None else card_html(card)), 0
    try:
        chunks, settings = read_chunks(folder / SET), read_manifest(folder / SET)
    except DetDiffusionError:
        return hint_html("The images appear here."), 0
    if view == REFUSED and "check" not in settings:
        return hint_html(UNCHECKED), 0
    done = sorted(chunks.done())
    numbers = [number for chunk in done for number in chunks.numbers(chunk)]
    if not numbers:
        return hint_html("The first images appear when their chunk is finished."), 0
    if view == REFUSED:
        count = len(numbers)
        numbers = [number for chunk in done for number in _refused(chunks, chunk)]
        if not numbers:
            return hint_html(f"None of the {count:,} images so far was refused."), 0
    pages = -(-len(numbers) // A_PAGE)
    shown = numbers[min(max(page, 0), pages - 1) * A_PAGE :][:A_PAGE]
    return images_html((_address(chunks.root, row), row) for row in _rows(chunks, shown)), pages


@lru_cache(maxsize=4096)
def _refused(chunks: Chunks, chunk: int) -> tuple[int, ...]:
    """Images of a finished chunk that were refused: it stays as it is."""
    return tuple(int(row["id"]) for row in chunks.rows(chunk) if row.get("refused"))


def enlarged(runs: Runs, chosen: str, number: int) -> ImageView:
    """An image of a data set as it is, with what the detector makes of its objects.

    Raises:
        ConfigError: it is not there (any more).
    """
    name = shared.current(runs, chosen).name
    try:
        chunks = read_chunks(runs.folder(name) / SET)
        row = next(row for row in _rows(chunks, [number]))
    except (DetDiffusionError, StopIteration):
        raise ConfigError(f"image {number} of {name} is not there any more") from None
    layout = Layout.from_json(row["layout"])
    marks = tuple(
        Mark(box.label, box.xyxy, None if confidence < SURE else confidence)
        for box, confidence in zip(layout.boxes, row["confidence"], strict=True)
        if confidence is not None
    )
    refused: list[Mapping[str, Any]] = row.get("refused", [])
    marks += tuple(Mark(f"not asked for: {one['found']}", one["box"], one["score"]) for one in refused if "box" in one)
    ratio, file = layout.width / layout.height, chunks.root / row["file"]
    why = f": refused, {reasons(row)}" if refused else ""
    return ImageView(file=file, marks=marks, caption=f"{file.name} of {name}{why}", ratio=ratio)


def _rows(chunks: Chunks, numbers: Sequence[int]) -> Iterator[Row]:
    for chunk in dict.fromkeys(number // chunks.size for number in numbers):
        yield from (row for row in chunks.rows(chunk) if row["id"] in numbers)


def _address(out: Path, row: Row) -> str:
    return _thumbnail(out / row["file"], json.dumps(row["layout"]), tuple(row["confidence"]))


@lru_cache(maxsize=256)
def _thumbnail(path: Path, layout: str, confidences: tuple[float | None, ...]) -> str:
    """With its boxes, green where the detector is half sure or more, and red where it is not: a data address."""
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
    return Attribute.EASY if confidence >= SURE else Attribute.HARD
