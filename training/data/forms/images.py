"""A folder of images that nobody has annotated -> an index without objects: each is looked at as those of data sets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from detdiffusion.errors import DataError
from training.data.forms.common import parents_of
from training.data.images import SUFFIXES, ImageError, read_frame
from training.data.index import ImageEntry, IndexWriter, Source


def images_source(folder: Path) -> Source:
    """Every image below the folder, in an order that holds still. DataError: there is none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"{folder}: no images ({', '.join(SUFFIXES)}) below this folder")
    names = [path.relative_to(folder).as_posix() for path in found]
    about = f"{len(names):,} images below it"
    return Source("images", folder, (), parents_of(folder, names), partial(_fill, folder, names), about)


def _fill(folder: Path, names: Sequence[str], writer: IndexWriter) -> None:
    for name in names:
        try:
            writer.add(ImageEntry(name, name, read_frame(folder / name, None)), [], 0)
        except ImageError as error:
            writer.drop_image(name, error, 0)
