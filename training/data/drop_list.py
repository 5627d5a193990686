"""dropped.csv: everything that was left out of a data set, one line each: file, place, reason, value."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path

from detdiffusion.core.files import written_aside
from training.data.checks import Drop
from training.data.index import Index

COLUMNS = ("file", "place", "reason", "value")


def write_list(index: Index, key: str, dropped: Iterable[Drop]) -> Path | None:
    """The list beside an index, INDEX-KEY.dropped.csv; `key` says by which filter. It is written once for an index.
    None where it cannot be written: then the counts and the first names, which are printed, have to do."""
    path = index.path.with_name(f"{index.path.stem}-{key}.dropped.csv")
    try:
        if path.is_file() and path.stat().st_mtime_ns >= index.path.stat().st_mtime_ns:
            return path
        with written_aside(path, durable=False) as aside, aside.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            table.writerows(map(astuple, dropped))
    except OSError:
        return None
    return path
