"""A job that makes a data set: what its pictures depend on, and its chunks of pictures on the disk.

A chunk is a folder. It is written beside its place and comes there by one rename, with the SHA-256s of its pictures in
its commit.json: whoever dies, and however many work on one job, a chunk is there as a whole and once, or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.attributes import Strategy
from detdiffusion.errors import DataError
from detdiffusion.files import file_hash
from training.core.devices import device_of
from training.data.layout_sources import LayoutSource
from training.synthesis.augment import Augmentation, Missed

if TYPE_CHECKING:
    from PIL import Image

    from detdiffusion.text.vocabulary import Vocabulary

FORMAT = "generation-1"
MANIFEST, COMMIT, IMAGES = "manifest.json", "commit.json", "images"
DROP, REDRAW = REFINEMENTS = ("drop", "redraw")  # what happens to objects that are not there
MOST_LAYOUTS = 5_000  # that are asked what a detector misses
SQUARE = (256, 256)  # pixels: boxes are fractions, whatever the size
THREADS = 1  # of a worker on the CPU: more workers use more cores

Row = dict[str, Any]  # of one picture, as its commit has it
Save = Callable[[Path], None]  # writes a picture


@dataclass(frozen=True, slots=True)
class Job:
    """Which pictures to make, and where. `detector`: name or path; None: nobody looks at them."""

    out: Path
    model: Path
    source: LayoutSource
    strategy: Strategy
    count: int
    seed: int
    detector: str | None
    steps: int = 20
    guidance: float = 3.0
    difficulty: float = 0.0  # of attribute guidance
    chunk: int = 64  # pictures that are committed together
    batch: int = 16  # pictures that are drawn together
    threads: int = THREADS
    augment: Augmentation | None = None
    add_missed: int = 0  # things more in a layout, at most
    refine: str | None = None  # of REFINEMENTS; None: every object stays in the annotations
    snap: bool = False  # boxes move to sure detections
    device: str | None = None

    def settings(self, model: str, detector: str | None, vocabulary: Vocabulary) -> dict[str, Any]:
        """All that the pictures depend on. model, detector: SHA-256s."""
        from detdiffusion.models.precision import preferred_dtype

        device = device_of(self.device)
        source = {"spec": self.source.spec, "fingerprint": self.source.fingerprint}
        drawing = ("count", "seed", "steps", "guidance", "difficulty", "chunk", "batch")
        names = (*drawing, "augment", "add_missed", "refine", "snap")
        return {
            "format": FORMAT,
            "model": model,
            "layouts": source,
            "strategy": self.strategy.value,
            **{name: getattr(self, name) for name in names},
            "detector": detector,
            "device": device.type,
            "threads": self.threads if device.type == "cpu" else None,
            "precision": str(preferred_dtype(device)).removeprefix("torch."),
            "classes": {"things": list(vocabulary.things), "stuff": list(vocabulary.stuff)},
        }

    def picture_seed(self, number: int, attempt: int = 0) -> int:
        """Of the noise of a picture: 48 bits, whoever draws it."""
        text = f"{self.seed}/{number}" + (f"/{attempt}" if attempt else "")
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


def missed_things(source: LayoutSource) -> Missed:
    """Of at most some thousand layouts.

    Raises:
        ConfigError: they have no attributes, or nothing in them is hard.
    """
    step = -(-len(source) // MOST_LAYOUTS)
    places = range(0, len(source), step) if source.labelled else ()
    return Missed.of(source.layout(place, SQUARE) for place in places)


@dataclass(frozen=True, slots=True)
class Chunks:
    """The chunks of a job of `count` pictures, `size` each: OUT/images/00000/, OUT/images/00001/, ..."""

    out: Path
    count: int
    size: int

    @classmethod
    def of(cls, job: Job) -> Chunks:
        return cls(job.out, job.count, job.chunk)

    @classmethod
    def read(cls, out: Path) -> Chunks:
        """Those of a job that was begun.

        Raises:
            DataError: there is none.
        """
        settings = read_manifest(out)
        return cls(out, int(settings["count"]), int(settings["chunk"]))

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def numbers(self, chunk: int) -> range:
        """Of a chunk's pictures."""
        return range(chunk * self.size, min((chunk + 1) * self.size, self.count))

    def folder(self, chunk: int) -> Path:
        return self.out / IMAGES / f"{chunk:05d}"

    def file(self, number: int) -> str:
        """A picture's, relative to the job's folder."""
        return f"{IMAGES}/{number // self.size:05d}/{number:06d}.png"

    def done(self) -> set[int]:
        """Chunks that are committed."""
        return {chunk for chunk in range(len(self)) if (self.folder(chunk) / COMMIT).is_file()}

    def missing(self) -> list[int]:
        done = self.done()
        return [chunk for chunk in range(len(self)) if chunk not in done]

    def rows(self, chunk: int) -> list[Row]:
        """Of a committed chunk's pictures.

        Raises:
            DataError: the commit is missing or damaged.
        """
        path = self.folder(chunk) / COMMIT
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            rows: list[Row] = content["pictures"]
            if content["sha256"] != _hash(rows):
                raise ValueError("its content has another SHA-256")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error}): generate again, the chunk is then drawn anew") from error
        return rows

    def all_rows(self) -> Iterator[Row]:
        """Of every picture, in order: one chunk at a time is held."""
        for chunk in range(len(self)):
            yield from self.rows(chunk)

    def commit(self, chunk: int, saves: Sequence[Save], rows: Sequence[Mapping[str, Any]]) -> bool:
        """Puts a drawn chunk in its place; False if it had been put there meanwhile, and ours is gone.

        Raises:
            DataError: the disk is full, or cannot be written.
        """
        place, aside = self.folder(chunk), self._aside(chunk)
        try:
            aside.mkdir(parents=True)
            written = []
            for number, save, row in zip(self.numbers(chunk), saves, rows, strict=True):
                path = aside / f"{number:06d}.png"
                save(path)
                _sync(path)
                written.append({"id": number, "file": self.file(number), "sha256": file_hash(path), **row})
            text = json.dumps({"sha256": _hash(written), "pictures": written}) + "\n"
            (aside / COMMIT).write_text(text, encoding="utf-8")
            _sync(aside / COMMIT)
            _sync(aside)
            return _moved(aside, place)
        except OSError as error:
            raise DataError(
                f"{place} cannot be written ({error.strerror or error}): free some space, and run the same command "
                "again; what is committed stays"
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def faults(self, chunk: int) -> list[str]:
        """What is wrong with a committed chunk, picture by picture; empty where all is whole."""
        try:
            rows = self.rows(chunk)
        except DataError as error:
            return [str(error)]
        wanted = list(self.numbers(chunk))
        if [row.get("id") for row in rows] != wanted:
            return [f"{self.folder(chunk) / COMMIT} lists other pictures than {wanted[0]} to {wanted[-1]}"]
        return [fault for row in rows if (fault := self._fault(row))]

    def take_away(self, chunk: int) -> None:
        """A damaged chunk, so that it is drawn again."""
        shutil.rmtree(self.folder(chunk))

    def sweep(self) -> None:
        """Removes what processes of this machine that are gone have left half written."""
        for path in (self.out / IMAGES).glob(".*"):
            _, host, process = path.name.rsplit("~", 2)
            if host == socket.gethostname() and not _lives(int(process)):
                shutil.rmtree(path, ignore_errors=True)

    def _aside(self, chunk: int) -> Path:
        return self.out / IMAGES / f".{chunk:05d}~{socket.gethostname()}~{os.getpid()}"

    def _fault(self, row: Row) -> str | None:
        path = self.out / str(row["file"])
        if not path.is_file():
            return f"{path} is missing"
        return None if file_hash(path) == row["sha256"] else f"{path} is damaged: it has another SHA-256"


def saver(image: Image.Image, write: Callable[[Path, Image.Image], None]) -> Save:
    return lambda path: write(path, image)


def read_manifest(out: Path) -> dict[str, Any]:
    """Settings of the job in a folder.

    Raises:
        DataError: there is none.
    """
    path = out / MANIFEST
    try:
        settings = dict(json.loads(path.read_text(encoding="utf-8")))
        if settings["format"] != FORMAT:
            raise ValueError(f"its format is {settings['format']!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{out} holds no job of `python -m training generate`: {error}") from error
    return settings


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _moved(aside: Path, place: Path) -> bool:
    """One rename. A folder that is there is never replaced."""
    try:
        aside.rename(place)
    except OSError:
        if (place / COMMIT).is_file():
            return False
        raise
    _sync(place.parent)
    return True


def _sync(path: Path) -> None:
    """Its bytes are on the disk, or, of a folder, its names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _hash(rows: Sequence[Row]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
