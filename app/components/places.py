"""The folders that the page may read and show, and what lies in them; what it makes lies in the workspace."""

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.core.files import typed_path
from detdiffusion.errors import ConfigError, why

MOST = 500  # entries of one kind that are listed
_PARTS = re.compile(r"[\s,=]+")  # between the paths of a word: FIELD=PATH, ARCHITECTURE=PATH, PATH,PATH
_PATH = re.compile(r"[/~\\]|\.\.?([/\\]|$)|[A-Za-z]:[/\\]|[^/]+/")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a folder, by name. folder: None where the roots themselves are listed, by their whole paths.

    above: the folder around it, or "" for the list of roots; None where there is nothing above. left_out: entries of
    a long folder that are not named.
    """

    folder: Path | None
    above: str | None
    folders: tuple[str, ...]
    files: tuple[str, ...] = ()
    left_out: int = 0


class Places:
    """Roots, and all that is below them: nothing else is listed, or read. Links are followed, and have to stay there.

    also: folders that are read, and not listed. workspace: where output may lie; None: below any root.
    """

    def __init__(self, roots: Sequence[Path], also: Sequence[Path] = (), workspace: Path | None = None) -> None:
        """ConfigError where a root is no folder. Roots that lie in another one are left out."""
        missing = [root for root in roots if not root.is_dir()]
        if missing:
            raise ConfigError(f"{missing[0]} is not a folder")
        whole = list(dict.fromkeys(root.resolve() for root in roots))
        self.roots = [root for root in whole if not any(other in root.parents for other in whole)]
        self._also = [folder.resolve() for folder in also]
        self._outputs = self.roots if workspace is None else [workspace.resolve()]

    def readable(self, typed: str) -> Path:
        """A path that a person typed, or a file names, with links followed. ConfigError for one that may not be read,
        whether there is something or not."""
        path = typed_path(typed, ConfigError)
        if not _below(path, (*self.roots, *self._also)):
            raise ConfigError(f"{path} lies outside of what the studio may read: start it with --allow-path FOLDER")
        return path

    def writable(self, typed: str) -> Path:
        """The same of what is to be written. ConfigError for a path outside of the workspace."""
        path = typed_path(typed, ConfigError)
        if not _below(path, self._outputs):
            raise ConfigError(f"{path} lies outside of the workspace: the studio writes into {self._outputs[0]} alone")
        return path

    def check_command(self, words: Sequence[str]) -> None:
        """ConfigError where a command names a path that may not be read, or an --out that may not be written."""
        apart = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
        for option, word in zip(("", *apart), apart, strict=False):
            if len(option) > 2 and "--out".startswith(option):  # argparse takes a beginning, too
                self.writable(word)
            elif not (_PATH.match(word) and typed_path(word, ConfigError).exists() and self.readable(word)):
                for part in filter(_PATH.match, _PARTS.split(word)):
                    if not _HUB_ID.fullmatch(part) or Path(part).exists():
                        self.readable(part)

    def start(self, typed: str, suffixes: Collection[str] = ()) -> Listing:
        """Where a dialog opens: the folder that was typed (or that of the file), or the roots."""
        if typed.strip():
            word = "/" not in typed and os.sep not in typed and not typed.startswith("~")  # and no path
            wish = typed_path(typed, ConfigError)
            for folder in [wish] if word else [wish, wish.parent]:
                if self._within(folder) and folder.is_dir():
                    return self.look(str(folder), suffixes)
        return self.look(str(self.roots[0]) if len(self.roots) == 1 else "", suffixes)

    def look(self, folder: str, suffixes: Collection[str] = ()) -> Listing:
        """What lies in a folder, without what begins with a dot. "": the roots.

        Args:
            suffixes: of the files that are named, in lower case (".yaml"); none: all of them.

        Raises:
            ConfigError: it is below no root, cannot be read, or is no folder.
        """
        if not folder:
            return Listing(None, None, tuple(map(str, self.roots)))
        path = typed_path(folder, ConfigError)
        if not self._within(path):
            raise ConfigError(f"{path} lies outside of what the studio shows: start it with --allow-path FOLDER")
        try:
            entries = [entry for entry in os.scandir(path) if not entry.name.startswith(".")]
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {why(error)}") from error
        folders = sorted((entry.name for entry in entries if entry.is_dir()), key=str.lower)
        files = sorted((entry.name for entry in entries if entry.is_file()), key=str.lower)
        files = [name for name in files if not suffixes or Path(name).suffix.lower() in suffixes]
        left_out = max(len(folders) - MOST, 0) + max(len(files) - MOST, 0)
        return Listing(path, self._above(path), tuple(folders[:MOST]), tuple(files[:MOST]), left_out)

    def _within(self, path: Path) -> bool:
        return _below(path.resolve(), self.roots)

    def _above(self, path: Path) -> str | None:
        if path not in self.roots:
            return str(path.parent)
        return "" if len(self.roots) > 1 else None


def _below(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


ANYWHERE = Places([Path(os.sep)])  # for who may read and write everything, as a person at a command line
