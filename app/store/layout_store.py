"""The user's own layouts, saved by name in the workspace: one layout JSON a name."""

import logging
import re
from pathlib import Path

from detdiffusion.bounds import LAYOUT_NAME
from detdiffusion.core.files import read_json, write_sealed
from detdiffusion.errors import ConfigError, DataError, LayoutError, why
from detdiffusion.layout import Layout

log = logging.getLogger(__name__)
REMEDY = 'if you have changed it yourself, take the line "seal" out'


class LayoutStore:
    """A folder of layouts. Files that are no layouts are left alone and not listed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def layouts(self) -> dict[str, Layout]:
        """Name -> layout, by name."""
        found = {}
        for path in sorted(self.folder.glob("*.json"), key=lambda path: path.stem.casefold()):
            try:
                found[path.stem] = read_json(path, Layout.from_json, DataError, REMEDY)
            except LayoutError:
                continue
            except DataError as error:
                log.warning("a saved layout is left out: %s", error)
        return found

    def save(self, name: str, layout: Layout) -> str:
        """Keeps a layout, in the place of an older one of the name; returns the name as it is kept.

        Raises:
            ConfigError: no name, or one that no file can have; or the disk is full.
        """
        path = self._path(name)
        try:
            write_sealed(path, layout.to_json())
        except OSError as error:
            raise ConfigError(f"{path.name} cannot be written ({why(error)})") from error
        return path.stem

    def remove(self, name: str) -> None:
        """Forgets a layout; nothing happens where there is none."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        kept = " ".join(name.split())
        if not kept or len(kept) > LAYOUT_NAME or re.search(r'[/\\:*?"<>|\x00-\x1f]', kept) or kept.startswith("."):
            raise ConfigError(
                f'{name!r} needs to be a name of 1 to {LAYOUT_NAME} characters, without / \\ : * ? " < > |'
            )
        return self.folder / f"{kept}.json"
