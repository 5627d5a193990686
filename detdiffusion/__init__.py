"""DetDiffusion: layouts become pictures, and a detector says which objects are easy and which are hard.

Importing the package is cheap: torch and diffusers are loaded by the modules that need them. `DetDiffusionPipeline`,
`Layout` and `load_pipeline` come from their modules when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
    from detdiffusion.layout import Layout

__version__ = "0.1.0"
__all__ = ["DetDiffusionPipeline", "Layout", "load_pipeline"]

_MODULES = {
    "DetDiffusionPipeline": "detdiffusion.diffusion.pipeline",
    "Layout": "detdiffusion.layout",
    "load_pipeline": "detdiffusion.diffusion.pipeline",
}


if not TYPE_CHECKING:  # or type checkers would take any name to be there

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
