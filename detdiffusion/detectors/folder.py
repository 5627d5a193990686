"""A detector on disk, of whatever library: `detector.json`, and weights in half precision in files of at most 15 MB.

Weights that fit are one file, `model.safetensors`; larger ones are several, and a tensor that is too large for a file
(the first layer of Faster R-CNN's box head) is cut along its first axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from detdiffusion.core.files import file_hash, hash_of_hashes, one_line, read_json, write_sealed, written_aside
from detdiffusion.errors import DetectorError

if TYPE_CHECKING:  # commands read descriptions without torch
    from torch import Tensor, nn

DESCRIPTION_FILE = "detector.json"
WEIGHTS_FILE = "model.safetensors"
ULTRALYTICS, TORCHVISION = "ultralytics", "torchvision"  # kinds; folders of the first may come without one
MIN_SCORE = 0.5  # gamma of Eq. 2: an object whose best score is lower counts as missed

_FILE_BYTES = 14_500_000  # of tensors in a file; the rest of 15 MB is for its header
_PIECE = "@"  # "NAME@3" is the fourth piece of tensor NAME


@dataclass(frozen=True, slots=True)
class Description:
    """What `detector.json` says."""

    name: str
    architecture: str  # "yolo11n.yaml" of ultralytics, "fasterrcnn_resnet50_fpn" of torchvision: its name, not its text
    labels: tuple[str, ...]
    imgsz: int  # pixels, the side of the square that the model sees
    min_score: float
    sha256: str  # of the weights: of their file, or of the list of `files`
    kind: str = ULTRALYTICS
    files: Mapping[str, str] = field(default_factory=dict)  # name -> SHA-256, where the weights are several files


def save_detector(model: nn.Module, folder: Path, about: Description) -> None:
    """Writes a detector folder: weights in half precision, then the description with their hashes.

    Raises:
        DetectorError: it cannot be written (disk full).
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / DESCRIPTION_FILE, *folder.glob("model*.safetensors")):
        old.unlink(missing_ok=True)
    groups = list(_groups(model.state_dict()))
    names = [WEIGHTS_FILE] if len(groups) == 1 else [_numbered(i, len(groups)) for i in range(1, len(groups) + 1)]
    try:
        for name, tensors in zip(names, groups, strict=True):
            with written_aside(folder / name) as aside:
                save_file(tensors, aside)
    except (OSError, SafetensorError) as error:
        raise DetectorError(f"{folder} cannot be written ({one_line(error)}); free some space") from error
    hashes = {name: file_hash(folder / name) for name in names}
    about = replace(about, sha256=_hash_of(hashes), files=hashes if len(hashes) > 1 else {})
    _write_description(folder, about)


def set_min_score(folder: Path, min_score: float) -> None:
    """Another confidence from which on a detection counts, where nobody asks for one. Raises as `read_description`."""
    about = read_description(folder)
    if about.min_score != min_score:
        _write_description(folder, replace(about, min_score=min_score))


def _write_description(folder: Path, about: Description) -> None:
    values = {key: value for key, value in asdict(about).items() if key != "files" or value}
    write_sealed(folder / DESCRIPTION_FILE, values)


def read_description(folder: Path) -> Description:
    """DetectorError if there is none, or it is damaged."""
    path = folder / DESCRIPTION_FILE
    if not path.is_file():
        raise DetectorError(f"{path} is missing: this is not a detector folder, or not all of it")
    about = read_json(path, _described, DetectorError, 'if you have changed it yourself, take the line "seal" out')
    outside = [name for name in about.files if Path(name).name != name]
    if outside or (about.files and _hash_of(about.files) != about.sha256):
        raise DetectorError(f"{path} is damaged: its files and their SHA-256 are not those that were written")
    return about


def _described(values: Any) -> Description:
    return Description(
        name=str(values["name"]),
        architecture=str(values["architecture"]),
        labels=tuple(str(label) for label in values["labels"]),
        imgsz=int(values["imgsz"]),
        min_score=float(values["min_score"]),
        sha256=str(values["sha256"]),
        kind=str(values.get("kind", ULTRALYTICS)),
        files={str(name): str(sha256) for name, sha256 in values.get("files", {}).items()},
    )


def read_weights(folder: Path, about: Description) -> dict[str, Tensor]:
    """The weights, after their hashes were checked.

    Raises:
        DetectorError: a file is missing, damaged (both hashes are named) or cannot be read.
    """
    tensors: dict[str, Tensor] = {}
    for name, needed in (about.files or {WEIGHTS_FILE: about.sha256}).items():
        path = folder / name
        if not path.is_file():
            raise DetectorError(f"{path} is missing: this is not a detector folder, or not all of it")
        sha256 = file_hash(path)
        if sha256 != needed:
            raise DetectorError(f"{path} is damaged: its SHA-256 is {sha256}, {DESCRIPTION_FILE} says {needed}")
        tensors |= read_safetensors(path)
    return _joined(tensors)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """DetectorError if it cannot be read."""
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DetectorError(f"{path} cannot be read: {one_line(error)}") from error


def fill(model: nn.Module, stored: Mapping[str, Tensor], source: Path, architecture: str) -> None:
    """Loads the weights into the model, half -> single precision; DetectorError names the first one that differs."""
    have = {key: tuple(value.shape) for key, value in stored.items()}
    need = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    differing = sorted(key for key in {*have, *need} if have.get(key) != need.get(key))
    if differing:
        first = differing[0]
        raise DetectorError(
            f"{source} does not fit {architecture}: {len(differing)} tensors differ, first {first} "
            f"(is {have.get(first, 'missing')}, needs {need.get(first, 'none')})"
        )
    model.load_state_dict(stored)


def _hash_of(files: Mapping[str, str]) -> str:
    """One file: its own hash; several: that of the list of their hashes and names."""
    if len(files) == 1:
        return next(iter(files.values()))
    return hash_of_hashes(files)


def _numbered(number: int, count: int) -> str:
    return f"model-{number:05d}-of-{count:05d}.safetensors"


def _groups(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors in half precision, as many a file as fit."""
    group: dict[str, Tensor] = {}
    held = 0
    for name, tensor in state.items():
        for key, piece in _pieces(name, tensor.detach().cpu()):
            if group and held + piece.nbytes > _FILE_BYTES:
                yield group
                group, held = {}, 0
            group[key] = piece
            held += piece.nbytes
    yield group


def _pieces(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    stored = (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
    count = math.ceil(stored.nbytes / _FILE_BYTES)
    if count <= 1:
        yield name, stored
        return
    for number, piece in enumerate(stored.chunk(count)):
        yield f"{name}{_PIECE}{number}", piece.clone()  # a slice of its own: a file would hold all of the tensor


def _joined(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pieces put together again."""
    import torch

    whole = {key: tensor for key, tensor in tensors.items() if _PIECE not in key}
    cut = [key.rpartition(_PIECE) for key in tensors if _PIECE in key]
    for name in {name for name, _, _ in cut}:
        numbers = sorted((number for other, _, number in cut if other == name), key=lambda text: (len(text), text))
        whole[name] = torch.cat([tensors[f"{name}{_PIECE}{number}"] for number in numbers])
    return whole
