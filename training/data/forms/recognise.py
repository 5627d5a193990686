"""Which form a folder has, or what a file is of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from detdiffusion.errors import ConfigError, DataError
from training.data.forms.coco_folders import coco_file, coco_ways, is_coco
from training.data.forms.common import Way
from training.data.forms.voc_folders import voc_file, voc_ways
from training.data.forms.yolo_config import DARKNET, YAML
from training.data.forms.yolo_folders import yolo_file, yolo_ways
from training.data.index import Source

DATA_FILES = (".json", *YAML, DARKNET, ".names", ".xml")  # that --data takes; a list of classes (.txt), too
_FORMS = "COCO (JSON), YOLO (data.yaml, or images with .txt labels and the classes in classes.txt), Pascal VOC (XML)"


def recognise(data: Path, images: Path | None = None) -> Way | None:
    """How a data set is read: its folder, or the file that names what is in its pictures. None for a folder of no known
    form.

    Args:
        images: the folder of the pictures, for a COCO file that lies elsewhere.

    Raises:
        ConfigError: `images` belongs to nothing.
        DataError: nothing is there, it is no such file, or it can be read in several ways.
    """
    if images is not None and (data.is_dir() or data.suffix.lower() != ".json"):
        raise ConfigError(f"--images {images} goes with a COCO file as --data; {data} is none")
    if images is not None and not images.is_dir():
        raise DataError(f"{images}: no such folder; --images is the folder of the images")
    if data.is_file():
        return _of_file(data, images)
    check_data(data)
    # A folder of `generate` may hold the same objects as YOLO, too.
    finders = (coco_ways,) if _is_generated(data) else (coco_ways, yolo_ways, voc_ways)
    ways = [way for find in finders for way in find(data)]
    complete = [way for way in ways if not way.lacking] or ways
    if len(complete) > 1:
        choices = ", or ".join(f"--data {way.by} ({way.form})" for way in complete)
        raise DataError(f"{data} can be read in {len(complete)} ways; choose one: {choices}")
    return complete[0] if complete else None


def check_data(data: Path) -> None:
    """DataError where nothing is there: said before the data are read and libraries are loaded."""
    if not data.is_dir() and not data.is_file():
        kind = "file" if data.suffix.lower() in (*DATA_FILES, ".txt") else "folder"
        raise DataError(f"{data}: no such {kind}")


def find_source(data: Path, split: str | None = None, images: Path | None = None) -> Source | None:
    """The data set, found but not read; None where a folder has no known form.

    Raises:
        ConfigError, DataError: as `recognise`; or there is no such split, or its classes have no names.
    """
    way = recognise(data, images)
    return None if way is None else source_of(way, split)


def source_of(way: Way, split: str | None) -> Source:
    """One split, with a line that says what was recognised."""
    source = way.source(split)
    return replace(source, about=way.about(way.chosen(split)))


def unknown_form(folder: Path) -> DataError:
    """What to say of a folder of no known form."""
    inside = sorted(path.name for path in folder.iterdir())[:8]
    held = f"it holds {', '.join(inside)}" if inside else "it is empty"
    known = next((path for path in sorted(folder.iterdir()) if path.is_dir() and _is_known(path)), None)
    held += "" if known is None else f"; give --data {known}"
    return DataError(
        f"{folder}: no data set in a known form; {held}. Looked for {_FORMS}; docs/DATA_FOLDERS.md shows every form"
    )


def _is_known(folder: Path) -> bool:
    """Whether there is something that can be read, perhaps in several ways."""
    try:
        return recognise(folder) is not None
    except DataError:
        return True


def _is_generated(folder: Path) -> bool:
    return (folder / "manifest.json").is_file() and (folder / "annotations.json").is_file()


def _of_file(path: Path, images: Path | None) -> Way:
    kind = path.suffix.lower()
    if kind == ".json":
        if not is_coco(path):
            raise DataError(f"{path}: not a COCO file, which lists images, annotations and categories")
        return coco_file(path, images)
    if kind in (*YAML, DARKNET, ".txt", ".names"):
        return yolo_file(path)
    found = voc_file(path) if kind == ".xml" else None
    if found is None:
        raise DataError(f"{path}: not a file that names what is in images; give the data set's folder, or {_kinds()}")
    return found


def _kinds() -> str:
    return "a COCO file (.json), a YAML of ultralytics, a list of classes (classes.txt) or an annotation of VOC (.xml)"
