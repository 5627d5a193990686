"""What a model can be asked for, read from its folder without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from detdiffusion.core.parts import part_folder
from detdiffusion.diffusion.checkpoint import tokenizer_words
from detdiffusion.diffusion.manifest import INDEX, components, is_gligen, read_vocabulary
from detdiffusion.errors import CheckpointError, why
from detdiffusion.text.prompt import FREE_TEXT_TOKENS
from detdiffusion.text.vocabulary import VOCABULARY_FILE


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model heeds of a layout: where objects are, which are easy and hard, free words beside the classes."""

    boxes: bool
    attributes: bool
    caption: bool

    def __str__(self) -> str:
        """ "boxes, attributes, caption", as many as there are."""
        named = [name for name in ("boxes", "attributes", "caption") if getattr(self, name)]
        return ", ".join(named) or "classes alone"


def read_abilities(folder: Path) -> Abilities:
    """Of a model folder.

    Raises:
        CheckpointError: it is none, or cannot be read.
    """
    try:
        stamps = tuple((folder / name).stat().st_mtime_ns for name in (INDEX, VOCABULARY_FILE))
    except OSError as error:
        raise CheckpointError(f"{folder} is no DetDiffusion model: {why(error)}") from error
    return _read(folder, stamps)


@lru_cache(64)
def _read(folder: Path, stamps: tuple[int, ...]) -> Abilities:
    """stamps: when the files were written; a folder that was written anew is read anew."""
    vocabulary, present = read_vocabulary(folder), components(folder)
    steered = any(present.get(part, (None, None))[1] is not None for part in ("blueprint", "controlnet"))
    return Abilities(
        boxes=vocabulary.locations > 0 or steered or is_gligen(folder),
        attributes=bool(vocabulary.attribute_words),
        caption=len(tokenizer_words(part_folder(folder, "tokenizer"))) >= FREE_TEXT_TOKENS,
    )
