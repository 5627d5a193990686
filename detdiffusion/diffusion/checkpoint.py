"""One folder = one model (safetensors + JSON): saved in shards with a manifest of hashes, verified before it is loaded.

`detdiffusion.diffusion.pipeline.load_pipeline` loads what passes here.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import CLIPConfig, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from detdiffusion.core.files import json_object, read_json, write_json, write_text
from detdiffusion.core.parts import ONLOOKERS, part_folder, shared_parts
from detdiffusion.diffusion.habits.hub import folder_variant, variant_of
from detdiffusion.diffusion.manifest import (
    INDEX,
    PLAIN,
    components,
    is_gligen,
    read_vocabulary,
    verify,
    write_manifest,
)
from detdiffusion.errors import CheckpointError, why
from detdiffusion.models.autoencoder import SmallAutoencoder
from detdiffusion.models.blueprint import Blueprint
from detdiffusion.models.control import control_scale
from detdiffusion.models.features import feature_channels
from detdiffusion.models.grounding import GATED
from detdiffusion.models.perception_head import PerceptionHead
from detdiffusion.text.vocabulary import Vocabulary, missing_words, new_words

SHARD_SIZE = "14MB"
# The classes that may hold weights, by component; a component that is not named here is never loaded.
ARCHITECTURES: dict[str, tuple[type, ...]] = {
    "vae": (SmallAutoencoder, AutoencoderKL),
    "text_encoder": (CLIPTextModel,),
    "unet": (UNet2DConditionModel,),
    "blueprint": (Blueprint,),
    "perception_head": (PerceptionHead,),
    "controlnet": (ControlNetModel,),
    "safety_checker": (StableDiffusionSafetyChecker,),
}
OURS = ("blueprint", "perception_head", "controlnet")  # what a Stable Diffusion folder does not have
OPTIONAL = (*OURS, "safety_checker")
# Of a pipeline's own config.
WISHES = ("guidance_interval", "tag_guidance", "sampling", "teacher", "gligen_scheduled_sampling_beta")
PROCESSORS = ("CLIPImageProcessor", "CLIPFeatureExtractor")  # today's and yesterday's name of one class
CONFIGS = {CLIPTextModel: CLIPTextConfig, StableDiffusionSafetyChecker: CLIPConfig}  # others are their own
# Names that the libraries themselves translate when they load older files.
OLD_NAMES = (
    (".query.", ".to_q."),
    (".key.", ".to_k."),
    (".value.", ".to_v."),
    (".proj_attn.", ".to_out.0."),
    ("vision_model.vision_model.", "vision_model."),
)


def save_pipeline(pipe: Any, folder: str | os.PathLike[str], *, dtype: torch.dtype = torch.float16) -> None:
    """Writes a DetDiffusionPipeline: weights as `dtype` in shards of at most 15 MB, then the manifest.

    Files of other parts that already lie in `folder` (detectors) are entered into the manifest too. The pipeline
    itself stays as it is.
    """
    folder = Path(folder)
    parts = {
        name: _cast(part, dtype) if isinstance(part, nn.Module) else part for name, part in pipe.components.items()
    }
    with no_progress_bars():
        wishes = {name: pipe.config[name] for name in WISHES if name in pipe.config}
        saved = type(pipe)(**parts, vocabulary=pipe.vocabulary, **wishes)
        saved.save_pretrained(folder, max_shard_size=SHARD_SIZE)
    for path in (folder / INDEX, *folder.glob("*/config.json")):  # where a part was loaded from is nobody's business
        values = read_json(path, json_object, CheckpointError)
        if values.pop("_name_or_path", None) is not None:
            write_json(path, values)
    for path in folder.glob("tokenizer/tokenizer.json"):  # a line for every byte pair: 40 % of it is white space
        values = read_json(path, json_object, CheckpointError)
        write_text(path, json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n")
    write_manifest(folder)


def _cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    return nn.Module.to(copy.deepcopy(module), dtype=dtype)  # diffusers' own `to` warns about an empty list


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keeps diffusers and transformers from drawing bars on standard error, which belongs to the commands."""
    libraries = [library for library in (diffusers.utils.logging, transformers.utils.logging) if _draws_bars(library)]
    for library in libraries:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in libraries:
            library.enable_progress_bar()


def _draws_bars(library: Any) -> bool:
    return bool(library.is_progress_bar_enabled())


def check_architecture(folder: Path) -> None:
    """Compares configs, weights and vocabulary by their headers alone; nothing is allocated.

    Raises:
        CheckpointError: listing what differs, location words that the tokenizer lacks among it.
    """
    vocabulary = read_vocabulary(folder)
    _check_parts(folder, component_classes(folder), vocabulary)


def load_shared(folder: Path, dtype: Any) -> dict[str, Any]:
    """The parts of a model that lie in the folder beside it, ready to run; most models have none.

    Args:
        dtype: of the weights, or a dict of them by part, as diffusers takes it.

    Raises:
        CheckpointError: the manifest cannot be read.
    """
    shared = shared_parts(folder)
    classes = component_classes(folder) if shared else {}

    def load(part: str) -> Any:
        place = part_folder(folder, part)
        if part == "tokenizer":
            return CLIPTokenizer.from_pretrained(str(place), local_files_only=True)
        own = dtype.get(part, dtype.get("default", torch.float32)) if isinstance(dtype, dict) else dtype
        how = {"dtype": own, "use_safetensors": True, "local_files_only": True, "variant": folder_variant(place)}
        return classes[part].from_pretrained(str(place), **how)

    return {part: load(part) for part in shared if part not in ONLOOKERS}


def only_variant(folder: Path) -> str | None:
    """The variant to load a folder with some parts of which have no weights without one, such as "fp16"; None: none."""
    found = {folder_variant(part_folder(folder, name)) for name in components(folder)}
    return next(iter(found - {None}), None)


def check_base(folder: Path, *, grounded: bool = False) -> dict[str, Any]:
    """Verifies a folder that is to become a model and has no vocabulary yet: Stable Diffusion's, or one of its kind.

    grounded: it is GLIGEN's.

    Returns:
        The class of each component that holds weights, by name.

    Raises:
        CheckpointError: as `verify` and `check_architecture`, or the folder has parts that only our models have, or
            that only GLIGEN has.
    """
    verify(folder)
    classes = component_classes(folder)
    ours = [name for name in OURS if name in classes]
    if ours:
        raise CheckpointError(
            f"{folder} already has a {' and a '.join(ours)}: a base is a Stable Diffusion folder, or a text-only model"
        )
    if not grounded and is_gligen(folder):
        raise CheckpointError(
            f"{folder} is GLIGEN's, which is no base to train from: `python -m training convert SRC DST` makes it a "
            "model"
        )
    _check_parts(folder, classes, None)
    return classes


def _check_parts(folder: Path, classes: dict[str, Any], vocabulary: Vocabulary | None) -> None:
    models = {name: _on_meta(folder, name, class_) for name, class_ in classes.items()}
    known = tokenizer_words(part_folder(folder, "tokenizer"))
    problems = _fit_problems(models, vocabulary)
    if vocabulary is not None:
        problems += missing_words(known, new_words(vocabulary))
    rows = models["text_encoder"].get_input_embeddings().num_embeddings
    if rows < len(known):
        problems.append(f"text_encoder has {rows} token rows for the tokenizer's {len(known)} tokens")
    for name, model in models.items():
        problems += _weight_problems(name, part_folder(folder, name), model)
    if problems:
        shown = "; ".join(problems[:6]) + (f"; and {len(problems) - 6} more" if len(problems) > 6 else "")
        raise CheckpointError(f"{folder} does not fit together: {shown}")


def _fit_problems(models: dict[str, Any], vocabulary: Vocabulary | None) -> list[str]:
    """Sizes on which two components must agree."""
    unet, text, vae = models["unet"].config, models["text_encoder"].config, models["vae"].config
    blueprint, head, control = (models.get(name) for name in OURS)
    inputs = vae.latent_channels + (blueprint.total_channels if blueprint is not None else 0)
    pairs = [
        ("unet in_channels", unet.in_channels, "latent and blueprint channels", inputs),
        ("unet out_channels", unet.out_channels, "latent channels", vae.latent_channels),
        ("unet cross_attention_dim", unet.cross_attention_dim, "the text encoder's width", text.hidden_size),
    ]
    if blueprint is not None and vocabulary is not None:
        classes = len(vocabulary.labels)
        pairs.append(("blueprint num_classes", blueprint.config.num_classes, "classes of the vocabulary", classes))
    if head is not None:
        channels = feature_channels(models["unet"])
        pairs.append(("head feature_channels", list(head.config.feature_channels), "the U-Net's", channels))
        pairs.append(("head text_dim", head.config.text_dim, "the text encoder's width", text.hidden_size))
    if control is not None:
        cells = getattr(models["vae"], "downsample", 2 ** (len(vae.block_out_channels) - 1))
        channels = list(unet.block_out_channels)
        pairs.append(("controlnet in_channels", control.config.in_channels, "the U-Net's", unet.in_channels))
        pairs.append(
            ("controlnet block_out_channels", list(control.config.block_out_channels), "the U-Net's", channels)
        )
        pairs.append(("controlnet pixels a latent cell", control_scale(control), "the autoencoder's", cells))
    problems = [f"{name} is {got}, {other} {needed}" for name, got, other, needed in pairs if got != needed]
    if unet.attention_type not in (PLAIN, GATED):
        kinds = f"{PLAIN} (Stable Diffusion) or {GATED} (GLIGEN of text and boxes)"
        problems.append(f"unet attention_type is {unet.attention_type}, it needs to be {kinds}")
    elif unet.attention_type == GATED and (blueprint is not None or control is not None):
        problems.append("unet attention_type is gated, and a blueprint or a controlnet stands beside it")
    return problems


def _weight_problems(name: str, folder: Path, model: nn.Module) -> list[str]:
    needed = {_name(key): tuple(value.shape) for key, value in model.state_dict().items()}
    found = {_name(key): shape for key, shape in _weight_shapes(folder) if not key.endswith("position_ids")}
    lacking = [f"{name} lacks {key}" for key in needed.keys() - found.keys()]
    spare = [f"{name} has {key}, which its config does not" for key in found.keys() - needed.keys()]
    sizes = [
        f"{name}: {key} is {list(found[key])}, its config needs {list(needed[key])}"
        for key in sorted(needed.keys() & found.keys())
        if found[key] != needed[key]
    ]
    return sizes + sorted(lacking) + sorted(spare)


def _name(key: str) -> str:
    for old, new in OLD_NAMES:
        key = key.replace(old, new)
    return key.removeprefix("text_model.")


def _weight_shapes(folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    variant = folder_variant(folder)
    for path in sorted(folder.glob("*.safetensors")):
        if variant_of(path.name) != variant:
            continue
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 - not a mapping
                    yield key, tuple(file.get_slice(key).get_shape())
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is damaged: {error}; copy the model folder again") from error


def _on_meta(folder: Path, name: str, class_: Any) -> Any:
    """A component without memory: its config's names and sizes."""
    config = part_folder(folder, name) / "config.json"
    try:
        values = json.loads(config.read_text())
        with torch.device("meta"):
            return class_(CONFIGS[class_](**values)) if class_ in CONFIGS else class_.from_config(values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, StrictDataclassError) as error:
        raise CheckpointError(f"{config} does not describe a {class_.__name__}: {error}") from error


def component_classes(folder: Path) -> dict[str, Any]:
    """The class of each component that holds weights; CheckpointError for missing ones and for classes of others."""
    entries = components(folder)
    classes: dict[str, Any] = {}
    for name, allowed in ARCHITECTURES.items():
        _, class_name = entries.get(name, (None, None))
        if class_name is None and name in OPTIONAL:
            continue
        by_name = {class_.__name__: class_ for class_ in allowed}
        if class_name not in by_name:
            raise CheckpointError(
                f"{folder / INDEX}: {name} is {class_name or 'missing'}, it needs {' or '.join(by_name)}"
            )
        classes[name] = by_name[class_name]
    _, processor = entries.get("feature_extractor", (None, None))
    if processor not in PROCESSORS and (processor is not None or "safety_checker" in classes):
        raise CheckpointError(
            f"{folder / INDEX}: feature_extractor is {processor or 'missing'}, the safety checker needs {PROCESSORS[0]}"
        )
    return classes


def tokenizer_words(folder: Path) -> set[str]:
    """All tokens of a saved tokenizer, read as JSON."""
    try:
        if (folder / "tokenizer.json").exists():
            saved = json.loads((folder / "tokenizer.json").read_text())
            return {*saved["model"]["vocab"], *(token["content"] for token in saved["added_tokens"])}
        words = set(json.loads((folder / "vocab.json").read_text()))
        added = folder / "added_tokens.json"
        return words | set(json.loads(added.read_text())) if added.exists() else words
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} holds no CLIP tokenizer that can be read: {why(error)}") from error
