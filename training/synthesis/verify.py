"""python -m training verify DIR: is every picture of a generated data set there once, and whole, and does every file
of labels say what was committed."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from detdiffusion.core.files import file_hash
from detdiffusion.core.json_stream import elements
from detdiffusion.errors import DataError
from training.core.chunks import COMMIT, Chunks
from training.core.cli import progress
from training.core.schedule import OnStep
from training.core.status import STATUS, RunState, status_writer, tells
from training.synthesis.exports import ANNOTATIONS, exported
from training.synthesis.store import read_chunks, read_manifest

SHOWN = 10  # faults
LARGEST = 100_000_000  # bytes of JSON that is compared by what it says


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training verify`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="--out of python -m training generate")


@tells(lambda arguments: arguments.folder / STATUS, "image")
def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 when something is wrong; bad input is a `DetDiffusionError` (exit code 2)."""
    chunks = read_chunks(arguments.folder)
    with progress("verify", "image") as report:
        found = look_at(chunks, report)
    print(found.line())
    faults = found.lines()
    for fault in faults[:SHOWN]:
        print(fault, file=sys.stderr)
    if len(faults) > SHOWN:
        print(f"... and {len(faults) - SHOWN} more", file=sys.stderr)
    if faults:
        status_writer().end(RunState.FAILED, faults[0])
    return 1 if faults else 0


@dataclass(frozen=True, slots=True)
class Found:
    """What a job's pictures are: each of them is whole, missing, double or damaged, one of these. others: faults that
    are of no one picture."""

    count: int
    missing: tuple[int, ...]
    double: Mapping[int, int]  # number -> how often it is there
    damaged: Mapping[int, str]  # number -> what is wrong
    others: tuple[str, ...]

    def line(self) -> str:
        """The counts; the first four add up to the pictures."""
        whole = self.count - len(self.missing) - len(self.double) - len(self.damaged)
        return (
            f"{self.count} images: {whole} whole, {len(self.missing)} missing, {len(self.double)} double, "
            f"{len(self.damaged)} damaged; {len(self.others)} other faults"
        )

    def lines(self) -> list[str]:
        """Every fault, one a line."""
        missing = [f"image {number} is missing" for number in self.missing]
        double = [f"image {number} is there {times} times" for number, times in self.double.items()]
        return [*missing, *double, *dict.fromkeys(self.damaged.values()), *self.others]


def look_at(chunks: Chunks, on_step: OnStep) -> Found:
    """Looks at every commit, every file, and the list of annotations."""
    seen, damaged, others, refused = Counter[int](), dict[int, str](), list[str](), set[int]()
    commits = sorted(chunks.home.glob(f"*/{COMMIT}"))
    for done, commit in enumerate(commits, start=1):
        on_step(chunks.count * done // len(commits), chunks.count, {})
        name = commit.parent.name
        if not name.isdecimal() or int(name) >= len(chunks):
            others.append(f"{commit.parent} belongs to no chunk of this job")
            continue
        try:
            rows = chunks.rows(int(name))
        except DataError as error:
            damaged |= dict.fromkeys(chunks.numbers(int(name)), str(error))
            continue
        seen.update(int(row["id"]) for row in rows)
        refused |= {int(row["id"]) for row in rows if row.get("refused")}
        if [row["id"] for row in rows] != list(chunks.numbers(int(name))):
            others.append(f"{commit} lists other images than those of its chunk")
        damaged |= {int(row["id"]): fault for row in rows if (fault := chunks.fault(row))}
    missing = tuple(number for number in range(chunks.count) if not seen[number] and number not in damaged)
    double = {number: times for number, times in sorted(seen.items()) if times > 1 and number not in damaged}
    stray = [f"image {number} is not of this job" for number in seen if not 0 <= number < chunks.count]
    damaged = {number: fault for number, fault in damaged.items() if 0 <= number < chunks.count}
    return Found(chunks.count, missing, double, damaged, (*others, *stray, *_annotated(chunks, missing, refused)))


def _annotated(chunks: Chunks, missing: Collection[int], refused: Collection[int]) -> list[str]:
    """annotations.json lists every picture that is there and was not refused once, and no other."""
    path = chunks.root / ANNOTATIONS
    if not path.exists():
        return [f"{path} is missing: run generate again"]
    try:
        listed = Counter(int(row["id"]) for _, row in elements(path, ("images",)))
    except (DataError, KeyError, TypeError, ValueError, OverflowError) as error:
        return [f"{path} is damaged ({error}): run generate again"]
    there = (number for number in range(chunks.count) if number not in missing)
    wrong = [number for number in there if listed[number] != (number not in refused)]
    extra = sorted(set(listed) - set(range(chunks.count)))
    faults = [f"{path} lists image {number} {listed[number]} times" for number in wrong]
    faults += [f"{path} lists image {number}, which this job does not have" for number in extra]
    return faults or ([] if missing else list(_changed(chunks)))


def _changed(chunks: Chunks) -> Iterator[str]:
    """Exported files that are gone, or say something else than the commits: they are made once more, and compared."""
    settings = read_manifest(chunks.root)
    things = tuple(settings["classes"]["things"])
    with TemporaryDirectory() as scratch:
        for made in exported(chunks, settings, things, Path(scratch)):
            name = made.relative_to(scratch)
            found = chunks.root / name
            if not found.is_file():
                yield f"{found} is missing: run generate again"
            elif not _same(made, found):
                yield f"{found} says something else than the commits: run generate again"
            made.unlink()


def _same(made: Path, found: Path) -> bool:
    """By their bytes; JSON by what it says, for versions lay it out in their own ways."""
    if file_hash(made) == file_hash(found):
        return True
    if made.suffix != ".json" or made.stat().st_size > LARGEST:
        return False
    try:
        return bool(json.loads(made.read_bytes()) == json.loads(found.read_bytes()))
    except (ValueError, RecursionError):
        return False
