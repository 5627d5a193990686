"""Pascal VOC's XML -> the index: one file a picture, boxes in pixels.

Our choice: corners count from 1, as VOC's own do, so that 1, 1, W, H is all of a picture; tools that count from 0 write
the left and upper edge a pixel off."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from detdiffusion.core.files import one_line
from training.data.checks import Drop, Dropped, Reason, Tally, finite_numbers, placed
from training.data.forms.common import pictures_below, with_capitals
from training.data.images import SUFFIXES, Frame, ImageError, ImageFault, locate
from training.data.index import Entry, ImageEntry, IndexWriter

_ENCODING = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([\w.\-]+)["']""")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_BARE = re.compile(r"&(?!#\d+;|#x[0-9a-fA-F]+;|(?:amp|lt|gt|quot|apos);)")  # an ampersand that begins nothing of XML


@dataclass(frozen=True, slots=True)
class VocSplit:
    """One split: the stems of the annotation files within their folder, and the folder of the pictures.

    all_pictures: whether pictures without an annotation file belong to it, and are missed.
    """

    root: Path
    annotations: Path
    pictures: Path
    stems: tuple[str, ...]
    about: str = ""
    all_pictures: bool = False

    def annotation(self, stem: str) -> Path:
        """The file of a stem."""
        return with_capitals(self.annotations / f"{stem}.xml")

    def annotation_files(self) -> list[Path]:
        """Those that are there."""
        return [path for stem in self.stems if is_plain(stem) and (path := self.annotation(stem)).is_file()]

    def fill(self, writer: IndexWriter) -> None:
        """Reads everything into the index."""
        names: set[str] = set()
        used: set[str] = set()
        for stem in self.stems:
            if not is_plain(stem):
                writer.tally.drop_picture(Drop.of(self.about, stem, ImageFault.OUTSIDE))
            elif not self.annotation(stem).is_file():
                writer.tally.drop_picture(Drop.of(stem, "", Reason.NO_ANNOTATIONS))
            else:
                self._add(stem, writer, names, used)
        if self.all_pictures:
            for name in pictures_below(self.pictures):
                path = (self.pictures / name).relative_to(self.root).as_posix()
                if path not in used:
                    writer.tally.drop_picture(Drop.of(path, "", Reason.NO_ANNOTATIONS))
        writer.set_classes(sorted(names))

    def _add(self, stem: str, writer: IndexWriter, names: set[str], used: set[str]) -> None:
        file = self.annotation(stem).relative_to(self.root).as_posix()
        own = _image(self.pictures, stem, "")
        used.add((self.pictures / own).relative_to(self.root).as_posix())
        try:
            tree = parse(self.annotation(stem))
        except (ElementTree.ParseError, ValueError, LookupError, OSError) as error:
            reason = Reason.ENTITIES if isinstance(error, EntityError) else Reason.BAD_FILE
            writer.tally.drop_picture(Drop.of(file, "", reason, one_line(error)))
            return
        found = tree.findall("object")
        name = _image(self.pictures, stem, (tree.findtext("filename") or "").strip())
        try:
            path, frame = locate(self.root, self.pictures, name, _size(tree))
        except ImageError as error:
            writer.drop_image(name, error, len(found))
            return
        used.add(path)
        objects = []
        for number, item in enumerate(found, start=1):
            try:
                objects.append((_object(item, frame, writer.tally), None))
            except Dropped as drop:
                shown = _shown(item)
                writer.tally.drop_object(Drop.of(file, f"object {number}", drop.reason, shown))
        writer.add(ImageEntry(stem, path, frame), objects, len(found) - len(objects))
        names.update(entry.label for entry, _ in objects)


class EntityError(ValueError):
    """A file that defines entities."""


def parse(path: Path) -> ElementTree.Element:
    """An annotation file's tree, without namespaces. A DOCTYPE that defines nothing is passed over.

    Raises:
        EntityError: it defines entities, which can grow without bounds.
        ElementTree.ParseError, ValueError, LookupError: it is no XML, or in an unknown encoding.
    """
    content = path.read_bytes()
    text = _DECLARATION.sub("", content.decode(_encoding(content)))
    if "<!ENTITY" in text:
        raise EntityError("<!ENTITY")
    tree = ElementTree.fromstring(_BARE.sub("&amp;", text))
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2]
    return tree


def is_plain(stem: str) -> bool:
    """Whether it names something in a folder, not elsewhere."""
    path = PurePosixPath(stem)
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts and "\0" not in stem


def _encoding(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if content.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    said = _ENCODING.match(content.lstrip()[:200])
    return said[1].decode("ascii") if said else "utf-8"


def _object(item: ElementTree.Element, frame: Frame, tally: Tally) -> Entry:
    label = (item.findtext("name") or "").strip()
    if not label:
        raise Dropped(Reason.NAMELESS_CATEGORY)
    x1, y1, x2, y2 = _numbers([item.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")])
    if not (x1 < x2 and y1 < y2):
        raise Dropped(Reason.EMPTY_BOX)
    corners = (_from_zero(x1), _from_zero(y1), x2, y2)
    return Entry(label, placed(corners, frame.drawn_size, frame, tally.notes))


def _from_zero(value: float) -> float:
    """The first pixel is 1; a tool that writes 0 for it means the same edge."""
    return max(value - 1, 0.0) if value >= 0 else value


def _numbers(words: Sequence[str | None]) -> tuple[float, ...]:
    try:
        values = [float(word or "") for word in words]
    except ValueError:
        raise Dropped(Reason.BAD_OBJECT) from None
    return finite_numbers(values, len(values))


def _shown(item: ElementTree.Element) -> str:
    box = item.find("bndbox")
    corners = [] if box is None else [f"{side.tag} {(side.text or '').strip()}" for side in box]
    return " ".join([(item.findtext("name") or "").strip(), *corners])


def _image(place: Path, stem: str, said: str) -> str:
    """The picture is named as its annotation file is, with the suffix that the file says or another; some tools say
    another name inside."""
    folder = PurePosixPath(stem).parent
    if said and Path(said).stem == PurePosixPath(stem).name and (place / folder / Path(said).name).is_file():
        return (folder / Path(said).name).as_posix()
    named = (f"{stem}{suffix}" for small in SUFFIXES for suffix in (small, small.upper(), small.capitalize()))
    own = next((name for name in named if (place / name).is_file()), None)
    return own or said or f"{stem}{SUFFIXES[0]}"


def _size(tree: ElementTree.Element) -> tuple[int, int] | None:
    """(width, height) that the annotations state; some tools write none, or zeros."""
    try:
        width, height = (float(tree.findtext(f"size/{side}") or "") for side in ("width", "height"))
    except ValueError:
        return None
    whole = width.is_integer() and height.is_integer()
    return (int(width), int(height)) if whole and width > 0 and height > 0 else None
