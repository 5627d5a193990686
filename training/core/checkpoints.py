"""Exact resume: a checkpoint is one safetensors file, written aside and renamed, with its SHA-256 beside it.

Randomness is a function of (seed, step, index of the sample), so a checkpoint holds no generator states: the same
command run again goes on where it stopped, bit-equal on a CPU, whenever it was killed.
"""

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from detdiffusion.core.files import (
    file_hash,
    folder_written_aside,
    hash_number,
    json_object,
    read_json,
    write_sealed,
)
from detdiffusion.errors import DataError, why

WEIGHTS, MANIFEST = "state.safetensors", "manifest.json"


def sample_generator(seed: int, step: int, index: int) -> torch.Generator:
    """The generator of one sample of one step, whatever the batch size or the number of processes."""
    return torch.Generator().manual_seed(hash_number(f"{seed}/{step}/{index}") >> 1)


def epoch_order(seed: int, epoch: int, count: int) -> list[int]:
    """The order of the samples in one epoch: a permutation of 0..count-1."""
    order: list[int] = torch.randperm(count, generator=sample_generator(seed, -1, epoch)).tolist()
    return order


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], keep: int = 2) -> Path:
    """Writes `folder/step-00000123` in one rename; the last `keep` stay.

    Raises:
        DataError: it could not be written (disk full); the old ones stay whole.
    """
    for killed in folder.glob(".*"):  # a run has one writer
        shutil.rmtree(killed, ignore_errors=True)
    final = folder / f"step-{step:08d}"
    try:
        with folder_written_aside(final) as aside:
            save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, aside / WEIGHTS)
            write_sealed(aside / MANIFEST, {"step": step, "sha256": file_hash(aside / WEIGHTS)})
            shutil.rmtree(final, ignore_errors=True)  # one of this step that was damaged
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{folder}: the checkpoint of step {step} could not be written ({why(error)}); free some space"
        ) from error
    for old in list(_steps(folder).values())[:-keep]:
        shutil.rmtree(old)
    return final


def latest_checkpoint(folder: Path) -> tuple[int, dict[str, Tensor]] | None:
    """The newest whole checkpoint; damaged or partial ones are named on standard error and passed over.

    Whole: the manifest is as it was written, its step is the folder's, and the weights have its SHA-256.
    """
    for partial in folder.glob(".*"):
        print(f"{partial}: an unfinished checkpoint, ignored", file=sys.stderr)
    for step, path in reversed(_steps(folder).items()):
        try:
            written, sha256 = read_json(path / MANIFEST, _written, DataError)
            found = file_hash(path / WEIGHTS)
            if written != step:
                raise DataError(f"its manifest is of step {written}")
            if found == sha256:
                return step, load_file(path / WEIGHTS)
        except (OSError, DataError, SafetensorError) as error:
            print(f"{path}: unreadable ({why(error)}), ignored", file=sys.stderr)
            continue
        print(f"{path}: SHA-256 is {found}, the manifest says {sha256}; ignored", file=sys.stderr)
    return None


def _written(manifest: Any) -> tuple[int, str]:
    """Step and SHA-256."""
    values = json_object(manifest)
    return int(values["step"]), str(values["sha256"])


def _steps(folder: Path) -> dict[int, Path]:
    """Checkpoints by step, rising. Folders of other names are somebody else's."""
    found = {int(path.name[5:]): path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8}", path.name)}
    return dict(sorted(found.items()))


def checkpoint_step(folder: Path) -> int:
    """The step of the newest checkpoint that may be whole, 0 without one; nothing is loaded."""
    return max(_steps(folder), default=0)


def pack_optimizer(optimizer: torch.optim.Optimizer, name: str = "optimizer") -> dict[str, Tensor]:
    """Optimizer state as named tensors (learning rates are functions of the step and not kept)."""
    return {
        f"{name}.{index}.{key}": torch.as_tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], name: str = "optimizer") -> None:
    """Inverse of `pack_optimizer`."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in tensors.items():
        if path.startswith(f"{name}."):
            _, index, key = path.split(".")
            parameter = parameters[int(index)]
            # Fused updates walk memory in order, so a state needs its parameter's own layout (channels_last).
            laid_out = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
            state.setdefault(int(index), {})[key] = laid_out
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def pack_modules(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The tensors of modules, as NAME.KEY."""
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def unpack_modules(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """Inverse of `pack_modules`."""
    for name, module in modules.items():
        prefix = name + "."
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
