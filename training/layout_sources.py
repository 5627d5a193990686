"""Where the layouts of an evaluation come from: Papercut's scenes, a data set's folder, or a file of layouts."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from detdiffusion.errors import DataError, LayoutError
from detdiffusion.layout import Layout
from training.datasets import Dataset, fitted, open_dataset
from training.layouts import LayoutFilter
from training.papercut import Scene, scene
from training.pictures import Mask
from training.resume import file_hash

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
    def pictured(self) -> bool: ...

    @property
    def bounds(self) -> LayoutFilter | None:
        """The filter that they passed here."""
        ...

    def __len__(self) -> int: ...

    def seed(self, place: int) -> int:
        """Of the noise of its pictures."""
        ...

    def sample(self, place: int, size: Size) -> tuple[Image.Image | None, Layout]:
        """Real picture (RGB, where there are any) and layout, both stretched to a size: the aspect ratio is not kept
        (as in training, and as in GeoDiffusion)."""
        ...


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


def open_source(spec: str, bounds: LayoutFilter, split: str | None = None) -> LayoutSource:
    """The layouts that `layout_spec` let through. bounds, split: of a data set's folder.

    Raises:
        DataError: nothing of that name, or it cannot be read.
    """
    parts = PAPERCUT.fullmatch(spec)
    if parts is not None:
        return PapercutLayouts(int(parts[1]), int(parts[2]))
    path = Path(spec)
    if path.is_dir():
        return DatasetLayouts(open_dataset(path, filter=bounds, split=split), split)
    return FileLayouts.read(path)


@dataclass(frozen=True)
class PapercutLayouts:
    """Scenes of the built-in world; 900000 and up are never trained on."""

    count: int
    first: int
    kind = "papercut"
    pictured = True
    bounds = None

    @property
    def spec(self) -> str:
        return f"papercut:{self.count}@{self.first}"

    @property
    def fingerprint(self) -> str:
        return self.spec

    def __len__(self) -> int:
        return self.count

    def seed(self, place: int) -> int:
        return self.first + place

    def scene(self, place: int, size: Size) -> Scene:
        """Square as the world is, as large as the picture's longer side."""
        return scene(self.seed(place), size=max(size))

    def sample(self, place: int, size: Size) -> tuple[Image.Image, Layout]:
        made = self.scene(place, size)
        return _stretched(made.image, size), _resized(made.layout, size)

    def masks(self, place: int, size: Size) -> Mask:
        """What is visible of every object: [N, height, width]."""
        made = self.scene(place, size)
        return fitted(made.image, made.layout, made.masks, size, flip=False)[2]


@dataclass(frozen=True)
class DatasetLayouts:
    """What a filter leaves of a data set's folder."""

    dataset: Dataset
    split: str | None
    kind = "coco"
    pictured = True

    @property
    def bounds(self) -> LayoutFilter:
        return self.dataset.layout_filter

    @property
    def spec(self) -> str:
        return self.dataset.name if self.split is None else f"{self.dataset.name}, {self.split}"

    @property
    def fingerprint(self) -> str:
        return self.dataset.fingerprint

    def __len__(self) -> int:
        return len(self.dataset)

    def seed(self, place: int) -> int:
        return place

    def sample(self, place: int, size: Size) -> tuple[Image.Image, Layout]:
        found = self.dataset[place]
        return _stretched(found.load_image(), size), _resized(found.layout, size)


@dataclass(frozen=True)
class FileLayouts:
    """Rows of JSON, as `python -m training layouts` writes them: layouts without pictures."""

    path: Path
    layouts: tuple[Layout, ...]
    kind = "file"
    pictured = False
    bounds = None

    @classmethod
    def read(cls, path: Path) -> FileLayouts:
        """DataError, with the line, for a file that is missing or holds anything else."""
        if path.suffix != SUFFIX or not path.is_file():
            raise DataError(
                f"{path}: no such layouts; give papercut:COUNT@FIRST_SEED, a data set's folder, or a {SUFFIX} file of "
                "python -m training layouts"
            )
        lines = path.read_text(encoding="utf-8").splitlines()
        layouts = tuple(_row(path, number, line) for number, line in enumerate(lines, start=1) if line.strip())
        if not layouts:
            raise DataError(f"{path} holds no layout")
        return cls(path, layouts)

    @property
    def spec(self) -> str:
        return self.path.name

    @cached_property
    def fingerprint(self) -> str:
        return file_hash(self.path)

    def __len__(self) -> int:
        return len(self.layouts)

    def seed(self, place: int) -> int:
        return place

    def sample(self, place: int, size: Size) -> tuple[None, Layout]:
        return None, _resized(self.layouts[place], size)


def _row(path: Path, number: int, line: str) -> Layout:
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
