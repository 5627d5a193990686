"""Weights that people bring: the tensors of a .safetensors file or of a checkpoint, whatever is stored beside them.

A checkpoint is read by torch's restricted reader (`weights_only`). It may name classes of other programs beside the
weights (an `argparse.Namespace`, a logger, a whole model): in their place stand objects that take everything and do
nothing, so nothing of the file is run, and nothing is imported for it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from detdiffusion.core.files import one_line
from detdiffusion.detectors.folder import DESCRIPTION_FILE, read_description, read_safetensors, read_weights
from detdiffusion.errors import DetectorError

_WRAPPERS = ("model", "state_dict", "model_state_dict", "model_state", "ema", "ema_state_dict", "net", "network")
_PREFIXES = ("module", "model", "_orig_mod", "ema_model")  # of DataParallel, Lightning, torch.compile, an average
_SHOWN = 3  # names in a message
_LOCK = threading.Lock()  # torch keeps its list of allowed names for the whole process


class _Inert:
    """Stands where a file names a class or a function: it takes whatever it is given, and does nothing."""

    def __new__(cls, *_: object) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def read_state(weights: Path) -> dict[str, Tensor]:
    """The tensors of a detector folder of ours, a .safetensors file, or a checkpoint of torch: a state dict, itself or
    under "model", "state_dict" and the like; prefixes such as `module.` are taken off.

    Raises:
        DetectorError: it cannot be read, or holds no weights by name.
    """
    if (weights / DESCRIPTION_FILE).is_file():
        return read_weights(weights, read_description(weights))
    content = read_safetensors(weights) if weights.suffix == ".safetensors" else _read_checkpoint(weights)
    state = _unwrapped(content)
    if state is None:
        raise DetectorError(_no_weights(weights))
    return _without_prefix(state)


def foreign_names(path: Path) -> list[str]:
    """Classes and functions that a checkpoint names and torch's restricted reader does not know, those of the file's
    own program first; empty where it is no checkpoint."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, EOFError, OSError, LookupError, UnpicklingError):
        return []
    return sorted(names, key=lambda name: (name.startswith(("torch.", "collections.", "builtins.")), name))


def named(names: Sequence[str]) -> str:
    """ " (__main__.Net, ...)" for a message; empty without names."""
    more = ", ..." if len(names) > _SHOWN else ""
    return f" ({', '.join(names[:_SHOWN])}{more})" if names else ""


def _read_checkpoint(path: Path) -> Any:
    names = foreign_names(path)
    stand_ins: list[Any] = [(type("Inert", (_Inert,), {}), name) for name in names]
    try:
        with _LOCK, torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise DetectorError(_refusal(path, names)) from error
    except (RuntimeError, EOFError, OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise DetectorError(f"{path.name} cannot be read: {one_line(error)}") from error


def _unwrapped(content: Any) -> dict[str, Tensor] | None:
    """The state dict in a checkpoint; None where there is none."""
    if not isinstance(content, Mapping) or not content:
        return None
    if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        return dict(content)
    inner = (_unwrapped(content.get(key)) for key in _WRAPPERS)
    return next((state for state in inner if state is not None), None)


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What all names begin with and no architecture has is taken off, however many of them there are."""
    first = {name.partition(".")[0] for name in state}
    if len(first) == 1 and first <= set(_PREFIXES):
        return _without_prefix({name.partition(".")[2]: tensor for name, tensor in state.items()})
    return dict(state)


def _no_weights(weights: Path) -> str:
    names = [] if weights.suffix == ".safetensors" else foreign_names(weights)
    return _refusal(weights, names) if names else f"{weights.name} holds no weights by name; {_REMEDY}"


def _refusal(path: Path, names: Sequence[str]) -> str:
    return f"{path.name} is refused: it holds more than weights, and could run code{named(names)}; {_REMEDY}"


_REMEDY = "save the model's state_dict() alone"
