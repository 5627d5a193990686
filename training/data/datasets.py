"""Data sets of pictures and layouts: COCO, COCO-Thing-Stuff, Papercut, YOLO and Pascal VOC folders -> samples."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image

from detdiffusion.core.files import cache_folder, json_hash, text_hash
from detdiffusion.errors import DataError
from detdiffusion.layout import Box, Layout
from training.data.checks import DataReport, Drop, NothingLeft, Tally
from training.data.drop_list import write_list
from training.data.filters import EVERYTHING, NO_FILTER, LayoutFilter, layout_of, selections
from training.data.forms.coco import read_coco
from training.data.forms.coco_masks import unpack
from training.data.forms.common import Way
from training.data.forms.images import images_source
from training.data.forms.recognise import find_source, recognise, source_of, unknown_form
from training.data.images import TURNS, ImageError, ImageFault, Mask, read_image_file
from training.data.index import Index, Source, open_index
from training.data.request import AS_IT_IS, PARTS, Reading, SplitBy
from training.data.splitting import numbers_of


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
        return np.stack(list(self)) if self.packed else np.zeros((0, self.layout.height, self.layout.width), np.bool_)


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture, its objects (without attributes) and their masks; the picture is read when it is asked for.

    crowds: regions of many objects (`iscrowd`), where the filter leaves them out of the layout.
    """

    image_id: str  # unique in its data set, the same in every run
    path: Path
    layout: Layout  # of the upright picture
    masks: LazyMasks
    crowds: tuple[Box, ...] = ()

    def load_image(self) -> Image.Image:
        """The picture, upright, in RGB.

        Raises:
            ImageError: it is missing, cut short, over 25 megapixels, or not the one that was indexed.
        """
        image = read_image_file(self.path)
        if image.size != (self.layout.width, self.layout.height):
            raise ImageError(ImageFault.OTHER_SIZE, self.path, "it was replaced since the data set was opened")
        return image


@dataclass(frozen=True, slots=True)
class Part:
    """One of the two parts that --split-by makes."""

    name: str
    split: SplitBy


class Dataset(Sequence[Sample]):
    """The pictures that a filter keeps, read from an index when they are asked for. `open_dataset` makes it; it may be
    sent to other processes.

    things, stuff: class names, those that the filter ignores left out. fingerprint: SHA-256 over the annotation files'
    contents and the filter, the key of everything that is derived from the data set. report: what was kept, left out
    and put right. words: the arguments that ask for it.
    """

    def __init__(
        self,
        root: Path,
        index: Index,
        layout_filter: LayoutFilter,
        part: Part | None = None,
        words: Sequence[str] | None = None,
    ) -> None:
        self.root, self.layout_filter, self.part = root, layout_filter, part
        self.words = ("--data", str(root)) if words is None else tuple(words)
        self.name = root.resolve().name
        self.things = tuple(name for name in index.things if name not in layout_filter.ignored)
        self.stuff = tuple(name for name in index.stuff if name not in layout_filter.ignored)
        self.mask_source = MaskSource.INSTANCES if index.has_masks else MaskSource.BOXES
        self._index = index
        self._numbers, self.report, self.dropped_list = _selected(index, layout_filter, part)
        self.fingerprint = json_hash(self._contents())

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
        part = "" if self.part is None else f", part {self.part.name} of --split-by {self.part.split}"
        head = f"data set {self.name}: {self._index.about or 'an index'}{part}"
        listed = [] if self.dropped_list is None else [f"all that was dropped: {self.dropped_list}"]
        what = [classes, masks[self.mask_source]] if self.things or self.stuff else []
        return [head, *self.report.lines(), *listed, *what]

    def layouts(self) -> Iterator[tuple[int | str, Layout]]:
        """Of every image: its id as the data give it, and its layout."""
        for number in self._numbers:
            picture = self._index.picture(number)
            kept = self.layout_filter.select(self._index.entries(number)).kept
            yield int(picture.image_id) if picture.numeric else picture.image_id, layout_of(picture, kept)

    def unfiltered(self) -> Dataset:
        """The same data with everything in it that a layout can hold."""
        return Dataset(self.root, self._index, NO_FILTER, self.part, self.words)

    def signatures(self) -> Iterator[tuple[str, bytes]]:
        """Every picture's path within the root and the signature by which near-duplicates are found, in order."""
        kept = frozenset(self._numbers)
        return ((path, signature) for number, path, signature in self._index.signatures() if number in kept)

    def _contents(self) -> dict[str, object]:
        """What the data set is made of. Pictures of nothing count only where there are some."""
        bounds = asdict(self.layout_filter)
        if bounds["min_objects"] == 0 and all(self._index.entries(number) for number in self._numbers):
            bounds["min_objects"] = 1
        part = {} if self.part is None else {"part": [str(self.part.split), self.part.name]}
        return {"contents": self._index.contents, "filter": bounds, **part}

    def _sample(self, number: int) -> Sample:
        picture = self._index.picture(number)
        entries, bounds = self._index.entries(number), self.layout_filter
        kept = bounds.select(entries).kept
        layout = layout_of(picture, kept)
        masks = LazyMasks(layout, self._index.segmentations(kept), picture.frame.orientation)
        crowds = () if bounds.crowds else [one for one in entries if one.crowd and one.label not in bounds.ignored]
        boxes = tuple(Box(one.label, one.xyxy) for one in crowds)
        return Sample(picture.image_id, self.root / picture.path, layout, masks, boxes)


def annotation_file(folder: Path, split: str | None = None, reading: Reading = AS_IT_IS) -> Path | None:
    """The COCO file of a data set's things, which gives its category ids their names; None for other forms."""
    source = check_dataset(folder, split, reading)
    return source.files[0] if source.form.startswith("COCO") else None


def check_dataset(folder: Path, split: str | None = None, reading: Reading = AS_IT_IS) -> Source:
    """The data set, found but not read.

    Raises:
        ConfigError, DataError: what can be said of it so far, as `open_dataset`.
    """
    source = find_source(folder, None if reading.split_by else split, reading.images)
    if source is None:
        raise unknown_form(folder)
    return source


def open_dataset(
    folder: Path,
    *,
    filter: LayoutFilter = NO_FILTER,
    split: str | None = None,
    index: Path | None = None,
    reading: Reading = AS_IT_IS,
) -> Dataset:
    """The data set in a folder, of whatever form it is, or the one that a COCO file, a YAML of ultralytics, a list of
    classes or an XML of VOC belongs to.

    The annotations are read once into an on-disk index, in `index` or the user's cache folder, and again when they
    change. Many processes that open one data set for the first time each read it: let one go first.

    Args:
        filter: what is left of every picture; pictures that it drops are not in the data set.
        split: such as "train" (also finds "train2017"); None is the only one, or the one for training.

    Raises:
        ConfigError: `reading.images` belongs to nothing.
        DataError: no known form or several, no such split, unreadable annotations, nothing is left, or with
            `reading.strict` something was dropped while the data were read; the text says what to do.
    """
    way = recognise(folder, reading.images)
    if way is None:
        raise unknown_form(folder)
    part = _part_of(way, split, reading.split_by)
    source = source_of(way, split if part is None else None)
    found = open_index(index or _cached_index(source, way.by, split if part is None else None), source)
    dataset = Dataset(way.root, found, filter, part, data_words(folder, split, reading))
    return _checked(dataset, found, folder, strict=reading.strict)


def open_annotations(
    instances: Path, stuff: Path | None = None, filter: LayoutFilter = NO_FILTER, *, strict: bool = False
) -> Dataset:
    """What COCO files say of images that need not be there: their sizes are those that the files state.

    Raises:
        DataError: a file cannot be read, nothing is left, or with `strict` something was dropped.
    """
    files = (instances,) if stuff is None else (instances, stuff)
    fill = partial(read_coco, instances=instances, stuff=stuff, masks=False)
    about = f"COCO by {' and '.join(path.name for path in files)}, without the images"
    source = Source("COCO without images", instances.parent, files, (), fill, about, has_images=False)
    found = open_index(_cached_index(source, instances, None if stuff is None else str(stuff.absolute())), source)
    return _checked(Dataset(source.root, found, filter), found, instances, strict=strict)


def open_images(folder: Path, *, strict: bool = False) -> Dataset:
    """Every image below a folder of no known form: a data set without classes.

    Raises:
        DataError: there is none, none can be read, or with `strict` something was dropped.
    """
    source = images_source(folder)
    found = open_index(_cached_index(source, folder, None), source)
    return _checked(Dataset(folder, found, EVERYTHING), found, folder, strict=strict)


def _checked(dataset: Dataset, index: Index, asked: Path, *, strict: bool) -> Dataset:
    """DataError where nothing is left, or where something was dropped that was to stay."""
    if strict and (index.tally.pictures or index.tally.objects):
        lines = index.tally.report(*_sizes(index)).lines()
        raise DataError(f"{asked}: not everything can be read, and --strict was given; {_on_one_line(lines)}")
    if not dataset.report.pictures:
        raise NothingLeft(f"{asked}: no image is left; {_on_one_line(dataset.report.lines())}", dataset.report)
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


def data_words(folder: Path, split: str | None, reading: Reading) -> list[str]:
    """The arguments of a command that ask for these data."""
    given = {"--split": split, "--images": reading.images, "--split-by": reading.split_by}
    more = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    return ["--data", str(folder), *more]


def _part_of(way: Way, split: str | None, by: SplitBy | None) -> Part | None:
    if by is None:
        return None
    if not way.whole:
        raise DataError(f"{way.root} has splits already: {', '.join(way.splits)}; leave --split-by out")
    return Part(split or PARTS[0], by)


def _selected(
    index: Index, layout_filter: LayoutFilter, part: Part | None
) -> tuple[array[int], DataReport, Path | None]:
    """Numbers of the pictures that stay: 8 bytes a picture are all that is held of a data set. And where the list of
    what was dropped is."""
    within = None if part is None else numbers_of(index, part.split, part.name)
    tally, numbers, objects = index.tally.copy(), array("q"), 0
    for number, kept in selections(index, layout_filter, tally, within):
        numbers.append(number)
        objects += len(kept)
    report = tally.report(len(numbers), objects)
    if not report.dropped:
        return numbers, report, None
    key = text_hash(repr((layout_filter, part)))[:8]
    return numbers, report, write_list(index, key, _drops(index, layout_filter, within))


def _drops(index: Index, layout_filter: LayoutFilter, within: Collection[int] | None) -> Iterator[Drop]:
    """All that was dropped, when the data were read and by the filter."""
    yield from index.dropped()
    waiting: list[Drop] = []
    for _ in selections(index, layout_filter, Tally(listed=waiting.append), within):
        yield from waiting
        waiting.clear()
    yield from waiting


def _sizes(index: Index) -> tuple[int, int]:
    found = [len(entries) for _, entries in index.walk()]
    return len(found), sum(found)


def _on_one_line(lines: Iterable[str]) -> str:
    return "; ".join(line.strip() for line in lines)


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


def _cached_index(source: Source, by: Path, more: str | None) -> Path:
    """In the user's cache folder: that of the data may be read-only. Other files, other pictures, another index."""
    folder = source.root.resolve()
    key = text_hash("\n".join(map(str, (folder, more or "", source.form, by.absolute()))))[:16]
    return cache_folder() / "indexes" / f"{folder.name}-{key}.sqlite"
