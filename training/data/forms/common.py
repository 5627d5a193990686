"""What all forms share: a way to read a folder, what lies in a folder, and text files as people have them."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.errors import DataError
from training.data.images import SUFFIXES
from training.data.index import Source

_VALIDATION = ("val", "valid", "validation", "dev")  # names of one thing

SPLIT = re.compile(r"(train|val|valid|validation|test|dev|trainval|train_?val|eval)[-_]?\d*", re.IGNORECASE)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Way:
    """One way in which a folder can be read.

    by: the file that shows it, which --data also takes: where a folder can be read in several ways, it chooses one.
    splits: none where the data come in one piece. read: one of the splits, or None for that piece. lacking: what has to
    be added before it can be read; empty where nothing is. same: all splits are the same pictures.
    """

    form: str
    root: Path
    by: Path
    splits: Sequence[str]
    read: Callable[[str | None], Source]
    lacking: str = ""
    same: bool = False

    @property
    def whole(self) -> bool:
        """Whether the data come in one piece, which may be split."""
        return self.same or len(self.splits) <= 1

    def source(self, wanted: str | None) -> Source:
        """One split, as `choose_split` chooses it.

        Raises:
            DataError: something is lacking, or there is no such split.
        """
        if self.lacking:
            raise DataError(self.lacking)
        return self.read(self.chosen(wanted))

    def chosen(self, wanted: str | None) -> str | None:
        """The split that is meant; None for data in one piece."""
        if wanted is None and not self.splits:
            return None
        return choose_split(self.splits, wanted, self.root)

    def about(self, chosen: str | None) -> str:
        """What was recognised, on one line."""
        where = self.by.relative_to(self.root).as_posix() if self.by.is_relative_to(self.root) else str(self.by)
        splits = f", split {chosen} (there are: {', '.join(self.splits)})" if chosen and len(self.splits) > 1 else ""
        return f"{self.form} by {where}{splits}"


@dataclass(frozen=True, slots=True)
class Listing:
    """The names in a folder, sorted: its pictures, its other files, its folders. Hidden ones are left out."""

    pictures: tuple[str, ...]
    files: tuple[str, ...]
    folders: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> Listing:
        """Nothing where there is no such folder."""
        pictures, files, folders = list[str](), list[str](), list[str]()
        if folder.is_dir():
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    kind = folders if entry.is_dir() else pictures if is_picture(entry.name) else files
                    kind.append(entry.name)
        return cls(tuple(sorted(pictures)), tuple(sorted(files)), tuple(sorted(folders)))

    def with_suffix(self, *suffixes: str) -> tuple[str, ...]:
        """The files of these kinds."""
        return tuple(name for name in self.files if Path(name).suffix.lower() in suffixes)

    def folder(self, *names: str) -> str | None:
        """The folder of one of these names, in whatever case; the first name counts most."""
        return next((own for name in names for own in self.folders if own.lower() == name), None)


def below(folder: Path, *names: str) -> Path:
    """The folder below by these names: in another case where none has the stated one."""
    for name in names:
        stated = folder / name
        folder = stated if stated.is_dir() else folder / (Listing.of(folder).folder(name.lower()) or name)
    return folder


def with_capitals(path: Path) -> Path:
    """The file of this name; where there is none, the one whose suffix is in capitals, if that is there."""
    capitals = path.with_name(f"{path.name.removesuffix(path.suffix)}{path.suffix.upper()}")
    return capitals if not path.is_file() and capitals.is_file() else path


def is_picture(name: str) -> bool:
    """By its suffix."""
    return Path(name).suffix.lower() in SUFFIXES


def pictures_below(folder: Path) -> list[str]:
    """Their names within the folder, with forward slashes, sorted."""
    found = (path for path in folder.rglob("*") if is_picture(path.name) and not path.name.startswith("."))
    return sorted(path.relative_to(folder).as_posix() for path in found)


def parents_of(root: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """The folders that hold these files of a folder, without the folder itself where it holds none."""
    return tuple(root / parent for parent in sorted({os.path.dirname(name) for name in names}))  # noqa: PTH120 - fast


def read_lines(path: Path) -> list[str]:
    """Of a text file in UTF-8 or UTF-16, with a byte order mark or without one. Bytes that are neither become "�".

    Raises:
        DataError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    encoding = "utf-16" if content.startswith(_UTF16) else "utf-8-sig"
    return content.decode(encoding, errors="replace").splitlines()


def choose_split(found: Sequence[str], wanted: str | None, folder: Path) -> str:
    """One split: the wanted one ("train" also finds "train2017", "valid" finds "val"), else the only one or train.

    Raises:
        DataError: there is no such split, or which one is meant is not clear.
    """
    name = "train" if wanted is None else wanted
    if wanted is None and len(found) == 1:
        return found[0]
    if name in found:
        return name
    similar = [split for split in found if name and split.startswith(_VALIDATION if name in _VALIDATION else name)]
    if len(similar) == 1:
        return similar[0]
    known = ", ".join(split or "(without a name)" for split in found) or "none"
    raise DataError(f"{folder}: no split {name!r} here; there are: {known}")
