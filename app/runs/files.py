"""What a training run has written into its folder (training/generator/command.py), read while it is being written."""

import json
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

from detdiffusion.core.files import json_object, read_json
from detdiffusion.errors import DataError

JOB, METRICS, PROBE = "job.json", "metrics.jsonl", "probe.jsonl"
LOG, SAMPLES, MODEL = "log.txt", "samples", "model"

MAX_ROWS = 400  # of a chart; more would be finer than a screen
ROW_BYTES = 1024  # about the longest row
TAIL_BYTES = 32_768

Row = dict[str, float]


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is none (yet)."""
    try:
        return read_json(path, json_object, DataError)
    except DataError:
        return None


def read_rows(path: Path) -> list[Row]:
    """The rows of a .jsonl file by step; of a long file at most about MAX_ROWS, evenly spread, the last ones included.

    A run may last for weeks and the page looks every other second: the cost does not grow with the file. Values that
    are no numbers (a loss that was not finite is null), and a last line that is only half written, are left out.
    """
    try:
        with path.open("rb") as file:
            lines = _spread(file)
    except FileNotFoundError:
        return []
    rows = {row["step"]: row for line in lines if (row := _row(line)) and "step" in row}
    return [rows[step] for step in sorted(rows)]


def _spread(file: BinaryIO) -> list[bytes]:
    size = file.seek(0, os.SEEK_END)
    if size <= MAX_ROWS * ROW_BYTES:
        file.seek(0)
        return file.read().splitlines()
    lines = []
    for index in range(MAX_ROWS):
        file.seek(size * index // MAX_ROWS)
        file.readline()  # the rest of the row that this offset lies in
        lines.append(file.readline())
    file.seek(size - 4 * ROW_BYTES)
    return lines + file.read().splitlines()[1:]


def _row(line: bytes) -> Row | None:
    try:
        values = json.loads(line)
        if not isinstance(values, dict):
            return None
        return {name: float(value) for name, value in values.items() if type(value) in (int, float)}
    except (ValueError, OverflowError, RecursionError):
        return None


def log_tail(path: Path, count: int = 200) -> list[str]:
    """The last lines of a log; of a progress bar that was drawn over and over, its last state."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = text.split("\n")[1 if size > TAIL_BYTES else 0 :]
    shown = [next((part for part in reversed(line.split("\r")) if part.strip()), "") for line in lines]
    return [line.rstrip() for line in shown if line][-count:]


def sample_files(run: Path) -> dict[int, Path]:
    """Step -> sample grid, by step."""
    found = {}
    for path in (run / SAMPLES).glob("step-*.png"):
        if number := re.fullmatch(r"step-(\d+)", path.stem):
            found[int(number[1])] = path
    return dict(sorted(found.items()))
