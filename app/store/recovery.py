"""Images and their rows agree again after a kill, a power cut or a full disk: looked at when the studio starts."""

from __future__ import annotations

import logging
import os
import uuid
from pathlib import Path

from PIL import Image

from app.store.entries import Entry
from app.store.history import History
from detdiffusion.core.files import sweep
from detdiffusion.errors import DetDiffusionError, LayoutError
from detdiffusion.image_record import has_record, read_image

log = logging.getLogger(__name__)
UNSEEN = 0.5  # from which confidence on an object counts as found, where nobody has looked


def recover(history: History) -> None:
    """Takes up whole images of the studio that have no row, removes those that are cut short, and puts files back that
    were on their way to the trash or out of it. Other files in the folder are left alone. What was done is logged; a
    history that cannot be used is left as it is."""
    try:
        sweep(history.pictures)
        rows = history.files()
        _put_back(history, rows)
        for name in sorted(_names(history.pictures) - set(rows)):
            _take_up(history, history.pictures / name)
    except (DetDiffusionError, OSError) as error:
        log.error("the images of the workspace could not be looked through: %s", error)


def _names(folder: Path) -> set[str]:
    try:
        return {name for name in os.listdir(folder) if name.endswith(".png")}  # noqa: PTH208 - may be very many
    except FileNotFoundError:
        return set()


def _put_back(history: History, rows: dict[str, bool]) -> None:
    """rows: whether a file is in the trash, as its row says."""
    places = {False: history.pictures, True: history.trash}
    for thrown, home in places.items():
        for name in _names(places[not thrown]) - _names(home):
            if rows.get(name) is thrown:
                home.mkdir(exist_ok=True)
                (places[not thrown] / name).replace(home / name)
                log.warning("%s was moved by half, and is where its row says again", name)


def _take_up(history: History, path: Path) -> None:
    try:
        with Image.open(path) as image:
            image.verify()
        with Image.open(path) as image:
            image.load()
        record = read_image(path) if has_record(path) else None
    except LayoutError as error:
        log.warning("%s; it has no row in the history, and stays", error)
        return
    except Exception as error:  # Pillow raises whatever a damaged file makes it raise
        if _is_ours(path):
            path.unlink()
            log.warning("%s was cut short while it was written (%s), and is removed", path.name, error)
        return
    if record is not None and record.sampling is not None:  # else another version's: nobody can say how it was made
        unknown = (None,) * len(record.layout.boxes)
        made_by = (record.model, record.model_sha256, record.sampling, record.strategy, record.detector, UNSEEN)
        made_at = path.stat().st_mtime
        history.record([Entry(uuid.uuid4().hex, 0, path.name, made_at, *made_by, record.layout, unknown)])
        log.warning("%s had no row in the history, and has one now", path.name)


def _is_ours(path: Path) -> bool:
    """By the name that the studio gives: a damaged file says nothing else."""
    return "-seed" in path.name
