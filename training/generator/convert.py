"""python -m training convert SRC DST: older model folders -> folders that load here.

Two forms are read: GeoDiffusion's published folders (a Stable Diffusion pipeline, a tokenizer with `<l0>`, `<l1>`, ...,
and a generation_config.json), which become model folders for the studio, and plain Stable Diffusion folders, which
become bases to train from. Pickles (.bin) are opened with `weights_only=True` alone: what is no tensor is never run.
"""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
import string
import struct
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from detdiffusion.core.files import put_in_place, scratch_beside
from detdiffusion.errors import CheckpointError, ConfigError
from detdiffusion.text.vocabulary import COCO_STUFF, COCO_THINGS, Vocabulary, missing_words, new_words
from training.core.cli import add_dry_run, check_there, nothing_is_missing

if TYPE_CHECKING:
    from torch import Tensor

GENERATION_CONFIG = "generation_config.json"
LOCATION_FORMAT = "<l{}>"
NOTES = ("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", GENERATION_CONFIG)  # what a folder says about itself
# File names without their ending: how transformers and diffusers call a pickle, and its safetensors.
TRANSFORMERS_NAMES, DIFFUSERS_NAMES = ("pytorch_model", "model"), ("diffusion_pytorch_model", "diffusion_pytorch_model")


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training convert`."""
    parser.add_argument("source", type=Path, metavar="SRC", help="folder of GeoDiffusion or of Stable Diffusion")
    parser.add_argument("target", type=Path, metavar="DST", help="folder to write; it must not exist")
    parser.add_argument(
        "--fill",
        type=_fill,
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="text for a placeholder of GeoDiffusion's prompt template, such as camera=front",
    )
    parser.add_argument(
        "--vocabulary",
        type=Path,
        metavar="FILE.json",
        help="for a GeoDiffusion data set whose classes are unknown here",
    )
    add_dry_run(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    check_there(arguments.source, arguments.vocabulary)
    vocabulary = None
    if arguments.vocabulary is not None:
        vocabulary = Vocabulary.from_json(arguments.vocabulary.read_bytes())
    print(f"converting {arguments.source}", file=sys.stderr)
    fills = dict(arguments.fill)
    if arguments.dry_run:
        check_conversion(arguments.source, arguments.target, fills, vocabulary)
        return nothing_is_missing()
    config = convert(arguments.source, arguments.target, fills=fills, vocabulary=vocabulary)
    if config is not None:
        height, width = config.size
        made_for = f"{width}x{height} pixels, guidance {config.guidance:g}, {config.steps} steps"
        print(f"GeoDiffusion made it for {made_for}", file=sys.stderr)
    print(arguments.target)
    return 0


def convert(
    source: Path, target: Path, *, fills: Mapping[str, str] | None = None, vocabulary: Vocabulary | None = None
) -> GenerationConfig | None:
    """Writes `target` as a whole or not at all.

    Args:
        fills: what stands at the template's places other than the objects' (GeoDiffusion only).
        vocabulary: instead of the one that the data set's name stands for (GeoDiffusion only).

    Returns:
        GeoDiffusion's own settings; None for a plain Stable Diffusion folder.

    Raises:
        CheckpointError: the source is no such folder, is damaged, or holds a pickle of more than tensors.
        ConfigError: the target is there already, or the settings cannot be used.
    """
    from safetensors import SafetensorError

    config, vocabulary = check_conversion(source, target, fills or {}, vocabulary)
    try:
        with scratch_beside(target) as work:
            put_in_place(_convert(source, work, None if config is None else config.size, vocabulary), target)
    except SafetensorError as error:  # how a full disk shows when weights are written
        raise CheckpointError(f"{target} could not be written ({error}); free some space") from error
    return config


def check_conversion(
    source: Path, target: Path, fills: Mapping[str, str], vocabulary: Vocabulary | None
) -> tuple[GenerationConfig | None, Vocabulary | None]:
    """What `convert` raises of all but the weights; the settings and the vocabulary of GeoDiffusion's folders."""
    from detdiffusion.diffusion.manifest import INDEX

    if target.exists():
        raise ConfigError(f"{target} is there already: name a new folder")
    if not (source / INDEX).is_file():
        raise CheckpointError(f"{source} holds no {INDEX}: give the folder of a whole model, as it was published")
    if (source / GENERATION_CONFIG).is_file():
        config = GenerationConfig.read(source / GENERATION_CONFIG)
        return config, _vocabulary(source, config, fills, vocabulary)
    if fills or vocabulary is not None:
        raise ConfigError(
            f"{source} holds no {GENERATION_CONFIG}: --fill and --vocabulary are for GeoDiffusion's folders"
        )
    return None, None


def _vocabulary(
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


def _convert(source: Path, work: Path, size: tuple[int, int] | None, vocabulary: Vocabulary | None) -> Path:
    """The finished folder inside `work`: a model if there is a vocabulary, else a base."""
    from detdiffusion.diffusion.checkpoint import check_architecture, check_base, save_pipeline
    from detdiffusion.diffusion.manifest import write_manifest
    from detdiffusion.diffusion.stable_diffusion import pipeline_from_stable_diffusion

    staged, model = work / "staged", work / "model"
    copy_as_safetensors(source, staged)
    if vocabulary is None:
        check_base(staged)
        staged.rename(model)
    else:
        pipe = pipeline_from_stable_diffusion(
            staged, vocabulary, blueprint_config=None, head_config=None, seed=0, size=size
        )
        save_pipeline(pipe, model)
        check_architecture(model)
    copy_notes(source, model)
    write_manifest(model)
    return model


def copy_as_safetensors(source: Path, target: Path) -> None:
    """Copies the components of a diffusers folder, every pickle as safetensors.

    Raises:
        CheckpointError: a component has no weights, or a pickle holds more than tensors.
    """
    from detdiffusion.diffusion.checkpoint import ARCHITECTURES
    from detdiffusion.diffusion.manifest import COMPONENTS, INDEX

    target.mkdir(parents=True)
    shutil.copyfile(source / INDEX, target / INDEX)
    for name in COMPONENTS:
        if not (source / name).is_dir():
            continue
        (target / name).mkdir()
        for path in sorted((source / name).iterdir()):
            if path.suffix in (".json", ".txt") and ".bin.index" not in path.name:
                shutil.copyfile(path, target / name / path.name)
        if name in ARCHITECTURES:
            _copy_weights(source / name, target / name)


def copy_notes(source: Path, target: Path) -> None:
    """Licence, model card and GeoDiffusion's settings go with the weights."""
    for name in NOTES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Tensors of a .bin file by name, in memory of their own. Nothing that the file brings is run.

    Raises:
        CheckpointError: it holds more than tensors, or is damaged.
    """
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors, which can run code when it is opened; it was not. Get the model from its "
            "publisher"
        ) from error
    except (RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise CheckpointError(f"{path} is damaged: {_first_line(error)}; copy the file again") from error
    tensors = dict(found) if isinstance(found, Mapping) else {}
    if not tensors or not all(isinstance(name, str) and torch.is_tensor(value) for name, value in tensors.items()):
        raise CheckpointError(f"{path} holds no tensors by name; it is not a component of a diffusers folder")
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


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


def _copy_weights(folder: Path, target: Path) -> None:
    from safetensors.torch import save_file

    pickled, safe = TRANSFORMERS_NAMES if folder.name in ("text_encoder", "safety_checker") else DIFFUSERS_NAMES
    ready = [*folder.glob(f"{safe}.safetensors"), *folder.glob(f"{safe}-*-of-*.safetensors")]
    for path in ready:
        shutil.copyfile(path, target / path.name)
    if ready:
        return
    pickles = [*folder.glob(f"{pickled}.bin"), *folder.glob(f"{pickled}-*-of-*.bin")]
    if not pickles:
        raise CheckpointError(f"{folder} holds neither {safe}.safetensors nor {pickled}.bin: copy the whole folder")
    tensors: dict[str, Tensor] = {}
    for path in pickles:
        tensors |= read_pickle(path)
    save_file(tensors, target / f"{safe}.safetensors", metadata={"format": "pt"})


def _fill(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise argparse.ArgumentTypeError(f"{text!r} needs the form NAME=TEXT, as camera=front")
    return name, value


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
