"""Pictures of an evaluation in committed chunks: whatever kills the process, what is committed is not done again.

A chunk's pictures are written aside and renamed, then its commit with their SHA-256s. Chunks have a fixed size and are
drawn whole, so that a picture does not depend on where an earlier run was stopped.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detdiffusion.detection import Detections
from detdiffusion.errors import DataError
from detdiffusion.files import PARTIAL, file_hash, settle, write_whole
from detdiffusion.layout import Layout

Save = Callable[[Path, Image.Image, int], None]  # where to, the picture, its number


@dataclass(frozen=True, slots=True)
class Looked:
    """What is to be kept of one chunk: its pictures (or None of them), what each detector sees, and the layouts if
    these pictures gave them their attributes."""

    images: Sequence[Image.Image] | None
    detections: Mapping[str, Sequence[Detections]]
    layouts: Sequence[Layout] | None = None


@dataclass(slots=True)
class Meter:
    """How far an evaluation is, kept in a file for whoever shows it: {"pictures", "of", "seconds_left"}.

    total: pictures of all folders. Those that an earlier run has made say nothing about the time left.
    """

    path: Path
    total: int
    _done: int = field(default=0, init=False)
    _made: int = field(default=0, init=False)
    _since: float = field(default_factory=lambda: time.monotonic(), init=False)
    _spent: float = field(default=0.0, init=False)

    def add(self, pictures: int, *, made: bool) -> None:
        """`pictures` more are there: `made` since the last call, or found to be there already."""
        now = time.monotonic()
        self._done += pictures
        if made:
            self._made, self._spent = self._made + pictures, self._spent + now - self._since
        self._since = now
        left = round((self.total - self._done) * self._spent / self._made) if self._made else None
        write_whole(self.path, json.dumps({"pictures": self._done, "of": self.total, "seconds_left": left}) + "\n")


@dataclass(frozen=True, slots=True)
class Chunks:
    """`count` pictures in chunks of `batch` in one folder: 00000.png, ..., chunk-00000.json, ..."""

    folder: Path
    count: int
    batch: int

    def __len__(self) -> int:
        return -(-self.count // self.batch)

    def __iter__(self) -> Iterator[range]:
        """The numbers of each chunk's pictures."""
        return (range(first, min(first + self.batch, self.count)) for first in range(0, self.count, self.batch))

    def picture(self, number: int) -> Path:
        return self.folder / f"{number:05d}.png"

    def load(self, numbers: range) -> list[Image.Image]:
        """Pictures of whole chunks.

        Raises:
            DataError: one is gone or damaged since the evaluation began.
        """
        images = []
        for path in map(self.picture, numbers):
            try:
                with Image.open(path) as image:
                    images.append(image.convert("RGB"))
            except (OSError, SyntaxError, ValueError) as error:
                raise DataError(f"{path} cannot be read ({error}): run the same command again") from error
        return images

    def fill(self, look: Callable[[range], Looked], save: Save, on_chunk: Callable[[range, bool], None]) -> None:
        """Does every chunk that is not whole; `on_chunk` gets each one's numbers, and whether it was made now.

        Raises:
            DataError: the disk is full; the chunks that are committed stay.
        """
        for numbers in self:
            whole = self.whole(numbers)
            if not whole:
                self._commit(numbers, look(numbers), save)
            on_chunk(numbers, not whole)

    def whole(self, numbers: range) -> bool:
        """Whether a chunk is committed with all of its pictures; damage is named on standard error."""
        path = self._commit_path(numbers)
        if not path.exists():
            return False
        try:
            commit = _read_commit(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{path} is damaged ({error}); its pictures are made again", file=sys.stderr)
            return False
        for number, sha256 in zip(numbers, commit["pictures"], strict=False):
            picture = self.picture(number)
            if not picture.is_file() or file_hash(picture) != sha256:
                state = "damaged" if picture.is_file() else "missing"
                print(f"{picture} is {state}; its chunk of pictures is made again", file=sys.stderr)
                return False
        return True

    def detections(self, detector: str) -> list[Detections]:
        """What a detector saw on every picture. All chunks need to be whole."""
        return [_detections(row) for commit in self._read() for row in commit["detections"][detector]]

    def layouts(self) -> list[Layout]:
        """The layouts that were kept with the pictures."""
        return [Layout.from_json(row) for commit in self._read() for row in commit["layouts"]]

    def pictures_hash(self) -> str:
        """SHA-256 over the hashes of all pictures."""
        return hashlib.sha256(json.dumps([commit["pictures"] for commit in self._read()]).encode()).hexdigest()

    def _read(self) -> Iterator[dict[str, Any]]:
        return (_read_commit(self._commit_path(numbers)) for numbers in self)

    def _commit_path(self, numbers: range) -> Path:
        return self.folder / f"chunk-{numbers.start // self.batch:05d}.json"

    def _commit(self, numbers: range, looked: Looked, save: Save) -> None:
        path = self._commit_path(numbers)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            hashes = []
            for number, image in zip(numbers, looked.images or (), strict=looked.images is not None):
                picture = self.picture(number)
                aside = picture.with_name(picture.name + PARTIAL)
                save(aside, image, number)
                hashes.append(file_hash(aside))
                settle(aside, picture)
            content: dict[str, Any] = {"first": numbers.start, "pictures": hashes}
            content["detections"] = {name: [_row(one) for one in found] for name, found in looked.detections.items()}
            if looked.layouts is not None:
                content["layouts"] = [layout.to_json() for layout in looked.layouts]
            write_whole(path, json.dumps({"sha256": _content_hash(content), **content}) + "\n")
        except OSError as error:
            raise DataError(
                f"{self.folder} cannot be written ({error}); free some space, the same command then goes on"
            ) from error


def _read_commit(path: Path) -> dict[str, Any]:
    """ValueError unless it is what was written."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content.pop("sha256") != _content_hash(content):
        raise ValueError("its content has another SHA-256")
    return content


def _content_hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _row(found: Detections) -> dict[str, Any]:
    return {"labels": found.labels, "scores": found.scores.tolist(), "boxes": found.boxes_xyxy.tolist()}


def _detections(row: Mapping[str, Any]) -> Detections:
    """As it was: single precision survives JSON's decimals."""
    boxes = np.asarray(row["boxes"], np.float32).reshape(-1, 4)
    return Detections(tuple(row["labels"]), np.asarray(row["scores"], np.float32), boxes)
