"""Where the layouts of an evaluation come from: Papercut's scenes, a data set's folder, or a file of layouts."""

from __future__ import annotations

import argparse
import json
import re
from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from detdiffusion.core.files import file_hash
from detdiffusion.errors import ConfigError, DataError, LayoutError, why
from detdiffusion.layout import Layout
from training.data.attributes import Attributes, read_attributes, read_file
from training.data.datasets import Dataset, data_words, fitted, open_dataset
from training.data.filters import LayoutFilter
from training.data.forms.recognise import DATA_FILES
from training.data.images import Mask
from training.data.papercut.classes import STUFF, THINGS
from training.data.papercut.scene import Scene, scene
from training.data.request import AS_IT_IS, Reading

PAPERCUT = re.compile(r"papercut:([1-9]\d{0,6})@(\d{1,9})")
SUFFIX = ".jsonl"

Size = tuple[int, int]  # height, width in pixels


class LayoutSource(Protocol):
    """Layouts, one by one, and where there are any their real pictures."""

    @property
    def kind(self) -> str:
        """papercut, coco (a data set's folder, of whatever form) or file."""
        ...

    @property
    def spec(self) -> str:
        """What was asked for, in words that mean the same on every machine."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of the layouts' contents: what is made of others must not be mixed with it."""
        ...

    @property
    def pictured(self) -> bool:
        """Whether every layout has a real image."""
        ...

    @property
    def labelled(self) -> bool:
        """Whether the layouts come with attributes."""
        ...

    @property
    def attributes_by(self) -> Any:
        """The detectors that gave the layouts their attributes, as the header of an attribute file names them."""
        ...

    @property
    def bounds(self) -> LayoutFilter | None:
        """The filter that they passed here."""
        ...

    def __len__(self) -> int: ...

    def labels(self) -> Collection[str]:
        """Classes of all objects."""
        ...

    def seed(self, place: int) -> int:
        """Of the noise of its pictures."""
        ...

    def layout(self, place: int, size: Size) -> Layout:
        """The layout of `sample` without its picture."""
        ...

    def sample(self, place: int, size: Size) -> tuple[Image.Image | None, Layout]:
        """Real picture (RGB, where there are any) and layout, both stretched to a size: the aspect ratio is not kept
        (as in training, and as in GeoDiffusion)."""
        ...


def papercut_layouts(text: str) -> PapercutLayouts:
    """An argument's type: the scenes of "papercut:24@900000", of which one knows the ordinary and the difficult.

    Raises:
        argparse.ArgumentTypeError: it is of another form.
    """
    source = open_source(layout_spec(text), LayoutFilter()) if text.startswith("papercut:") else None
    if not isinstance(source, PapercutLayouts):
        raise argparse.ArgumentTypeError(f"{text!r} needs the form papercut:COUNT@FIRST_SEED")
    return source


def layout_spec(text: str) -> str:
    """An argument's type: "papercut:200@900000", or a path that need not be there yet.

    Raises:
        argparse.ArgumentTypeError: it begins as the first, and goes on otherwise.
    """
    if not text or (text.startswith("papercut") and not PAPERCUT.fullmatch(text) and not Path(text).exists()):
        raise argparse.ArgumentTypeError(
            f"{text!r} needs the form papercut:COUNT@FIRST_SEED, as papercut:200@900000, or to be a folder or a file"
        )
    return text


def open_source(
    spec: str,
    bounds: LayoutFilter,
    split: str | None = None,
    attributes: Path | None = None,
    reading: Reading = AS_IT_IS,
) -> LayoutSource:
    """The layouts that `layout_spec` let through.

    Args:
        bounds, split, attributes, reading: of a data set; attributes is a file of `python -m training annotate`.

    Raises:
        ConfigError: a split, attributes or a way of reading for layouts that are no data set.
        DataError: nothing of that name, or it cannot be read; the attributes belong to other data.
    """
    path = Path(spec)
    if path.is_dir() or (path.suffix.lower() in DATA_FILES and path.is_file()):
        dataset = open_dataset(path, filter=bounds, split=split, reading=reading)
        if attributes is not None:
            read_attributes(attributes, dataset)  # what is wrong is said now
        return DatasetLayouts(dataset, split, attributes)
    parts = PAPERCUT.fullmatch(spec)
    source = PapercutLayouts(int(parts[1]), int(parts[2])) if parts is not None else FileLayouts.read(path)
    words = [*data_words(path, split, reading)[2:], *(() if attributes is None else ("--attributes", str(attributes)))]
    if words:
        raise ConfigError(f"{' '.join(words)} belongs to a data set; {spec} is not the folder of one")
    return source


def describe(source: LayoutSource) -> list[str]:
    """For the log: what was recognised, kept and dropped of a data set; nothing for other layouts."""
    return source.dataset.describe() if isinstance(source, DatasetLayouts) else []


@dataclass(frozen=True)
class PapercutLayouts:
    """Scenes of the built-in world; 900000 and up are never trained on."""

    count: int
    first: int
    kind = "papercut"
    pictured = True
    labelled = False
    attributes_by = None
    bounds = None

    @property
    def spec(self) -> str:
        """As `--layouts` takes it."""
        return f"papercut:{self.count}@{self.first}"

    @property
    def fingerprint(self) -> str:
        """Seeds say it all."""
        return self.spec

    def __len__(self) -> int:
        return self.count

    def labels(self) -> Collection[str]:
        """All classes of the built-in world."""
        return (*THINGS, *STUFF)

    def seed(self, place: int) -> int:
        """Of the scene at a place."""
        return self.first + place

    def scene(self, place: int, size: Size) -> Scene:
        """Square as the world is, as large as the picture's longer side."""
        return scene(self.seed(place), size=max(size))

    def layout(self, place: int, size: Size) -> Layout:
        """Of a scene, for an image of (height, width) pixels."""
        return _resized(self.scene(place, size).layout, size)

    def sample(self, place: int, size: Size) -> tuple[Image.Image, Layout]:
        """A scene and its layout, stretched to (height, width) pixels."""
        made = self.scene(place, size)
        return _stretched(made.image, size), _resized(made.layout, size)

    def masks(self, place: int, size: Size) -> Mask:
        """What is visible of every object: [N, height, width]."""
        made = self.scene(place, size)
        return fitted(made.image, made.layout, made.masks, size, flip=False)[2]


@dataclass(frozen=True)
class DatasetLayouts:
    """What a filter leaves of a data set's folder, with the attributes of a file of `python -m training annotate`."""

    dataset: Dataset
    split: str | None
    attributes: Path | None = None
    kind = "coco"
    pictured = True

    @property
    def bounds(self) -> LayoutFilter:
        """What is left out."""
        return self.dataset.layout_filter

    @property
    def spec(self) -> str:
        """The data set's name, and its split."""
        return self.dataset.name if self.split is None else f"{self.dataset.name}, {self.split}"

    @property
    def labelled(self) -> bool:
        """Whether a file of attributes was given."""
        return self.attributes is not None

    @property
    def attributes_by(self) -> Any:
        """The detector that found the attributes; None where there are none."""
        return None if self.attributes is None else read_file(self.attributes).header["detector"]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the data set, its filter and the attributes."""
        given = "" if self.attributes is None else f"+{file_hash(self.attributes)}"
        return f"{self.dataset.fingerprint}{given}"

    @cached_property
    def _given(self) -> dict[str, Attributes]:
        return {} if self.attributes is None else read_attributes(self.attributes, self.dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def labels(self) -> Collection[str]:
        """The classes that occur."""
        return {label for sample in self.dataset for label in sample.layout.labels}

    def seed(self, place: int) -> int:
        """Of the noise for the layout at a place."""
        return place

    def layout(self, place: int, size: Size) -> Layout:
        """For an image of (height, width) pixels, with attributes where they were given."""
        found = self.dataset[place]
        layout = found.layout.with_attributes(self._given[found.image_id]) if self.labelled else found.layout
        return _resized(layout, size)

    def sample(self, place: int, size: Size) -> tuple[Image.Image, Layout]:
        """An image and its layout, stretched to (height, width) pixels."""
        return _stretched(self.dataset[place].load_image(), size), self.layout(place, size)


@dataclass(frozen=True)
class FileLayouts:
    """Rows of JSON, as `python -m training layouts` and `plan` write them: layouts without pictures. They stay in the
    file, of which there may be millions.

    starts: where each row begins, in bytes; classes: those of all objects.
    """

    path: Path
    starts: Sequence[int]
    classes: frozenset[str]
    kind = "file"
    pictured = False
    labelled = True
    attributes_by = None
    bounds = None

    @classmethod
    def read(cls, path: Path) -> FileLayouts:
        """DataError, with the line, for a file that is missing or holds anything else."""
        if path.suffix != SUFFIX or not path.is_file():
            raise DataError(
                f"{path}: no such layouts; give papercut:COUNT@FIRST_SEED, a data set's folder, or a {SUFFIX} file of "
                "python -m training layouts"
            )
        starts, classes, start = array("q"), set[str](), 0
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        starts.append(start)
                        classes.update(_row(path, number, line).labels)
                    start += len(line)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({why(error)})") from error
        if not starts:
            raise DataError(f"{path} holds no layout")
        return cls(path, starts, frozenset(classes))

    @property
    def spec(self) -> str:
        """The file's name."""
        return self.path.name

    @cached_property
    def fingerprint(self) -> str:
        """The file's hash."""
        return file_hash(self.path)

    def __len__(self) -> int:
        return len(self.starts)

    def labels(self) -> Collection[str]:
        """The classes that occur."""
        return self.classes

    def seed(self, place: int) -> int:
        """Of the noise for the layout at a place."""
        return place

    def layout(self, place: int, size: Size) -> Layout:
        """For an image of (height, width) pixels."""
        with self.path.open("rb") as file:
            file.seek(self.starts[place])
            return _resized(_row(self.path, place + 1, file.readline()), size)

    def sample(self, place: int, size: Size) -> tuple[None, Layout]:
        """The layout alone: there are no images."""
        return None, self.layout(place, size)


def _row(path: Path, number: int, line: bytes) -> Layout:
    try:
        values: Any = json.loads(line)
        return Layout.from_json(values)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}, line {number}: this is not JSON: {error}") from error
    except LayoutError as error:
        raise DataError(f"{path}, line {number}: {error}") from error


def _resized(layout: Layout, size: Size) -> Layout:
    return replace(layout, height=size[0], width=size[1])


def _stretched(image: Image.Image, size: Size) -> Image.Image:
    height, width = size
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)
