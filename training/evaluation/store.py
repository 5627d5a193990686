"""Images of an evaluation with what detectors see in them, and how far it is.

Chunks have a fixed size and are drawn whole, so that an image does not depend on where an earlier run was stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detdiffusion.core.files import json_hash
from detdiffusion.detection import Detections
from detdiffusion.errors import DataError, why
from detdiffusion.layout import Layout
from training.core.chunks import Chunks

Save = Callable[[Path, Image.Image, int], None]  # where to, the image, its number


@dataclass(frozen=True, slots=True)
class Detected:
    """What is to be kept of one chunk: its pictures (or None of them), what each detector sees, and the layouts if
    these pictures gave them their attributes."""

    images: Sequence[Image.Image] | None
    detections: Mapping[str, Sequence[Detections]]
    layouts: Sequence[Layout] | None = None


@dataclass(frozen=True, slots=True)
class SeenImages:
    """Images in chunks, with what each detector sees in them, and their layouts where these were kept."""

    chunks: Chunks

    def __len__(self) -> int:
        return len(self.chunks)

    def __iter__(self) -> Iterator[range]:
        """The numbers of each chunk's images."""
        return map(self.chunks.numbers, range(len(self.chunks)))

    @property
    def count(self) -> int:
        """Images, in all."""
        return self.chunks.count

    @property
    def folder(self) -> Path:
        """Where the chunks lie."""
        return self.chunks.home

    def load(self, numbers: range) -> list[Image.Image]:
        """Images of chunks that are whole.

        Raises:
            DataError: one is gone or damaged since the evaluation began.
        """
        images = []
        for path in (self.chunks.root / self.chunks.file(number) for number in numbers):
            try:
                with Image.open(path) as image:
                    images.append(image.convert("RGB"))
            except (OSError, SyntaxError, ValueError) as error:
                raise DataError(f"{path} cannot be read ({why(error)}): run the same command again") from error
        return images

    def fill(self, look: Callable[[range], Detected], save: Save, on_chunk: Callable[[range, bool], None]) -> None:
        """Makes every chunk that is not whole; what is damaged is named on standard error. `on_chunk` gets each one's
        numbers, and whether it was made now.

        Raises:
            DataError: the disk is full; the chunks that are committed stay.
        """
        self.chunks.sweep()
        _clear_version_0_1(self.folder)
        for chunk, numbers in enumerate(self):
            if fault := self.chunks.repair(chunk):
                print(f"{fault}; its chunk of images is made again", file=sys.stderr)
            made = not self.chunks.folder(chunk).exists()
            if made:
                self._commit(chunk, look(numbers), save)
            on_chunk(numbers, made)

    def detections(self, detector: str) -> list[Detections]:
        """What a detector saw in every image. All chunks need to be whole."""
        return list(self.each(detector))

    def each(self, detector: str) -> Iterator[Detections]:
        """The same, image by image: one chunk at a time is held."""
        return (_detections(row["detections"][detector]) for row in self.chunks.all_rows())

    def layouts(self) -> list[Layout]:
        """The layouts that were kept with the images."""
        return [Layout.from_json(row["layout"]) for row in self.chunks.all_rows()]

    def images_hash(self) -> str:
        """SHA-256 over the hashes of all images."""
        hashes = [[row["sha256"] for row in self.chunks.rows(chunk)] for chunk in range(len(self.chunks))]
        return json_hash(hashes)

    def _commit(self, chunk: int, looked: Detected, save: Save) -> None:
        numbers = self.chunks.numbers(chunk)
        rows: list[dict[str, Any]] = [
            {"detections": {name: _row(found[place]) for name, found in looked.detections.items()}}
            for place in range(len(numbers))
        ]
        for row, layout in zip(rows, looked.layouts or (), strict=looked.layouts is not None):
            row["layout"] = layout.to_json()
        saves = None
        if looked.images is not None:
            pairs = zip(looked.images, numbers, strict=True)
            saves = [partial(_save, save, image, number) for image, number in pairs]
        self.chunks.commit(chunk, saves, rows)


def _save(save: Save, image: Image.Image, number: int, path: Path) -> None:
    save(path, image, number)


def stable_name(folder: str, number: int) -> str:
    """What version 0.1 called an image's file. It does not depend on the batch: ids and fingerprints are made of it."""
    return f"{folder}/{number:05d}.png"


def image_file(work: Path, folder: str, number: int) -> Path:
    """Where an image of an evaluation lies, whatever its batch; version 0.1 kept all of them in the folder itself."""
    return next((work / folder).glob(f"[0-9]*/{number:06d}.png"), work / stable_name(folder, number))


def _clear_version_0_1(folder: Path) -> None:
    """What version 0.1 had made lies otherwise, and is made again."""
    for old in (*folder.glob("chunk-*.json*"), *folder.glob("[0-9]*.png*")):
        old.unlink()


def _row(found: Detections) -> dict[str, Any]:
    return {"labels": found.labels, "scores": found.scores.tolist(), "boxes": found.boxes_xyxy.tolist()}


def _detections(row: Mapping[str, Any]) -> Detections:
    """As it was: single precision survives JSON's decimals."""
    boxes = np.asarray(row["boxes"], np.float32).reshape(-1, 4)
    return Detections(tuple(row["labels"]), np.asarray(row["scores"], np.float32), boxes)
