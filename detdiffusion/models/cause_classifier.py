"""What makes the objects of an image difficult: a folder with a trained `CauseNetwork`, and the words for its answers.

The folder (`causes/` of a model, which need not have one) holds model.safetensors and config.json.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from detdiffusion.core.files import file_hash, one_line, read_json, write_sealed, written_aside
from detdiffusion.core.parts import CAUSES, part_folder
from detdiffusion.errors import CheckpointError, ConfigError
from detdiffusion.layout import Layout
from detdiffusion.models.cause_network import CONTEXT, EMBEDDING, SIDE, WIDTHS, CauseNetwork

FOLDER = CAUSES  # of a model
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
NONE = "none"  # an ordinary object
LIKELY = 0.5  # probability from which on a cause is counted
SHOWN = 2  # words of an object, at most

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class CauseConfig:
    """What `config.json` says.

    Raises:
        ConfigError: there is no class or no cause, or a threshold is of no cause.
    """

    classes: tuple[str, ...]
    causes: Mapping[str, str]  # name -> words for people: "colour": "unusual colour"
    sure: Mapping[str, float] = field(default_factory=dict)  # name -> least probability that is shown; others never are
    side: int = SIDE
    context: float = CONTEXT
    widths: tuple[int, ...] = WIDTHS
    embedding: int = EMBEDDING

    def __post_init__(self) -> None:
        if not self.classes or not self.causes or NONE in self.causes:
            raise ConfigError(f"a classifier of causes needs classes, and causes other than {NONE!r}")
        if unknown := sorted(set(self.sure) - set(self.causes)):
            raise ConfigError(f"sure names {', '.join(unknown)}; known: {', '.join(self.causes)}")

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the columns of an answer mean."""
        return (NONE, *self.causes)

    def network(self) -> CauseNetwork:
        """A new one, of random weights."""
        return CauseNetwork(len(self.classes), len(self.outputs), self.widths, self.embedding)


class CauseClassifier:
    """Says what makes an object difficult."""

    def __init__(self, config: CauseConfig, network: CauseNetwork) -> None:
        self.config = config
        self.network = network.eval()
        self._numbers = {label: number for number, label in enumerate(config.classes)}

    def probabilities(self, image: Image.Image, layout: Layout) -> NDArray[np.float32]:
        """[N, outputs] for the N objects of a layout; NaN for classes that it does not know. Several causes may be
        likely at once, so a row does not add up to 1."""
        found = np.full((len(layout.boxes), len(self.config.outputs)), np.nan, np.float32)
        known = [place for place, box in enumerate(layout.boxes) if box.label in self._numbers]
        if known:
            boxes = [layout.boxes[place].xyxy for place in known]
            views = [view(image, box, self.config.side, self.config.context) for box in boxes]
            crops, frames = np.stack([crop for crop, _ in views]), torch.tensor([frame for _, frame in views])
            numbers = torch.tensor([self._numbers[layout.boxes[place].label] for place in known])
            found[known] = self.answer(crops, frames, numbers, torch.tensor(boxes)).numpy()
        return found

    @torch.inference_mode()
    def answer(self, crops: NDArray[np.uint8], frames: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
        """Probabilities [B, outputs] of crops [B, H, W, 3]; the rest is as `CauseNetwork.forward` takes it."""
        device = next(self.network.parameters()).device
        logits = self.network(crop_tensor(crops).to(device), *(one.to(device) for one in (frames, labels, boxes)))
        return torch.sigmoid(logits).cpu()

    def words(self, image: Image.Image, layout: Layout) -> tuple[tuple[str, ...], ...]:
        """For each object the words of the causes that it is sure of, the surest first; mostly none."""
        return tuple(self._sure_of(row) for row in self.probabilities(image, layout))

    def _sure_of(self, row: NDArray[np.float32]) -> tuple[str, ...]:
        known = dict(zip(self.config.outputs, row.tolist(), strict=True))
        sure = [name for name in self.config.causes if known[name] >= self.config.sure.get(name, math.inf)]
        return tuple(self.config.causes[name] for name in sorted(sure, key=lambda name: -known[name])[:SHOWN])

    def save(self, folder: Path) -> None:
        """Writes config.json and the weights, in half precision.

        Raises:
            CheckpointError: it cannot be written (disk full).
        """
        state = self.network.state_dict()
        halves = {name: (one.half() if one.is_floating_point() else one).contiguous() for name, one in state.items()}
        try:
            with written_aside(folder / WEIGHTS_FILE) as aside:
                save_file(halves, aside)
            written = {**asdict(self.config), "sha256": file_hash(folder / WEIGHTS_FILE)}
            write_sealed(folder / CONFIG_FILE, written)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{folder} cannot be written ({one_line(error)}); free some space") from error

    @classmethod
    def load(cls, folder: Path, device: torch.device | None = None) -> CauseClassifier:
        """Raises CheckpointError: a file is missing or damaged, or the weights are of other sizes than config.json
        says."""
        remedy = "copy the model folder again"
        config, sha256 = read_json(
            folder / CONFIG_FILE, lambda values: (_configured(values), values.get("sha256")), CheckpointError, remedy
        )
        network = config.network()
        try:
            if sha256 not in (None, file_hash(folder / WEIGHTS_FILE)):  # None: of version 0.1
                raise CheckpointError(f"{folder / WEIGHTS_FILE} is damaged: it has another SHA-256; {remedy}")
            network.load_state_dict(load_file(folder / WEIGHTS_FILE))  # half -> single precision
        except (OSError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(f"{folder / WEIGHTS_FILE} cannot be loaded: {one_line(error)}") from error
        return cls(config, network.to(device or torch.device("cpu")))


def load_causes(model: Path, device: torch.device | None = None) -> CauseClassifier | None:
    """The classifier of a model folder; None where it has none. Raises as `CauseClassifier.load`."""
    folder = part_folder(model, FOLDER)
    return CauseClassifier.load(folder, device) if folder.is_dir() else None


def _configured(values: Any) -> CauseConfig:
    try:
        return CauseConfig(
            classes=tuple(str(label) for label in values["classes"]),
            causes={str(name): str(words) for name, words in values["causes"].items()},
            sure={str(name): float(least) for name, least in values["sure"].items()},
            side=int(values["side"]),
            context=float(values["context"]),
            widths=tuple(int(width) for width in values["widths"]),
            embedding=int(values["embedding"]),
        )
    except ConfigError as error:
        raise ValueError(str(error)) from error


def counted(outputs: Sequence[str], probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[N, outputs]: the causes that are likely, and "none" where no cause is; nothing in a row of NaN."""
    likely = probabilities >= LIKELY
    none = outputs.index(NONE)
    likely[:, none] = False
    likely[:, none] = ~likely.any(1) & ~np.isnan(probabilities[:, none])
    return likely


def view(
    image: Image.Image, box_xyxy: Corners, side: int = SIDE, context: float = CONTEXT
) -> tuple[NDArray[np.uint8], Corners]:
    """A square around a box (fractions), as `side` x `side` RGB pixels, and the box in fractions of it.

    It is longer than the longer side of the box by `context`, moved into the image where it would leave it, and as
    wide or high as the image where it would be larger.
    """
    x1, y1, x2, y2 = (corner * length for corner, length in zip(box_xyxy, 2 * image.size, strict=True))
    length = (1 + context) * max(x2 - x1, y2 - y1)
    left, right = _window((x1 + x2) / 2, length, image.width)
    top, bottom = _window((y1 + y2) / 2, length, image.height)
    window = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    w, h = right - left, bottom - top
    return np.asarray(window), ((x1 - left) / w, (y1 - top) / h, (x2 - left) / w, (y2 - top) / h)


def _window(centre: float, length: float, limit: int) -> tuple[float, float]:
    """An interval of that length in 0..limit, about the centre where it fits."""
    length = min(length, limit)
    start = min(max(centre - length / 2, 0.0), limit - length)
    return start, min(start + length, limit)


def crop_tensor(crops: NDArray[np.uint8]) -> Tensor:
    """[B, H, W, 3] -> [B, 3, H, W] in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1
