"""GeoDiffusion's published folders: what their generation_config.json says, and the vocabulary that they learned."""

from __future__ import annotations

import argparse
import json
import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from detdiffusion.errors import CheckpointError, ConfigError
from detdiffusion.text.vocabulary import COCO_STUFF, COCO_THINGS, Vocabulary, missing_words, new_words

GENERATION_CONFIG = "generation_config.json"
LOCATION_FORMAT = "<l{}>"


class _Classes(NamedTuple):
    """Classes of one of GeoDiffusion's data sets, and how its prompts say them (as `Vocabulary.spoken`)."""

    things: tuple[str, ...]
    stuff: tuple[str, ...]
    spoken: tuple[str, ...]


_COCO = (*COCO_THINGS, *COCO_STUFF, "other")
_NUIMAGES = ("car", "truck", "trailer", "bus", "bicycle", "motorcycle", "pedestrian", "barrier")
DATASETS: Mapping[str, _Classes] = {
    "coco_stuff": _Classes(COCO_THINGS, (*COCO_STUFF, "other"), tuple(label.replace("-", " ") for label in _COCO)),
    "nuimages": _Classes(
        (*_NUIMAGES, "construction_vehicle", "traffic_cone"), (), (*_NUIMAGES, "construction", "cone")
    ),
}


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """What a generation_config.json says; ConfigError if it says nothing usable."""

    dataset: str
    grid: tuple[int, int]  # (columns, rows)
    prompt_template: str
    size: tuple[int, int]  # (height, width) in pixels
    guidance: float
    steps: int

    @classmethod
    def read(cls, path: Path) -> GenerationConfig:
        """From a file of GeoDiffusion; ConfigError where a field is missing or of another kind."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            columns, rows = values["num_bucket_per_side"]
            return cls(
                dataset=str(values["dataset"]),
                grid=(int(columns), int(rows)),
                prompt_template=str(values["prompt_template"]),
                size=(int(values["height"]), int(values["width"])),
                guidance=float(values["cfg_scale"]),
                steps=int(values["num_inference_steps"]),
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"{path} is no GeoDiffusion config ({error!r}): it needs dataset, num_bucket_per_side (two numbers), "
                "prompt_template, width, height, cfg_scale and num_inference_steps"
            ) from error


def vocabulary_of(
    source: Path, config: GenerationConfig, fills: Mapping[str, str], given: Vocabulary | None
) -> Vocabulary:
    """The vocabulary of a GeoDiffusion folder; an error if its tokenizer, and so the model, never learned the words."""
    from detdiffusion.diffusion.checkpoint import tokenizer_words

    known = tokenizer_words(source / "tokenizer")
    if given is not None and fills:
        raise ConfigError("--fill and --vocabulary exclude each other: the vocabulary has a template of its own")
    vocabulary = geodiffusion_vocabulary(config, fills, known) if given is None else given
    problems = missing_words(known, new_words(vocabulary))
    if problems:
        raise CheckpointError(f"{source}: {problems[0]}")
    return vocabulary


def geodiffusion_vocabulary(config: GenerationConfig, fills: Mapping[str, str], known: Collection[str]) -> Vocabulary:
    """The vocabulary that a GeoDiffusion model was trained with: its classes, grid, tokens and template.

    Args:
        known: the tokenizer's words; attribute words are in the vocabulary only if they are all among them.

    Raises:
        ConfigError: an unknown data set, or a place of the template that `fills` leaves empty.
    """
    if config.dataset not in DATASETS:
        raise ConfigError(
            f"the classes of {config.dataset!r} are unknown here (known data sets: {', '.join(DATASETS)}): "
            "write them into a vocabulary.json and give it with --vocabulary"
        )
    classes = DATASETS[config.dataset]
    attribute_words = Vocabulary.attribute_words  # the default ones
    return Vocabulary(
        classes.things,
        classes.stuff,
        grid=config.grid,
        location_format=LOCATION_FORMAT,
        attribute_words=attribute_words if set(attribute_words) <= set(known) else (),
        template=fill_template(config.prompt_template, fills),
        spoken=classes.spoken,
    )


def fill_template(template: str, fills: Mapping[str, str]) -> str:
    """GeoDiffusion's template as a vocabulary's: `{bbox}` is the objects' place, every other one is filled in.

    >>> fill_template("An image of {camera} camera with {bbox}", {"camera": "front"})
    'An image of front camera with {objects}'
    """
    try:
        places = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ConfigError(f"the prompt template {template!r} cannot be read: {error}") from error
    if "bbox" not in places:
        raise ConfigError(f"the prompt template {template!r} has no place for the objects: {{bbox}}")
    empty, unused = sorted(places - {"bbox"} - fills.keys()), sorted(fills.keys() - places)
    if empty:
        wanted = " ".join(f"--fill {name}=..." for name in empty)
        raise ConfigError(f"the prompt template {template!r} wants more than objects: give {wanted}")
    if unused:
        raise ConfigError(f"the prompt template {template!r} has no place for {', '.join(unused)}")
    return template.format(**{**fills, "bbox": "{objects}"})


def fill_word(text: str) -> tuple[str, str]:
    """A value of `--fill`."""
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise argparse.ArgumentTypeError(f"{text!r} needs the form NAME=TEXT, as camera=front")
    return name, value
