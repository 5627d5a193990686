"""python -m training convert SRC DST: older model folders -> folders that load here.

Four forms are read: GeoDiffusion's published folders (a Stable Diffusion pipeline, a tokenizer with `<l0>`, `<l1>`,
..., and a generation_config.json) and GLIGEN's, which become model folders for the studio; plain Stable Diffusion
folders, and files that hold a whole model, which become bases to train from. Pickles (.bin) are opened with
`weights_only=True` alone: what is no tensor is never run.
"""

from __future__ import annotations

import argparse
import pickle
import shutil
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.core.files import put_in_place, scratch_beside
from detdiffusion.diffusion.manifest import is_gligen
from detdiffusion.errors import CheckpointError, ConfigError
from detdiffusion.text.vocabulary import Vocabulary
from training.core.cli import add_dry_run, check_there, nothing_is_missing
from training.generator.controlnet import add_controlnet, asked_controlnet, read_colours, with_controlnet
from training.generator.geodiffusion import GENERATION_CONFIG, GenerationConfig, fill_word, vocabulary_of
from training.generator.gligen import add_gligen, gligen_pipeline, gligen_vocabulary
from training.generator.single_file import add_like, check_single_file, unpack

if TYPE_CHECKING:
    from torch import Tensor

NOTES = ("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", GENERATION_CONFIG)  # what a folder says about itself
# File names without their ending: how transformers and diffusers call a pickle, and its safetensors.
TRANSFORMERS_NAMES, DIFFUSERS_NAMES = ("pytorch_model", "model"), ("diffusion_pytorch_model", "diffusion_pytorch_model")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training convert`."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="SRC",
        help="folder of GeoDiffusion, GLIGEN or Stable Diffusion, or a .safetensors file of Stable Diffusion v1",
    )
    parser.add_argument("target", type=Path, metavar="DST", help="folder to write; it must not exist")
    parser.add_argument(
        "--fill",
        type=fill_word,
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="text for a placeholder of GeoDiffusion's prompt template, such as camera=front",
    )
    parser.add_argument(
        "--vocabulary",
        type=Path,
        metavar="FILE.json",
        help="for GLIGEN, and for a GeoDiffusion data set whose classes are unknown here: a vocabulary.json",
    )
    add_like(parser)
    add_controlnet(parser)
    add_gligen(parser)
    add_dry_run(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    check_there(arguments.source, arguments.vocabulary, arguments.like, arguments.controlnet, arguments.colours)
    vocabulary = None
    if arguments.vocabulary is not None:
        vocabulary = Vocabulary.from_json(arguments.vocabulary.read_bytes())
    print(f"converting {arguments.source}", file=sys.stderr)
    fills, control = dict(arguments.fill), asked_controlnet(arguments.controlnet, arguments.colours)
    if arguments.dry_run:
        check_conversion(arguments.source, arguments.target, fills, vocabulary, arguments.like, arguments.gligen_beta)
        return nothing_is_missing()
    config = convert(
        arguments.source,
        arguments.target,
        fills=fills,
        vocabulary=vocabulary,
        like=arguments.like,
        control=control,
        beta=arguments.gligen_beta,
    )
    if config is not None:
        height, width = config.size
        made_for = f"{width}x{height} pixels, guidance {config.guidance:g}, {config.steps} steps"
        print(f"GeoDiffusion made it for {made_for}", file=sys.stderr)
    print(arguments.target)
    return 0


def convert(
    source: Path,
    target: Path,
    *,
    fills: Mapping[str, str] | None = None,
    vocabulary: Vocabulary | None = None,
    like: Path | None = None,
    control: tuple[Path, Path] | None = None,
    beta: float | None = None,
) -> GenerationConfig | None:
    """Writes `target` as a whole or not at all.

    Args:
        fills: what stands at the template's places other than the objects' (GeoDiffusion only).
        vocabulary: instead of the one that the data set's name stands for (GeoDiffusion), or COCO-Stuff's (GLIGEN).
        like: folder whose configuration and tokenizer a single file gets.
        control: folder of a ControlNet that steers the model, and the file of its colours.
        beta: the part of the steps in which GLIGEN sees the boxes; None: 0.3 (GLIGEN only).

    Returns:
        GeoDiffusion's own settings; None for a plain Stable Diffusion folder.

    Raises:
        CheckpointError: the source is no such folder, is damaged, or holds a pickle of more than tensors.
        ConfigError: the target is there already, or the settings cannot be used.
    """
    from safetensors import SafetensorError

    config, vocabulary = check_conversion(source, target, fills or {}, vocabulary, like, beta)
    try:
        with scratch_beside(target) as work:
            if like is not None:
                unpack(source, like, work / "unpacked")
                source = work / "unpacked"
            size = None if config is None else config.size
            put_in_place(_convert(source, work, size, vocabulary, control, beta), target)
    except SafetensorError as error:  # how a full disk shows when weights are written
        raise CheckpointError(f"{target} could not be written ({error}); free some space") from error
    return config


def check_conversion(
    source: Path,
    target: Path,
    fills: Mapping[str, str],
    vocabulary: Vocabulary | None,
    like: Path | None = None,
    beta: float | None = None,
) -> tuple[GenerationConfig | None, Vocabulary | None]:
    """What `convert` raises of all but the weights; GeoDiffusion's settings, and the vocabulary of a model."""
    from detdiffusion.diffusion.manifest import INDEX

    if target.exists():
        raise ConfigError(f"{target} is there already: name a new folder")
    if beta is not None and (source.is_file() or not is_gligen(source)):
        raise ConfigError(f"{source} is not GLIGEN's: --gligen-beta is for its folders")
    if source.is_file():
        if fills or vocabulary is not None:
            raise ConfigError(f"{source} is a single file: --fill and --vocabulary are for GeoDiffusion's folders")
        check_single_file(source, like)
        return None, None
    if like is not None:
        raise ConfigError(f"{source} is a folder: --like is for a single .safetensors file")
    if not (source / INDEX).is_file():
        raise CheckpointError(f"{source} holds no {INDEX}: give the folder of a whole model, as it was published")
    if (source / GENERATION_CONFIG).is_file():
        config = GenerationConfig.read(source / GENERATION_CONFIG)
        return config, vocabulary_of(source, config, fills, vocabulary)
    if is_gligen(source):
        return None, gligen_vocabulary(source, fills, vocabulary)
    if fills or vocabulary is not None:
        raise ConfigError(
            f"{source} holds no {GENERATION_CONFIG}: --fill and --vocabulary are for GeoDiffusion's folders or GLIGEN's"
        )
    return None, None


def _convert(
    source: Path,
    work: Path,
    size: tuple[int, int] | None,
    vocabulary: Vocabulary | None,
    control: tuple[Path, Path] | None,
    beta: float | None,
) -> Path:
    """The finished folder inside `work`: a model if there is a vocabulary, else a base."""
    from detdiffusion.diffusion.checkpoint import check_architecture, check_base, save_pipeline
    from detdiffusion.diffusion.manifest import write_manifest
    from detdiffusion.diffusion.stable_diffusion import pipeline_from_stable_diffusion

    staged, model = work / "staged", work / "model"
    copy_as_safetensors(source, staged)
    if control is not None:
        save_pipeline(with_controlnet(staged, control[0], read_colours(control[1])), model)
        check_architecture(model)
    elif vocabulary is None:
        check_base(staged)
        staged.rename(model)
    else:
        if is_gligen(staged):
            pipe = gligen_pipeline(staged, vocabulary, beta)
        else:
            how: dict[str, Any] = {"blueprint_config": None, "head_config": None, "seed": 0, "size": size}
            pipe = pipeline_from_stable_diffusion(staged, vocabulary, **how)
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
    from detdiffusion.core.parts import COMPONENTS
    from detdiffusion.diffusion.checkpoint import ARCHITECTURES
    from detdiffusion.diffusion.habits.hub import variant_of
    from detdiffusion.diffusion.manifest import INDEX

    target.mkdir(parents=True)
    shutil.copyfile(source / INDEX, target / INDEX)
    for name in COMPONENTS:
        if not (source / name).is_dir():
            continue
        (target / name).mkdir()
        for path in sorted((source / name).iterdir()):
            if path.suffix in (".json", ".txt") and ".bin.index" not in path.name and variant_of(path.name) is None:
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


def _copy_weights(folder: Path, target: Path) -> None:
    from safetensors.torch import load_file, save_file

    from detdiffusion.diffusion.habits.hub import folder_variant, variant_of

    pickled, safe = TRANSFORMERS_NAMES if folder.name in ("text_encoder", "safety_checker") else DIFFUSERS_NAMES
    variant = folder_variant(folder)
    ready = [path for path in sorted(folder.glob(f"{safe}*.safetensors")) if variant_of(path.name) == variant]
    if variant is None:
        for path in ready:
            shutil.copyfile(path, target / path.name)
    elif ready:  # of fp16 alone: they are the weights from now on
        halves = {name: tensor for path in ready for name, tensor in load_file(path).items()}
        save_file(halves, target / f"{safe}.safetensors", metadata={"format": "pt"})
    if ready:
        return
    pickles = [*folder.glob(f"{pickled}.bin"), *folder.glob(f"{pickled}-*-of-*.bin")]
    if not pickles:
        raise CheckpointError(f"{folder} holds neither {safe}.safetensors nor {pickled}.bin: copy the whole folder")
    tensors: dict[str, Tensor] = {}
    for path in pickles:
        tensors |= read_pickle(path)
    save_file(tensors, target / f"{safe}.safetensors", metadata={"format": "pt"})


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
