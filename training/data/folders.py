"""YOLO and Pascal VOC folders -> the index. They give boxes only, or polygons (YOLO's segmentation rows)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import yaml  # type: ignore[import-untyped]

from detdiffusion.errors import DataError
from training.data.checks import Dropped, Reason, Tally, finite_numbers, placed
from training.data.coco import pack
from training.data.images import SUFFIXES, Frame, ImageError, ImageFault, locate
from training.data.index import Entry, ImageEntry, IndexWriter, Source, choose_split

_CONFIGS = ("data.yaml", "data.yml")
_SPLITS = ("train", "val", "test")  # keys of a config
_CLASSES = "classes.txt"

# --- YOLO -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Yolo:
    """One split of a YOLO folder."""

    root: Path
    about: tuple[Path, ...]  # the file that names the classes, and lists of pictures
    names: Mapping[int, str]
    pictures: tuple[tuple[Path, str], ...]  # (folder within the root, name within that folder)

    def label_file(self, place: Path, name: str) -> Path:
        """images/train/a.jpg -> labels/train/a.txt; without a folder of that name, beside the picture."""
        path = (place.relative_to(self.root) / name).with_suffix(".txt")
        parts = [part for part in path.parts if part not in ("/", "..")]  # never outside the root
        if "images" in parts[:-1]:
            parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
        return self.root.joinpath(*parts)

    def fill(self, writer: IndexWriter) -> None:
        writer.set_classes(name.strip() for _, name in sorted(self.names.items()) if name.strip())
        for place, name in self.pictures:
            rows = _rows(self.label_file(place, name))
            try:
                path, frame = locate(self.root, place, name, None)
            except ImageError as error:
                writer.drop_image(error.fault, len(rows))
                continue
            image_id = PurePosixPath(path).with_suffix("").as_posix()
            writer.add(ImageEntry(image_id, path, frame), list(self._objects(rows, frame, writer.tally)))
        for label in self._orphans():
            writer.drop_image(ImageFault.MISSING, len(_rows(label)))

    def _objects(self, rows: Sequence[str], frame: Frame, tally: Tally) -> Iterator[tuple[Entry, bytes | None]]:
        for row in rows:
            try:
                yield self._object(row, frame, tally)
            except Dropped as drop:
                tally.objects[drop.reason] += 1

    def _object(self, row: str, frame: Frame, tally: Tally) -> tuple[Entry, bytes | None]:
        """ "class cx cy w h" or "class x1 y1 x2 y2 x3 y3 ...", in fractions of the upright picture."""
        number, *shape = _numbers(row.split())
        label = self.names.get(int(number)) if number.is_integer() else None
        if label is None:
            raise Dropped(Reason.UNKNOWN_CATEGORY)
        if not label.strip():
            raise Dropped(Reason.NAMELESS_CATEGORY)
        size = (frame.width, frame.height)
        if len(shape) == 4:
            (x, y), (w, h) = _scaled(shape[:2], size), _scaled(shape[2:], size)
            corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            return Entry(label.strip(), placed(corners, size, frame, tally.notes)), None
        if len(shape) < 6 or len(shape) % 2:
            raise Dropped(Reason.BAD_OBJECT)
        polygon = _scaled(shape, size)
        corners = (min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2]))
        return Entry(label.strip(), placed(corners, size, frame, tally.notes)), pack([polygon])[2]

    def _orphans(self) -> Iterator[Path]:
        """Label files whose picture is not there."""
        known = {self.label_file(place, name) for place, name in self.pictures}
        for folder in sorted({file.parent for file in known if "labels" in file.relative_to(self.root).parts}):
            files = folder.glob("*.txt")
            yield from sorted(file for file in files if file not in known and file.name != _CLASSES)


def find_yolo(folder: Path, split: str | None) -> Source | None:
    """Folders with data.yaml (`names`, and `train`, `val` or `test`: folders of pictures or lists of them), or with
    images/ and labels/ and the class names in classes.txt. Its `download:` is never looked at.

    Raises:
        DataError: the classes have no names, or there is no such split.
    """
    config = next((folder / name for name in _CONFIGS if (folder / name).is_file()), None)
    if config is not None:
        data = _from_config(folder, config, split)
    elif (folder / "images").is_dir() and (folder / "labels").is_dir():
        data = _from_folders(folder, split)
    else:
        return None
    labels = (data.label_file(place, name) for place, name in data.pictures)
    return Source(
        form="YOLO",
        root=folder,
        files=(*data.about, *(path for path in labels if path.is_file())),
        folders=tuple(dict.fromkeys(place for place, _ in data.pictures if place != folder)),
        fill=data.fill,
    )


def _from_config(folder: Path, config: Path, split: str | None) -> _Yolo:
    try:
        values = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{config}: not a YAML file: {error}") from error
    names = values.get("names") if isinstance(values, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(type(number) is int for number in names):
        raise DataError(f"{config}: it needs `names`, the list of the classes")
    chosen = choose_split([key for key in _SPLITS if values.get(key)], split, folder)
    entries = values[chosen] if isinstance(values[chosen], list) else [values[chosen]]
    places = [_yolo_place(folder, config, str(values.get("path") or ""), str(entry)) for entry in entries]
    return _Yolo(
        root=folder,
        about=(config, *(place for place in places if place.is_file())),
        names={number: str(name or "") for number, name in names.items()},
        pictures=tuple(picture for place in places for picture in _listed(place)),
    )


def _yolo_place(folder: Path, config: Path, base: str, entry: str) -> Path:
    """A folder or list that a config names. Configs carry the paths of the machine that wrote them, or "../" from a
    folder that is gone: what counts is what is found inside this folder."""
    kept = [part for part in PurePosixPath(entry).parts if part != ".."]
    home = folder.resolve()
    for candidate in (folder / base / entry, folder / entry, folder.joinpath(*kept)):
        if not candidate.exists():
            continue
        if ".." not in candidate.parts and candidate.is_relative_to(folder):
            return candidate
        if candidate.resolve().is_relative_to(home):
            return folder / candidate.resolve().relative_to(home)
    raise DataError(f"{config}: {entry!r} is not found inside {folder}; set it to the place of the pictures")


def _from_folders(folder: Path, split: str | None) -> _Yolo:
    classes = next((path for path in (folder / _CLASSES, folder / "labels" / _CLASSES) if path.is_file()), None)
    if classes is None:
        raise DataError(
            f"{folder}: YOLO labels number their classes; name them in data.yaml (names: [...]) or in {_CLASSES}, "
            "one a line"
        )
    names = dict(enumerate(_lines(classes)))
    splits = [path.name for path in sorted((folder / "images").iterdir()) if (folder / "labels" / path.name).is_dir()]
    place = folder / "images"
    if splits or split is not None:
        place /= choose_split(splits, split, folder)
    return _Yolo(folder, (classes,), names, tuple(_listed(place)))


def _listed(place: Path) -> list[tuple[Path, str]]:
    """Pictures below a folder, or those that a text file lists, one path a line relative to its own folder."""
    if place.is_dir():
        found = (path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES)
        return [(place, name) for name in sorted(path.relative_to(place).as_posix() for path in found)]
    return [(place.parent, line) for line in map(str.strip, _lines(place)) if PurePosixPath(line).name]


def _rows(path: Path) -> list[str]:
    """The rows of a label file; none where there is no such file: nothing is in the picture."""
    if not path.is_file():
        return []
    return [row for row in _lines(path) if row.strip()]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _numbers(words: Sequence[str | None]) -> tuple[float, ...]:
    try:
        values = [float(word or "") for word in words]
    except ValueError:
        raise Dropped(Reason.BAD_OBJECT) from None
    return finite_numbers(values, len(values))


def _scaled(points: Sequence[float], size: tuple[int, int]) -> list[float]:
    """x, y, x, y, ... in fractions -> in pixels."""
    return [value * size[place % 2] for place, value in enumerate(points)]


# --- Pascal VOC -----------------------------------------------------------------------------------


def find_voc(folder: Path, split: str | None) -> Source | None:
    """Folders with Annotations/ and JPEGImages/; splits are the lists in ImageSets/Main, if there are any.

    Our choice: corners stand for themselves, in pixels from 0; in VOC's own data they count from 1, which moves the
    left and upper edges by one pixel.

    Raises:
        DataError: there is no such split.
    """
    if not (folder / "Annotations").is_dir() or not (folder / "JPEGImages").is_dir():
        return None
    lists = {path.stem: path for path in sorted((folder / "ImageSets" / "Main").glob("*.txt"))}
    files: list[Path] = []
    if lists or split is not None:
        files.append(lists[choose_split(tuple(lists), split, folder)])
        words = map(str.split, _lines(files[0]))
        stems = tuple(line[0] for line in words if line)
    else:
        stems = tuple(sorted(path.stem for path in (folder / "Annotations").glob("*.xml")))
    annotations = (_voc_annotation(folder, stem) for stem in stems if _is_plain(stem))
    return Source(
        form="Pascal VOC",
        root=folder,
        files=(*files, *(path for path in annotations if path.is_file())),
        folders=(folder / "JPEGImages",),
        fill=partial(_fill_voc, folder, stems),
    )


def _fill_voc(root: Path, stems: Sequence[str], writer: IndexWriter) -> None:
    names: set[str] = set()
    for stem in stems:
        path = _voc_annotation(root, stem)
        if not _is_plain(stem):
            writer.drop_image(ImageFault.OUTSIDE)
        elif not path.is_file():
            writer.drop_image(Reason.NO_ANNOTATIONS)
        else:
            names |= _add_voc(root, stem, path, writer)
    writer.set_classes(sorted(names))


def _add_voc(root: Path, stem: str, annotation: Path, writer: IndexWriter) -> set[str]:
    """Adds a picture; returns the names of its classes."""
    try:
        tree = _parse(annotation)
    except (ElementTree.ParseError, ValueError):
        writer.drop_image(Reason.BAD_FILE)
        return set()
    found = tree.findall("object")
    place = root / "JPEGImages"
    try:
        path, frame = locate(root, place, _voc_image(place, stem, tree), _voc_size(tree))
    except ImageError as error:
        writer.drop_image(error.fault, len(found))
        return set()
    objects = []
    for item in found:
        try:
            objects.append((_voc_object(item, frame, writer.tally), None))
        except Dropped as drop:
            writer.tally.objects[drop.reason] += 1
    writer.add(ImageEntry(stem, path, frame), objects)
    return {entry.label for entry, _ in objects}


def _voc_object(item: ElementTree.Element, frame: Frame, tally: Tally) -> Entry:
    label = (item.findtext("name") or "").strip()
    if not label:
        raise Dropped(Reason.NAMELESS_CATEGORY)
    x1, y1, x2, y2 = _numbers([item.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")])
    return Entry(label, placed((x1, y1, x2, y2), frame.drawn_size, frame, tally.notes))


def _voc_image(place: Path, stem: str, tree: ElementTree.Element) -> str:
    """The picture is named as its annotation file is; some tools say another name inside."""
    named = (f"{stem}{suffix}" for small in SUFFIXES for suffix in (small, small.upper()))
    own = next((name for name in named if (place / name).is_file()), None)
    return own or (tree.findtext("filename") or "").strip() or f"{stem}{SUFFIXES[0]}"


def _voc_size(tree: ElementTree.Element) -> tuple[int, int] | None:
    """(width, height) that the annotations state; some tools write none, or zeros."""
    sides = [tree.findtext(f"size/{side}") or "" for side in ("width", "height")]
    if not all(side.strip().isdecimal() and int(side) > 0 for side in sides):
        return None
    return int(sides[0]), int(sides[1])


def _voc_annotation(root: Path, stem: str) -> Path:
    return root / "Annotations" / f"{stem}.xml"


def _is_plain(stem: str) -> bool:
    """Whether it names something in a folder, not elsewhere."""
    return PurePosixPath(stem).name == stem and "\0" not in stem


def _parse(path: Path) -> ElementTree.Element:
    content = path.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("annotations define no entities: a definition can grow without bounds")
    return ElementTree.fromstring(content)
