"""The folders that the page may show where a path is chosen, and what lies in them."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.errors import ConfigError, why

MOST = 500  # entries of one kind that are listed


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
    """Roots, and all that is below them: nothing else is listed. Links are followed, and have to stay below a root."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """ConfigError where a root is no folder. Roots that lie in another one are left out."""
        missing = [root for root in roots if not root.is_dir()]
        if missing:
            raise ConfigError(f"{missing[0]} is not a folder")
        whole = list(dict.fromkeys(root.resolve() for root in roots))
        self.roots = [root for root in whole if not any(other in root.parents for other in whole)]

    def start(self, typed: str, suffixes: Collection[str] = ()) -> Listing:
        """Where a dialog opens: the folder that was typed (or that of the file), or the roots."""
        wish = Path(typed.strip()).expanduser() if typed.strip() else None
        if wish is not None:
            for folder in [wish] if wish.parent == Path() else [wish, wish.parent]:  # a word is no path
                if folder.is_dir() and self._within(folder):
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
        path = Path(folder).resolve()
        if not self._within(path):
            raise ConfigError(f"{path} lies outside of what the studio shows; type the path, or start it with --root")
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
        whole = path.resolve()
        return any(root == whole or root in whole.parents for root in self.roots)

    def _above(self, path: Path) -> str | None:
        if path not in self.roots:
            return str(path.parent)
        return "" if len(self.roots) > 1 else None
