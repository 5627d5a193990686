"""Data sets of pictures and layouts: COCO, COCO-Thing-Stuff, Papercut, YOLO and Pascal VOC folders -> samples."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image

from detdiffusion.core.files import json_hash, text_hash
from detdiffusion.errors import DataError
from detdiffusion.layout import Box, Layout
from training.data.checks import DataReport
from training.data.coco import find_coco, unpack
from training.data.filters import NO_FILTER, LayoutFilter, layout_of, selections
from training.data.folders import find_voc, find_yolo
from training.data.images import TURNS, ImageError, ImageFault, Mask, read_image_file
from training.data.index import Index, Source, open_index

_FINDERS = (find_coco, find_yolo, find_voc)  # in this order: a COCO folder may hold images/ too


class MaskSource(StrEnum):
    """What a data set's masks are: the objects' own, or their boxes where the data have nothing better."""

    INSTANCES = "instances"
    BOXES = "boxes"


@dataclass(frozen=True, slots=True)
class LazyMasks:
    """The masks of a picture's objects, in the order of its layout, packed until they are asked for. An object without
    one has the shape of its box."""

    layout: Layout
    packed: tuple[bytes | None, ...]
    orientation: int = 1  # of the frame in which they were drawn (EXIF, 1 to 8)

    def __len__(self) -> int:
        return len(self.packed)

    def __iter__(self) -> Iterator[Mask]:
        """One mask [H, W] at a time, of the size of the upright picture: all of them at once may be large."""
        turn = TURNS[self.orientation]
        drawn_size = turn.size(self.layout.width, self.layout.height)
        for box, packed in zip(self.layout.boxes, self.packed, strict=True):
            yield _box_mask(box, self.layout) if packed is None else turn.mask(unpack(packed, *drawn_size))

    def decode(self) -> Mask:
        """[N, H, W]."""
        return np.stack(list(self))


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture, its objects (without attributes) and their masks; the picture is read when it is asked for."""

    image_id: str  # unique in its data set, the same in every run
    path: Path
    layout: Layout  # of the upright picture
    masks: LazyMasks

    def load_image(self) -> Image.Image:
        """The picture, upright, in RGB.

        Raises:
            ImageError: it is missing, cut short, over 25 megapixels, or not the one that was indexed.
        """
        image = read_image_file(self.path)
        if image.size != (self.layout.width, self.layout.height):
            raise ImageError(ImageFault.OTHER_SIZE, self.path, "it was replaced since the data set was opened")
        return image


class Dataset(Sequence[Sample]):
    """The pictures that a filter keeps, read from an index when they are asked for. `open_dataset` makes it; it may be
    sent to other processes.

    things, stuff: class names, those that the filter ignores left out. fingerprint: SHA-256 over the annotation files'
    contents and the filter, the key of everything that is derived from the data set. report: what was kept, left out
    and put right.
    """

    def __init__(self, root: Path, index: Index, layout_filter: LayoutFilter) -> None:
        self.root, self.layout_filter = root, layout_filter
        self.name = root.resolve().name
        self.things = tuple(name for name in index.things if name not in layout_filter.ignored)
        self.stuff = tuple(name for name in index.stuff if name not in layout_filter.ignored)
        self.mask_source = MaskSource.INSTANCES if index.has_masks else MaskSource.BOXES
        self.fingerprint = json_hash({"contents": index.contents, "filter": asdict(layout_filter)})
        self._index = index
        self._numbers, self.report = _selected(index, layout_filter)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> Sample: ...

    @overload
    def __getitem__(self, place: slice) -> list[Sample]: ...

    def __getitem__(self, place: int | slice) -> Sample | list[Sample]:
        if isinstance(place, slice):
            return [self._sample(number) for number in self._numbers[place]]
        return self._sample(self._numbers[place])

    def describe(self) -> list[str]:
        """For the log: what is in it, and what its masks are."""
        masks = {
            MaskSource.INSTANCES: "masks: the objects' own",
            MaskSource.BOXES: "masks: the data have none, boxes stand in for them (the perception loss learns boxes)",
        }
        classes = f"classes: {len(self.things)} of things, {len(self.stuff)} of stuff"
        return [f"data set {self.name}", *self.report.lines(), classes, masks[self.mask_source]]

    def unfiltered(self) -> Dataset:
        """The same data with everything in it that a layout can hold."""
        return Dataset(self.root, self._index, NO_FILTER)

    def _sample(self, number: int) -> Sample:
        picture = self._index.picture(number)
        kept = self.layout_filter.select(self._index.entries(number)).kept
        layout = layout_of(picture, kept)
        masks = LazyMasks(layout, self._index.segmentations(kept), picture.frame.orientation)
        return Sample(picture.image_id, self.root / picture.path, layout, masks)


def find_source(folder: Path, split: str | None = None) -> Source | None:
    """The data set in a folder, found but not read; None where the folder has no known form.

    Raises:
        DataError: it has no such split, or the annotations do not name their classes.
    """
    return next((found for find in _FINDERS if (found := find(folder, split)) is not None), None)


def annotation_file(folder: Path, split: str | None = None) -> Path | None:
    """The COCO file of a data set's things, which gives its category ids their names; None for other forms."""
    source = find_source(folder, split)
    return source.files[0] if source is not None and source.form.startswith("COCO") else None


def open_dataset(
    folder: Path, *, filter: LayoutFilter = NO_FILTER, split: str | None = None, index: Path | None = None
) -> Dataset:
    """The data set in a folder, of whatever form it is.

    The annotations are read once into an on-disk index, in `index` or the user's cache folder, and again when they
    change. Many processes that open one data set for the first time each read it: let one go first.

    Args:
        filter: what is left of every picture; pictures that it drops are not in the data set.
        split: such as "train" (also finds "train2017"); None is the only one, or the one for training.

    Raises:
        DataError: no known form, no such split, unreadable annotations, or nothing is left; the text says what to do.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    source = find_source(folder, split)
    if source is None:
        raise DataError(
            f"{folder}: no data set in a known form; looked for COCO (annotations/instances*.json), "
            "YOLO (data.yaml, or images/ and labels/) and Pascal VOC (Annotations/ and JPEGImages/)"
        )
    dataset = Dataset(folder, open_index(index or _cached_index(source, split), source), filter)
    if not dataset.report.pictures:
        raise DataError(f"{folder}: no picture is left; {'; '.join(line.strip() for line in dataset.report.lines())}")
    return dataset


def fitted(
    image: Image.Image, layout: Layout, masks: Iterable[Mask], size: tuple[int, int], *, flip: bool
) -> tuple[Image.Image, Layout, Mask]:
    """Picture, layout and masks stretched to (height, width) `size`, mirrored if asked for, all in step. The aspect
    ratio is not kept (as in GeoDiffusion). `masks`, one an object: [N, H, W], or the `LazyMasks` of a sample, which are
    then decoded one at a time. Returns masks [N, height, width].
    """
    height, width = size
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    laid = replace(layout, width=width, height=height)
    shapes = np.stack([_stretched(mask, width, height) for mask in masks])
    if not flip:
        return image, laid, shapes
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), laid.mirrored(), np.ascontiguousarray(shapes[:, :, ::-1])


def _selected(index: Index, layout_filter: LayoutFilter) -> tuple[array[int], DataReport]:
    """Numbers of the pictures that stay: 8 bytes a picture are all that is held of a data set."""
    tally, numbers, objects = index.tally.copy(), array("q"), 0
    for number, kept in selections(index, layout_filter, tally):
        numbers.append(number)
        objects += len(kept)
    return numbers, tally.report(len(numbers), objects)


def _box_mask(box: Box, layout: Layout) -> Mask:
    """Pixels whose centre is in the box, at least one."""
    mask = np.zeros((layout.height, layout.width), np.bool_)
    x1, y1, x2, y2 = box.xyxy
    left, top = min(round(x1 * layout.width), layout.width - 1), min(round(y1 * layout.height), layout.height - 1)
    right, bottom = max(round(x2 * layout.width), left + 1), max(round(y2 * layout.height), top + 1)
    mask[top:bottom, left:right] = True
    return mask


def _stretched(mask: Mask, width: int, height: int) -> Mask:
    """Pixels that are covered by half or more; where none is (an object thinner than a pixel) the most covered ones."""
    levels = Image.fromarray(mask.astype(np.uint8) * 255)
    cover = np.asarray(levels.resize((width, height), Image.Resampling.BOX))  # 255: all of the pixel
    return np.asarray(cover >= max(1, min(128, int(cover.max()))))


def _cached_index(source: Source, split: str | None) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = source.root.resolve()
    key = text_hash(f"{folder}\n{split or ''}")[:16]
    return base / "detdiffusion" / "indexes" / f"{folder.name}-{key}.sqlite"
