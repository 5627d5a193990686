"""OpenVINO computes a pipeline's U-Net and decoder in torch's place: on CPUs without AVX-512 in two thirds of the time.

A network is traced once for each image size and kept in the user's cache folder. Images are those of torch but for
rounding (docs/STUDIO.md has the figures); the pipeline loads, encodes words and trains with torch as ever.
"""

from __future__ import annotations

import ctypes
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from detdiffusion.core.files import (
    cache_folder,
    claim,
    file_hash,
    folder_written_aside,
    json_object,
    read_json,
    text_hash,
    write_sealed,
)
from detdiffusion.diffusion.denoising import Denoiser
from detdiffusion.errors import CheckpointError
from detdiffusion.text.prompt import TextCondition

FORMAT = 1  # of the folders of the cache
_MADE_BY = ("openvino", "torch", "diffusers")  # of another version it is traced anew
_GRAPH, _WEIGHTS, _SEAL = "network.xml", "network.bin", "seal.json"


class OpenVino:
    """The networks of one pipeline, compiled for the sizes and the precisions that are asked for.

    It computes row by row (on a CPU a batch is no quicker), with as many threads as torch, in the precision of the
    autocast around it.

    Args:
        sha256: of the model folder, by which what was traced is found again.
    """

    def __init__(self, denoiser: Denoiser, vae: Any, sha256: str) -> None:
        self._denoiser, self._vae, self._sha256 = denoiser, vae, sha256
        self._compiled: dict[tuple[Any, ...], Any] = {}

    def denoise(self, latents: Tensor, t: Tensor, condition: TextCondition, raw: Tensor | None) -> Tensor:
        """As `DetDiffusionPipeline.denoise`."""
        given = [latents, condition.hidden.float(), condition.mask, *([] if raw is None else [raw])]
        rows = zip(*(tensor.split(1) for tensor in given), strict=True)
        time = t.float().reshape(())
        return torch.cat([self._run("unet", lambda: _Denoising(self._denoiser), time, *row) for row in rows])

    def decode(self, latents: Tensor) -> Tensor:
        """The autoencoder's `decode`: latents [B, C, h, w] -> [B, 3, H, W], about -1..1."""
        return torch.cat([self._run("decoder", lambda: _Decoding(self._vae), row) for row in latents.split(1)])

    def _run(self, name: str, network: Callable[[], nn.Module], *given: Tensor) -> Tensor:
        # How many words there are varies from prompt to prompt; all else is of the image's size.
        shapes = tuple((1, -1, *one.shape[2:]) if one.ndim in (2, 3) else tuple(one.shape) for one in given)
        how = ("bf16" if torch.is_autocast_enabled("cpu") else "f32", torch.get_num_threads())
        key = (name, shapes, *how)
        if key not in self._compiled:
            folder = self._traced(name, shapes, network, given)
            self._compiled[key] = _compiled(folder / _GRAPH, *how)
        answer = self._compiled[key]([tensor.detach().numpy() for tensor in given], share_inputs=True)
        return torch.from_numpy(answer[0].copy())

    def _traced(
        self, name: str, shapes: tuple[Any, ...], network: Callable[[], nn.Module], given: tuple[Tensor, ...]
    ) -> Path:
        """The folder of a network with inputs of these shapes; made where it is missing or damaged."""
        made_by = {"format": FORMAT, "model": self._sha256, "shapes": str(shapes)} | {
            package: version(package) for package in _MADE_BY
        }
        folder = cache_folder() / "openvino" / f"{name}-{text_hash(str(made_by))[:16]}"
        with claim(folder.with_suffix(".lock"), wait=True):
            if not _is_whole(folder):
                shutil.rmtree(folder, ignore_errors=True)
                print(
                    f"OpenVINO: preparing the {name}, once for this model and image size", file=sys.stderr, flush=True
                )
                with folder_written_aside(folder) as aside:
                    _trace(network(), given, shapes, aside)
        return folder


class _Denoising(nn.Module):
    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.parts = nn.ModuleList(filter(None, (denoiser.unet, denoiser.blueprint, denoiser.controlnet)))
        self._predict = denoiser.denoise

    def forward(self, t: Tensor, latents: Tensor, hidden: Tensor, mask: Tensor, raw: Tensor | None = None) -> Tensor:
        unused = hidden[:, :1]
        return self._predict(latents, t, TextCondition(hidden, mask, unused, mask[:, :1], unused), raw)


class _Decoding(nn.Module):
    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        image: Tensor = self.vae.decode(latents).sample
        return image


@torch.no_grad()
def _trace(network: nn.Module, given: tuple[Tensor, ...], shapes: tuple[Any, ...], folder: Path) -> None:
    import openvino

    with torch.autocast("cpu", enabled=False), warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)  # of what one size of images leaves constant
        traced = torch.jit.trace(network.eval(), given, check_trace=False)  # the tests check it
        model = openvino.convert_model(traced, example_input=given)
    model.reshape({number: openvino.PartialShape(list(shape)) for number, shape in enumerate(shapes)})
    openvino.save_model(model, folder / _GRAPH, compress_to_fp16=False)
    write_sealed(folder / _SEAL, {name: file_hash(folder / name) for name in (_GRAPH, _WEIGHTS)})


def _is_whole(folder: Path) -> bool:
    try:
        seal: Mapping[str, Any] = read_json(folder / _SEAL, json_object, CheckpointError)
        return all(file_hash(folder / name) == seal[name] for name in (_GRAPH, _WEIGHTS))
    except (CheckpointError, OSError, KeyError):
        return False


def _compiled(graph: Path, precision: str, threads: int) -> Any:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    with signal_stack_kept():
        return openvino.Core().compile_model(graph, "CPU", settings)


class SignalStack(ctypes.Structure):
    """`stack_t` of Linux: where a thread handles signals."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """The thread handles signals where it did before: OpenVINO gives it another place as it compiles, which goes with
    what was compiled, so that the next Ctrl-C would be a segmentation fault."""
    if sys.platform != "linux":
        yield
        return
    system, kept = ctypes.CDLL(None), SignalStack()
    system.sigaltstack(None, ctypes.byref(kept))
    try:
        yield
    finally:
        system.sigaltstack(ctypes.byref(kept), None)
