"""Example layouts that a model folder brings: `layouts/*.json`, each a layout in its public JSON form.

They stand in the order of their file names, and the first one opens the studio. "2-crowded-smear.json" is called
"Crowded smear": a number in front gives the place alone. The manifest leaves them out, so they may be changed at will.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from detdiffusion.bounds import EXAMPLES, LAYOUT_BYTES, LAYOUT_NAME
from detdiffusion.core.files import read_json, write_json
from detdiffusion.diffusion.manifest import LAYOUTS
from detdiffusion.errors import DataError, LayoutError
from detdiffusion.layout import Layout
from detdiffusion.text.vocabulary import Vocabulary

_PLACE = re.compile(r"([0-9]{1,6})-")
_LAST = 1_000_000  # place of files without a number


@dataclass(frozen=True, slots=True)
class Examples:
    """Layouts by name, and what is wrong with files that are none, a sentence each."""

    layouts: Mapping[str, Layout] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    @property
    def first(self) -> Layout | None:
        """The one that a page opens with."""
        return next(iter(self.layouts.values()), None)


def read_examples(folder: Path, vocabulary: Vocabulary) -> Examples:
    """Those of a model folder; a file that this vocabulary cannot draw, or that is no layout, is among the faults."""
    layouts: dict[str, Layout] = {}
    faults = []
    files = sorted((folder / LAYOUTS).glob("*.json"), key=_order)
    for file in files[:EXAMPLES]:
        try:
            name, layout = _name(file, layouts), _read(file, vocabulary)
        except LayoutError as error:
            faults.append(f"{file.name}: {error}")
        else:
            layouts[name] = layout
    if len(files) > EXAMPLES:
        faults.append(f"{len(files) - EXAMPLES} more files: at most {EXAMPLES} layouts are read")
    return Examples(layouts, tuple(faults))


def given_examples(paths: Iterable[Path], vocabulary: Vocabulary) -> Examples:
    """Of layout files, and of folders of such, in the order in which they are given.

    Raises:
        LayoutError: a file is no layout or is not there, or the model will not know a class of it.
    """
    layouts: dict[str, Layout] = {}
    for path in paths:
        for file in sorted(path.glob("*.json"), key=_order) if path.is_dir() else (path,):
            try:
                layouts[_name(file, layouts)] = _read(file, vocabulary)
            except LayoutError as error:
                raise LayoutError(f"{file}: {error}") from error
    if len(layouts) > EXAMPLES:
        raise LayoutError(f"{len(layouts)} layouts; a model folder may bring {EXAMPLES}")
    return Examples(layouts)


def write_examples(examples: Examples, folder: Path) -> None:
    """Makes them the ones that a model folder brings, in their order."""
    shutil.rmtree(folder / LAYOUTS, ignore_errors=True)
    for number, (name, layout) in enumerate(examples.layouts.items(), start=1):
        write_json(folder / LAYOUTS / f"{number:02}-{name.replace(' ', '-')}.json", layout.to_json())


def bring_examples(given: Examples, source: Path, folder: Path, vocabulary: Vocabulary) -> None:
    """Writes what is given. Where nothing is, a model folder without examples gets those of the model that it learned
    from, as far as it knows their classes."""
    found = given if given.layouts or (folder / LAYOUTS).exists() else read_examples(source, vocabulary)
    if found.layouts:
        write_examples(found, folder)


def _read(file: Path, vocabulary: Vocabulary) -> Layout:
    """LayoutError without the file's name."""
    if not file.is_file():
        raise LayoutError("there is no such file")
    if file.stat().st_size > LAYOUT_BYTES:
        raise LayoutError(f"more than {LAYOUT_BYTES:,} bytes, which no layout has")
    try:
        layout = read_json(file, Layout.from_json, DataError)
    except DataError as error:
        raise LayoutError(str(error).removeprefix(f"{file} ")) from error
    return vocabulary.resolve(layout)


def _order(file: Path) -> tuple[int, str]:
    place = _PLACE.match(file.stem)
    return int(place[1]) if place else _LAST, file.stem.casefold()


def _name(file: Path, taken: Collection[str]) -> str:
    """LayoutError: no file of a layout may be called so."""
    name = " ".join(_PLACE.sub("", file.stem).replace("-", " ").split())
    name = name[:1].upper() + name[1:]
    if not 0 < len(name) <= LAYOUT_NAME:
        raise LayoutError(f"the name needs 1 to {LAYOUT_NAME} characters")
    if name in taken:
        raise LayoutError(f"another one is called {name}, too")
    return name
