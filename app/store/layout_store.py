"""The user's own layouts, saved by name in the workspace: one layout JSON a name."""

import re
from pathlib import Path

from detdiffusion.bounds import LAYOUT_NAME
from detdiffusion.core.files import write_json
from detdiffusion.errors import ConfigError, LayoutError, why
from detdiffusion.layout import Layout


class LayoutStore:
    """A folder of layouts. Files that are no layouts are left alone and not listed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def layouts(self) -> dict[str, Layout]:
        """Name -> layout, by name."""
        found = {}
        for path in sorted(self.folder.glob("*.json"), key=lambda path: path.stem.casefold()):
            try:
                found[path.stem] = Layout.from_json(path.read_bytes())
            except (LayoutError, OSError):
                continue
        return found

    def save(self, name: str, layout: Layout) -> str:
        """Keeps a layout, in the place of an older one of the name; returns the name as it is kept.

        Raises:
            ConfigError: no name, or one that no file can have; or the disk is full.
        """
        path = self._path(name)
        try:
            write_json(path, layout.to_json())
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
