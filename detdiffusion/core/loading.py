"""A sign of life: what takes seconds to import is named on standard error before it does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SLOW = ("torch", "diffusers", "transformers", "ultralytics")  # libraries that take a second or more


class _Announcer(MetaPathFinder):
    """Finds nothing: it only hears that a library is looked for, once each."""

    def __init__(self) -> None:
        self.waiting = {name for name in SLOW if name not in sys.modules}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self.waiting:
            self.waiting.remove(fullname)
            print(f"loading {fullname} ...", file=sys.stderr, flush=True)
        return None


@contextmanager
def announced_imports() -> Iterator[None]:
    """Inside, the first import of a slow library says so on standard error."""
    announcer = _Announcer()
    sys.meta_path.insert(0, announcer)
    try:
        yield
    finally:
        sys.meta_path.remove(announcer)
