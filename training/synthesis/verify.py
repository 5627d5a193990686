"""python -m training verify DIR: is every picture of a generated data set there once, and whole."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from detdiffusion.core.json_stream import elements
from detdiffusion.errors import DataError
from training.core.chunks import COMMIT, Chunks
from training.core.status import STATUS, RunState, status_writer, tells
from training.synthesis.exports import ANNOTATIONS
from training.synthesis.store import read_chunks

SHOWN = 10  # faults


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training verify`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="--out of python -m training generate")


@tells(lambda arguments: arguments.folder / STATUS, "image")
def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 when a picture is missing, double or damaged; bad input is a `DetDiffusionError` (exit code 2)."""
    chunks = read_chunks(arguments.folder)
    seen, faults = count(chunks)
    missing = [number for number in range(chunks.count) if not seen[number]]
    double = [number for number, times in seen.items() if times > 1]
    faults += [f"picture {number} is missing" for number in missing]
    faults += [f"picture {number} is there {seen[number]} times" for number in double]
    faults += _annotated(chunks)
    whole = chunks.count - len(missing)
    print(f"{chunks.count} ids: {whole} there, {len(missing)} missing, {len(double)} double, {len(faults)} faults")
    for fault in faults[:SHOWN]:
        print(fault, file=sys.stderr)
    if faults:
        status_writer().end(RunState.FAILED, faults[0])
    return 1 if faults else 0


def count(chunks: Chunks) -> tuple[Counter[int], list[str]]:
    """How often each picture is committed, and what is wrong with the commits and the files."""
    seen, faults = Counter[int](), list[str]()
    for commit in sorted(chunks.home.glob(f"*/{COMMIT}")):
        name = commit.parent.name
        if not name.isdecimal() or int(name) >= len(chunks):
            faults.append(f"{commit.parent} belongs to no chunk of this job")
            continue
        faults += chunks.faults(int(name))
        try:
            seen.update(int(row["id"]) for row in chunks.rows(int(name)))
        except DataError:
            continue  # its faults are listed
    return seen, faults


def _annotated(chunks: Chunks) -> list[str]:
    """annotations.json lists every picture once, and no other."""
    path = chunks.root / ANNOTATIONS
    if not path.exists():
        return [f"{path} is missing: run generate again"]
    try:
        listed = Counter(int(row["id"]) for _, row in elements(path, ("images",)))
    except (DataError, KeyError, TypeError, ValueError) as error:
        return [f"{path} is damaged ({error}): run generate again"]
    wrong = [number for number in range(chunks.count) if listed[number] != 1]
    extra = sorted(set(listed) - set(range(chunks.count)))
    faults = [f"{path} lists picture {number} {listed[number]} times" for number in wrong]
    return faults + [f"{path} lists picture {number}, which this job does not have" for number in extra]
