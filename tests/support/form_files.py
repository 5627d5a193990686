"""Small image files, and indexes of data folders, for the tests of the forms."""

from pathlib import Path

from PIL import ExifTags, Image

from training.data.forms.recognise import find_source
from training.data.index import Index, open_index

WIDTH, HEIGHT = 40, 20


def opened(root: Path, split: str | None = None) -> Index:
    """The index of a data folder, beside it."""
    source = find_source(root, split)
    assert source is not None
    return open_index(root.parent / "index.sqlite", source)


def labels(index: Index) -> dict[str, list[str]]:
    """Classes of every image's objects, by the image's id."""
    return {index.picture(number).image_id: [entry.label for entry in entries] for number, entries in index.walk()}


def save(path: Path, orientation: int = 1) -> None:
    """A black image of WIDTH x HEIGHT pixels with an EXIF orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (WIDTH, HEIGHT)).save(path, exif=exif)
