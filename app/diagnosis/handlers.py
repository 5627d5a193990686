"""Diagnoses in the workspace -> what the page shows of them: bars, images with boxes, a report. No gradio here."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from PIL import Image

from app.components.html import hint_html
from app.components.images import data_address
from app.components.places import Places
from app.diagnosis.form import OUT, SCENES, DiagnosisOrder, make_diagnosis
from app.diagnosis.views import ERROR, SLICE, Tile, bars_html, others_of, tiles_html, title_html
from app.engine.studio import Studio
from app.runs import handlers as shared
from app.runs.handlers import RunScreen
from app.runs.jobs import Runs, State
from app.runs.views import report_frame
from detdiffusion.errors import ConfigError, DetDiffusionError
from detdiffusion.evaluation.tide import ErrorType
from detdiffusion.layout import Layout
from training.data.datasets import check_dataset
from training.data.images import ImageError, ImageFault, read_image_file
from training.data.request import add_data_arguments, reading_of
from training.diagnosis.cases import Cases, as_found, drawn
from training.diagnosis.command import PAGE
from training.diagnosis.evidence import FILE as EVIDENCE
from training.diagnosis.evidence import Evidence
from training.diagnosis.result import FILE, Diagnosis, read_diagnosis

FINDINGS, REPORT = "Findings", "Report"
A_PAGE = 24  # images
NO_RUN = "No diagnosis yet. Choose data and a detector, then press Start."
HOW = (
    "Slices that the detector finds least often, and kinds of error, appear here as bars, each with its images. As it "
    "stands, the form diagnoses the bundled detector on scenes that it has never seen."
)
WAIT = "What the detector gets wrong appears here when the diagnosis is finished."
ENDED = "This diagnosis has no result. Resume continues it; if it failed, the line above says why."
GONE = "The images cannot be shown: {}"


class Sort(StrEnum):
    """Which images come first."""

    LEAST = "Least confident first"
    MOST = "Most confident first"
    LOW = "Lowest IoU first"
    HIGH = "Highest IoU first"


@dataclass(frozen=True, slots=True)
class Place:
    """What is looked at: a run, a bar of it ("slice NAME", "error KIND", "": the first), and a page of its images."""

    run: str = ""
    picked: str = ""
    sort: str = Sort.LEAST
    page: int = 0
    view: str = FINDINGS
    seen: str = ""  # what the page holds


@dataclass(frozen=True, slots=True)
class Findings:
    """A diagnosis as the page shows it. hint: why there is none; may_more: layouts can be planned for what is
    picked."""

    hint: str = ""
    report: str = ""
    bars: str = ""
    title: str = ""
    images: str = ""
    pages: int = 0
    may_more: bool = False


@dataclass(frozen=True, slots=True)
class DiagnosisScreen:
    """What the page shows. `findings` is None where the page has them already; `place` is where they are of."""

    run: RunScreen
    place: Place
    findings: Findings | None


def start(studio: Studio, runs: Runs, order: DiagnosisOrder) -> str:
    """Starts a diagnosis and returns its name.

    Raises:
        DetDiffusionError: it cannot work, with the reason; nothing was written.
    """
    plan = make_diagnosis(order, runs, studio.models.home)
    runs.start(plan.name, plan.commands, plan.about, online=False, status=plan.status, counts=plan.counts)
    return plan.name


def look(runs: Runs, place: Place) -> DiagnosisScreen:
    """The diagnoses as they are now, and what is found out by the one that is shown."""
    run = shared.look(runs, place.run, NO_RUN)
    if run.status is None:
        return _screen(run, place, "none", lambda: Findings(hint=hint_html(HOW)))
    name, state = run.status.name, run.status.state
    if state is not State.FINISHED:
        hint = WAIT if state.alive else ENDED
        return _screen(run, place, f"{name}/{hint}", lambda: Findings(hint=hint_html(hint)))
    folder = runs.folder(name) / OUT
    try:
        changed = (folder / FILE).stat().st_mtime_ns
        if place.view == REPORT:
            return _screen(run, place, f"{name}/{changed}/{REPORT}", lambda: _report(name, folder / PAGE))
        place = _settled(_read(folder, changed)[0], place)
        at = f"{name}/{changed}/{place.picked}/{place.sort}/{place.page}"
        return _screen(run, place, at, lambda: _findings(runs, name, changed, place))
    except (OSError, DetDiffusionError) as error:
        hint = f"The diagnosis cannot be read: {error}"
        return _screen(run, place, f"{name}/{hint}", lambda: Findings(hint=hint_html(hint)))


def slice_of(runs: Runs, place: Place) -> tuple[Path, str]:
    """The diagnosis' folder and the slice that is picked.

    Raises:
        ConfigError: there is none.
    """
    name, (found, _) = _finished(runs, place)
    kind, _, wanted = _settled(found, place).picked.partition(" ")
    if kind != SLICE:
        raise ConfigError("choose a slice on the left: layouts are planned for its objects")
    return runs.folder(name) / OUT, wanted


def image_of(runs: Runs, place: Place, number: int) -> tuple[str, Layout, Image.Image]:
    """An image of the data: its name, its layout with what the detector made of the objects, and itself.

    Raises:
        DetDiffusionError: it is not there any more.
    """
    name, (found, evidence) = _finished(runs, place)
    if not 0 <= number < len(evidence.ids):
        raise ConfigError(f"{name} has no image {number}")
    path = _path(runs.places, _root(runs, name, found), evidence, number)
    return path.name, as_found(evidence, number, found.source.min_score), _image(path, evidence, number)


def _finished(runs: Runs, place: Place) -> tuple[str, tuple[Diagnosis, Evidence]]:
    status = shared.current(runs, place.run)
    path = runs.folder(status.name) / OUT / FILE
    if status.state is not State.FINISHED or not path.is_file():
        raise ConfigError(f"{status.name} is not finished")
    return status.name, _read(path.parent, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read(folder: Path, changed: int) -> tuple[Diagnosis, Evidence]:
    """changed: when the file was, so that it is read again then."""
    return read_diagnosis(folder), Evidence.load(folder / EVIDENCE)


def _screen(run: RunScreen, place: Place, at: str, made: Callable[[], Findings]) -> DiagnosisScreen:
    if at == place.seen:
        return DiagnosisScreen(run, place, None)
    found = made()
    page = min(max(place.page, 0), max(found.pages - 1, 0))
    return DiagnosisScreen(run, replace(place, page=page, seen=at), found)


def _report(name: str, page: Path) -> Findings:
    return Findings(report=report_frame(name, page.read_text(encoding="utf-8")))


# --- bars and images ------------------------------------------------------------------------------


def natural(picked: str) -> Sort:
    """What is worst of a slice or an error: objects that are not found, errors that the detector is sure of."""
    return Sort.MOST if picked.startswith(ERROR) else Sort.LEAST


def _settled(found: Diagnosis, place: Place) -> Place:
    """Where there is no such slice, the worst is picked; where none is named, the kind of error that costs most."""
    slices = [f"{SLICE} {one.name}" for one in (*found.slices, *others_of(found))]
    if place.picked in (*slices, *(f"{ERROR} {kind}" for kind in ErrorType)):
        return place
    costs = {f"{ERROR} {kind}": found.errors.get(kind, 0.0) for kind in ErrorType}
    picked = slices[0] if found.slices else max(costs, key=lambda name: costs[name])
    return replace(place, picked=picked, sort=natural(picked), page=0)


def _findings(runs: Runs, name: str, changed: int, place: Place) -> Findings:
    folder = runs.folder(name) / OUT
    found, evidence = _read(folder, changed)
    kind, _, what = place.picked.partition(" ")
    one = found.slice(what) if kind == SLICE else None
    cases = Cases.of_error(found, evidence, ErrorType(what)) if one is None else Cases.of_slice(found, evidence, one)
    by = cases.confidence if place.sort in (Sort.LEAST, Sort.MOST) else cases.overlap
    order = cases.ranked(by, lowest=place.sort in (Sort.LEAST, Sort.LOW))
    pages = -(-len(order) // A_PAGE)
    shown = order[min(max(place.page, 0), max(pages - 1, 0)) * A_PAGE :][:A_PAGE].tolist()
    try:
        root = _root(runs, name, found)
        tiles = [_tile(runs.places, root, folder, changed, cases, case) for case in shown]
        images = tiles_html(tiles) if tiles else ""
    except DetDiffusionError as error:
        images = hint_html(GONE.format(error))
    title = title_html(found, place.picked, len(order))
    bars = bars_html(found, place.picked)
    return Findings(bars=bars, title=title, images=images, pages=pages, may_more=one is not None)


def _tile(places: Places, root: Path, folder: Path, changed: int, cases: Cases, case: int) -> Tile:
    found, evidence = _read(folder, changed)
    image, confidence = int(cases.image[case]), float(cases.confidence[case])
    about = f"{confidence:.2f}, IoU {cases.overlap[case]:.2f}" if confidence > 0 else ""
    missed = cases.objects and confidence < found.source.min_score
    said = f"{evidence.labels[cases.label[case]]} {f'missed ({about})' if missed and about else about or 'missed'}"
    x1, y1, x2, y2 = (min(1.0, max(0.0, float(side))) for side in cases.box[case])
    try:
        path = _path(places, root, evidence, image)
        address = _small(path, folder, changed, image)
    except DetDiffusionError as error:
        address, said = "", str(error)
    return Tile(image, Path(str(evidence.paths[image])).name, said, address, (x1, y1, x2, y2))


@lru_cache(maxsize=256)
def _small(path: Path, folder: Path, changed: int, image: int) -> str:
    found, evidence = _read(folder, changed)
    return data_address(drawn(evidence, image, _image(path, evidence, image), found.source.min_score))


# --- the data -------------------------------------------------------------------------------------


def _root(runs: Runs, name: str, found: Diagnosis) -> Path:
    """The folder of the images: the run's own scenes, or what its command named. DetDiffusionError: it is gone."""
    own = runs.folder(name) / SCENES
    if own.is_dir():
        return own
    parser = argparse.ArgumentParser()
    add_data_arguments(parser)
    asked = parser.parse_args(found.source.words)
    return check_dataset(runs.places.readable(str(asked.data)), asked.split, reading_of(asked)).root


def _path(places: Places, root: Path, evidence: Evidence, image: int) -> Path:
    return places.readable(str(root / str(evidence.paths[image])))


def _image(path: Path, evidence: Evidence, image: int) -> Image.Image:
    """The image. ImageError where it is gone, or another one by now."""
    shown = read_image_file(path)
    if shown.size != tuple(evidence.sizes[image].tolist()):
        raise ImageError(ImageFault.OTHER_SIZE, path, "it was replaced since the diagnosis")
    return shown
