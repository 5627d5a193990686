"""What an image file says of its making: the one writer and the one reader of it, for every program that draws."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from detdiffusion.attributes import Strategy
from detdiffusion.core.files import bytes_hash, written_aside
from detdiffusion.errors import ConfigError, LayoutError, why
from detdiffusion.layout import MAX_PIXELS, Layout, parse_object
from detdiffusion.sampling_config import SamplingConfig

PNG_KEY = "detdiffusion"
_NO_IMAGE = (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """How an image was made.

    Attributes:
        layout: as it was drawn, with the attributes that the strategy gave it.
        sampling: None where the file does not say it, or says what no model can do; `fault` is then why.
        strategy: which attributes were asked for.
        model, model_sha256: of the model folder; empty where it is not known.
        detector: its name, where one was run on the image.
        precision: of the arithmetic, by torch's name; device: kind of device. Empty in files of version 0.1.
        batch: how many images were drawn together; 0 where it is not known.
    """

    layout: Layout
    sampling: SamplingConfig | None
    strategy: Strategy = Strategy.ORIGIN
    model: str = ""
    model_sha256: str = ""
    detector: str = ""
    precision: str = ""
    device: str = ""
    batch: int = 0
    fault: str = ""

    def to_json(self) -> dict[str, Any]:
        """What stands in the file beside the layout; settings that are off are left out."""
        sampling = {} if self.sampling is None else {"seed": self.sampling.seed, **self.sampling.options()}
        names = ("model", "model_sha256", "detector", "precision", "device", "batch")
        known = {name: value for name in names if (value := getattr(self, name))}
        return {**sampling, "strategy": self.strategy.value, **known}

    @classmethod
    def from_json(cls, layout: Layout, values: Mapping[str, Any]) -> ImageRecord:
        """The inverse of `to_json`; also of the files of version 0.1, with `guidance` or `guidance_scale`, and
        `difficulty`, and of files in which keys are missing."""
        sampling, fault = None, ""
        beta = values.get("gligen_scheduled_sampling_beta")
        try:
            sampling = SamplingConfig(
                int(values["seed"]),
                int(values.get("steps", 20)),
                float(values.get("guidance_scale", values.get("guidance", 3.0))),
                float(values.get("attribute_guidance", values.get("difficulty", 0.0))),
                str(values.get("sampler") or ""),
                float(values.get("detector_guidance", 0.0)),
                bool(values.get("fix_boxes", False)),
                None if beta is None else float(beta),
            )
        except KeyError:
            fault = "the file names no seed"
        except (TypeError, ValueError, OverflowError, ConfigError) as error:
            fault = str(error)
        strategy, batch = values.get("strategy"), values.get("batch")
        names = ("model", "model_sha256", "detector", "precision", "device")
        model, sha256, detector, precision, device = (str(values.get(name) or "") for name in names)
        return cls(
            layout,
            sampling,
            Strategy(strategy) if strategy in tuple(Strategy) else Strategy.ORIGIN,
            model,
            sha256,
            detector,
            precision,
            device,
            batch if isinstance(batch, int) else 0,
            fault,
        )


def save_image(path: str | os.PathLike[str], image: Image.Image, record: ImageRecord, *, durable: bool = True) -> None:
    """Writes a PNG that says how it was made, and in words that it is generated; it is there as a whole or not at all.

    durable: as `written_aside` has it; False where the file lies in a folder that is written aside as a whole.
    """
    how = {**record.to_json(), "generated": True, "software": "DetDiffusion", "layout": record.layout.to_json()}
    how["pixels"] = _pixels(image)
    maker = record.model or "unknown"
    origin = f"This image is generated, not photographed: DetDiffusion, model {maker}."
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text(PNG_KEY, json.dumps(how))
    for key, text in (("Software", "DetDiffusion"), ("Description", origin), ("Comment", origin)):
        chunks.add_itxt(key, text)
    with written_aside(Path(path), durable=durable) as aside:
        image.save(aside, format="PNG", pnginfo=chunks)


def read_image(path: str | os.PathLike[str]) -> ImageRecord:
    """How the image of `save_image`, or of version 0.1, was made.

    Raises:
        LayoutError: the file is missing, is no image, is too large, carries no layout of ours, or shows something else
            than was saved.
    """
    file = Path(path)
    text = _text(file)
    if text is None:
        raise LayoutError(f"{file.name} carries no layout: use an image file saved by DetDiffusion, not a copy of it")
    values = parse_object(text)
    _check_pixels(file, values)
    return ImageRecord.from_json(Layout.from_json(values.pop("layout", {})), values)


def read_layout(path: Path) -> Layout:
    """The layout of a layout file (JSON), or of an image of `save_image` (*.png) that carries one.

    Raises:
        LayoutError: there is no such file, or it holds no layout.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file fails on names that are too long
        raise LayoutError(f"{str(path)[:300]}: no such file")
    if path.suffix.lower() == ".png":
        return read_image(path).layout
    try:
        return Layout.from_json(path.read_bytes())
    except OSError as error:
        raise LayoutError(f"{path} cannot be read: {error.strerror or error}") from error


def has_record(path: Path) -> bool:
    """Whether the file is an image that carries a record; whether that one can be read is another question."""
    try:
        return _text(path) is not None
    except LayoutError:
        return False


def image_fault(path: Path) -> str:
    """Why an image is not as `save_image` left it; empty where it is, or where that cannot be known."""
    try:
        if (text := _text(path)) is not None:
            _check_pixels(path, parse_object(text))
    except LayoutError as error:
        return str(error)
    return ""


def _pixels(image: Image.Image) -> str:
    """SHA-256 of what an image shows."""
    return bytes_hash(f"{image.mode} {image.width} {image.height}\n".encode() + image.tobytes())


def _check_pixels(path: Path, values: Mapping[str, Any]) -> None:
    """LayoutError where the record has a hash of other pixels. Version 0.1 wrote none."""
    if "pixels" not in values:
        return
    try:
        with Image.open(path) as image:
            same = _pixels(image) == values["pixels"]
    except _NO_IMAGE as error:
        raise LayoutError(f"{path.name} cannot be read as an image: {why(error)}") from error
    if not same:
        raise LayoutError(f"{path.name} is damaged, or was edited: it shows something else than was saved")


def _text(path: Path) -> str | None:
    """The record's text; None for other images. LayoutError for what is no image, or too large."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise LayoutError(f"{path.name}: {image.width}x{image.height} pixels; at most {MAX_PIXELS:,} are read")
            text = dict(image.info).get(PNG_KEY)
    except _NO_IMAGE as error:
        raise LayoutError(f"{path.name} cannot be read as an image: {why(error)}") from error
    return text if isinstance(text, str) else None
