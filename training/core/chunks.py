"""Images in committed chunks: whatever kills the process, what is committed is not made again.

A chunk is a folder. It is written beside its place and comes there by one rename, with the SHA-256s of its images in
its commit.json: whoever dies, and however many work on one job, a chunk is there as a whole and once, or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detdiffusion.core.files import file_hash, folder_written_aside, json_hash, read_json, sweep
from detdiffusion.errors import DataError, why

COMMIT = "commit.json"

Row = dict[str, Any]  # what a commit says of one image
Save = Callable[[Path], None]  # writes an image


@dataclass(frozen=True, slots=True)
class Chunks:
    """`count` images, `size` in a chunk: ROOT/INSIDE/00000/000000.png, ..., each chunk with a commit.json."""

    root: Path
    inside: str  # a folder below the root, with forward slashes
    count: int
    size: int

    def __len__(self) -> int:
        return -(-self.count // self.size)

    @property
    def home(self) -> Path:
        """Where the chunks lie."""
        return self.root / self.inside

    def numbers(self, chunk: int) -> range:
        """Of a chunk's images."""
        return range(chunk * self.size, min((chunk + 1) * self.size, self.count))

    def folder(self, chunk: int) -> Path:
        """Where the files of a chunk lie."""
        return self.home / f"{chunk:05d}"

    def file(self, number: int) -> str:
        """An image's, relative to the root."""
        return f"{self.inside}/{number // self.size:05d}/{number:06d}.png"

    def done(self) -> set[int]:
        """Chunks that are committed."""
        return {chunk for chunk in range(len(self)) if (self.folder(chunk) / COMMIT).is_file()}

    def missing(self) -> list[int]:
        """Chunks that are not."""
        done = self.done()
        return [chunk for chunk in range(len(self)) if chunk not in done]

    def rows(self, chunk: int) -> list[Row]:
        """Of a committed chunk's images.

        Raises:
            DataError: the commit is missing or damaged.
        """
        remedy = "run the same command again, the chunk is then made anew"
        return read_json(self.folder(chunk) / COMMIT, _committed, DataError, remedy)

    def all_rows(self) -> Iterator[Row]:
        """Of every image, in order: one chunk at a time is held."""
        for chunk in range(len(self)):
            yield from self.rows(chunk)

    def commit(self, chunk: int, saves: Sequence[Save] | None, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Puts a chunk in its place; False if it had been put there meanwhile, and ours is gone.

        saves: one for each image; None: the rows are kept alone.

        Raises:
            DataError: the disk is full, or cannot be written.
        """
        place = self.folder(chunk)
        try:
            with folder_written_aside(place) as aside:
                kept = [{} for _ in rows] if saves is None else self._save(chunk, saves, aside)
                numbered = zip(self.numbers(chunk), kept, rows, strict=True)
                written = [{"id": number, **about, **row} for number, about, row in numbered]
                text = json.dumps({"sha256": json_hash(written), "pictures": written}) + "\n"
                (aside / COMMIT).write_text(text, encoding="utf-8")
        except OSError as error:
            if (place / COMMIT).is_file():
                return False
            raise DataError(
                f"{place} cannot be written ({why(error)}): free some space, the same command then goes "
                "on; what is committed stays"
            ) from error
        return True

    def faults(self, chunk: int) -> list[str]:
        """What is wrong with a committed chunk, image by image; empty where all is whole."""
        try:
            rows = self.rows(chunk)
        except DataError as error:
            return [str(error)]
        wanted = list(self.numbers(chunk))
        if [row.get("id") for row in rows] != wanted:
            return [f"{self.folder(chunk) / COMMIT} lists other images than {wanted[0]} to {wanted[-1]}"]
        return [fault for row in rows if (fault := self.fault(row))]

    def repair(self, chunk: int) -> str | None:
        """Takes a damaged chunk away, so that it is made again, and says what was wrong; None: nothing was."""
        faults = self.faults(chunk) if self.folder(chunk).exists() else []
        if not faults:
            return None
        self.take_away(chunk)
        return faults[0]

    def take_away(self, chunk: int) -> None:
        """Deletes a chunk, so that it is made again."""
        shutil.rmtree(self.folder(chunk))

    def sweep(self) -> None:
        """Removes what processes that are gone have left half written."""
        sweep(self.home)

    def _save(self, chunk: int, saves: Sequence[Save], aside: Path) -> list[Row]:
        """Each image's file and SHA-256."""
        kept = []
        for number, save in zip(self.numbers(chunk), saves, strict=True):
            path = aside / f"{number:06d}.png"
            save(path)
            kept.append({"file": self.file(number), "sha256": file_hash(path)})
        return kept

    def fault(self, row: Row) -> str | None:
        """What is wrong with the file of a committed image; None: nothing, or only the row was kept."""
        if "file" not in row:
            return None
        path = self.root / str(row["file"])
        if not path.is_file():
            return f"{path} is missing"
        return None if file_hash(path) == row["sha256"] else f"{path} is damaged: it has another SHA-256"


def _committed(content: Any) -> list[Row]:
    rows: list[Row] = content["pictures"]
    if content["sha256"] != json_hash(rows):
        raise ValueError("its content has another SHA-256")
    return rows
