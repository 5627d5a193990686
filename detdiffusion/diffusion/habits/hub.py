"""The Hugging Face hub, only where somebody asks for it: a model by its id, and a model that is given away."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from detdiffusion.core.parts import COMPONENTS, ONLOOKERS
from detdiffusion.diffusion.manifest import INDEX
from detdiffusion.errors import CheckpointError, ConfigError, quoted, why

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
TEXTS = (".json", ".txt", ".md")
# diffusion_pytorch_model.fp16.safetensors, model.fp16-00001-of-00002.safetensors, ...-00001-of-00002.fp16.safetensors,
# and the index of shards: model.safetensors.index.fp16.json
_VARIANT = re.compile(r"(?:pytorch_)?model(?:-\d+-of-\d+)?(?:\.safetensors\.index)?\.([\w-]+?)(?:-\d+-of-\d+)?\.\w+$")
_NO_VARIANTS = ("safetensors", "bin", "index")


@dataclass(frozen=True, slots=True)
class HubOptions:
    """How a model is fetched from the hub, by the names that diffusers has for it.

    Attributes:
        revision: a branch, a tag or a commit; None: main.
        token: of the hub's account; None: the one that is logged in, if any.
        cache_dir: where files are kept; None: the hub's own cache.
        local_files_only: True: what the cache holds, and no network.
        force_download: fetches what is there already, too.
        variant: of the weights, such as "fp16"; None: those without one, where there are.
    """

    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | os.PathLike[str] | None = None
    local_files_only: bool = False
    force_download: bool = False
    variant: str | None = None

    @classmethod
    def taken_from(cls, arguments: dict[str, Any]) -> HubOptions:
        """Of a call's arguments, which lose those that only the hub is told (all but `variant`)."""
        names = ("revision", "token", "cache_dir", "local_files_only", "force_download")
        given = {name: arguments.pop(name) for name in names if name in arguments}
        return cls(**given, variant=arguments.get("variant"))


def is_hub_id(model: object) -> bool:
    """Whether this can be nothing else than a hub id: text `owner/name` where no folder `owner` is."""
    return isinstance(model, str) and HUB_ID.fullmatch(model) is not None and not Path(model).parent.exists()


def model_folder(model: str | os.PathLike[str], options: HubOptions | None = None) -> Path:
    """The folder of a model: itself, or where a hub id was downloaded to (safetensors only, never pickles).

    The network is asked only for what `is_hub_id`.

    Raises:
        CheckpointError: there is no such folder, or the hub did not give it.
    """
    options = options or HubOptions()
    if not isinstance(model, str | os.PathLike) or not str(model):
        raise CheckpointError(
            f"a model needs to be named by the path of its folder, as text or as a Path, not {quoted(model)}"
        )
    folder = Path(model)
    if folder.is_dir():
        return folder
    name = str(model)
    if not is_hub_id(model):
        raise CheckpointError(f"{name} is no folder; give one that holds a model_index.json, or a hub id as owner/name")
    try:
        return _download(name, options)
    except Exception as error:  # the hub's HTTP client has errors of its own, which change with its version
        raise CheckpointError(
            f"{name} is no folder here, and the hub did not give it as safetensors: {why(error)}. Download it yourself "
            "and give the folder; where it holds .bin files, `python -m training convert SRC DST` first"
        ) from error


def _download(name: str, options: HubOptions) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    wanted = [INDEX]  # the cache holds what was wanted once
    if not options.local_files_only:
        siblings = HfApi().model_info(name, revision=options.revision, token=options.token).siblings or []
        wanted = wanted_files([sibling.rfilename for sibling in siblings], options.variant)
    return Path(
        snapshot_download(
            name,
            revision=options.revision,
            token=options.token,
            cache_dir=None if options.cache_dir is None else Path(options.cache_dir),
            local_files_only=options.local_files_only,
            force_download=options.force_download,
            allow_patterns=wanted,
        )
    )


def wanted_files(names: Iterable[str], variant: str | None, *, pickles: bool = False) -> list[str]:
    """The files of a repository that a pipeline reads: one variant of each part's weights, nothing beside.

    Args:
        names: relative, with forward slashes.
        variant: see `HubOptions`.
        pickles: with the .bin files of parts that have no others; such a part is for `convert`, and never loaded.

    Raises:
        ConfigError: no part has weights of that variant.
    """
    texts, weights, others = [], defaultdict(list), defaultdict(list)
    for path in map(PurePosixPath, names):
        folder = path.parts[0] if len(path.parts) > 1 else ""
        if folder and folder not in (*COMPONENTS, *ONLOOKERS):
            continue
        if path.suffix == ".safetensors" or (path.name.endswith(".json") and ".safetensors.index" in path.name):
            weights[path.parent.as_posix()].append(path.as_posix())
        elif path.suffix == ".bin" and folder and variant_of(path.name) == variant:
            others[path.parent.as_posix()].append(path.as_posix())
        elif (path.suffix in TEXTS and ".bin.index" not in path.name) or path.name == "LICENSE":
            texts.append(path.as_posix())
    weights.pop(".", None)  # a whole model in one file beside the folders
    chosen = {place: part_variant(found, variant) for place, found in weights.items()}
    if variant is not None and variant not in chosen.values():
        raise ConfigError(f"there are no weights of the variant {quoted(variant)}")
    kept = [name for place, found in weights.items() for name in found if variant_of(name) == chosen[place]]
    if pickles:
        kept += [name for place, found in others.items() if place not in weights for name in found]
    return sorted(texts + kept)


def part_variant(names: Iterable[str], variant: str | None) -> str | None:
    """Which variant of one part's weights is read: the one that is asked for where it is there; else those without;
    else the only one that there is."""
    found = {variant_of(name) for name in names}
    if variant in found or None in found or len(found) > 1:
        return variant if variant in found else None
    return next(iter(found), None)


def folder_variant(folder: Path) -> str | None:
    """The variant of the weights of one part in its folder, where nobody asks for one; None: those without."""
    return part_variant((path.name for path in folder.glob("*.safetensors")), None)


def variant_of(name: str) -> str | None:
    """The variant in the name of a file of weights; None: there is none.

    >>> variant_of("unet/diffusion_pytorch_model.fp16.safetensors")
    'fp16'
    """
    match = _VARIANT.search(PurePosixPath(name).name)
    return match[1] if match and match[1] not in _NO_VARIANTS else None


def push(folder: Path, repository: str, options: Mapping[str, Any]) -> str:
    """Uploads a folder to the hub as a commit, and makes the repository where there is none; the commit's address.

    Args:
        options: private, token, create_pr, commit_message, as in diffusers.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=options.get("token"))
    name = api.create_repo(repository, private=options.get("private"), exist_ok=True).repo_id
    commit = api.upload_folder(
        repo_id=name,
        folder_path=folder,
        commit_message=options.get("commit_message") or "Upload DetDiffusionPipeline",
        create_pr=bool(options.get("create_pr")),
    )
    return str(commit)
