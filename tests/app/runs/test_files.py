"""What is read while it is being written: half lines, long files, progress bars."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from app.runs.files import MAX_ROWS, log_tail, read_object, read_rows, sample_files


def write_rows(path: Path, count: int, padding: int = 0) -> None:
    rows = ({"step": step, "total": 1 / step, "pad": "x" * padding} for step in range(1, count + 1))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_rows_of_a_short_file_are_all_there(tmp_path: Path) -> None:
    write_rows(tmp_path / "m.jsonl", 50)
    assert read_rows(tmp_path / "m.jsonl") == [{"step": step, "total": 1 / step} for step in range(1, 51)]


def test_rows_of_a_long_file_are_spread_and_end_with_the_last(tmp_path: Path) -> None:
    write_rows(tmp_path / "m.jsonl", 6000, padding=150)
    rows = read_rows(tmp_path / "m.jsonl")
    steps = [row["step"] for row in rows]
    assert MAX_ROWS / 2 < len(rows) < 1.2 * MAX_ROWS
    assert steps == sorted(set(steps))
    assert steps[-1] == 6000
    gaps = [after - before for before, after in pairwise(steps)]
    assert max(gaps) < 3 * 6000 / MAX_ROWS
    assert all(row["total"] == 1 / row["step"] for row in rows)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ('{"step": 1, "total": 2}\n{"step": 2, "tot', [{"step": 1, "total": 2}]),
        ('{"step": 1, "total": null}\n', [{"step": 1}]),
        ('{"step": 2}\n{"step": 1}\n{"step": 2, "total": 5}\n', [{"step": 1}, {"step": 2, "total": 5}]),
        ('[1]\n"x"\n{"total": 1}\n{"step": true}\n', []),
    ],
)
def test_rows_that_cannot_be_used_are_left_out(tmp_path: Path, text: str, expected: list[dict[str, float]]) -> None:
    (tmp_path / "m.jsonl").write_text(text)
    assert read_rows(tmp_path / "m.jsonl") == expected


def test_missing_files_are_empty(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "no.jsonl") == []
    assert log_tail(tmp_path / "no.txt") == []
    assert read_object(tmp_path / "no.json") is None
    assert sample_files(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ("10%\r50%\r100%\ndone\n", ["100%", "done"]),
        ("10%\r50%\r", ["50%"]),
        ("a\n\n\nb", ["a", "b"]),
    ],
)
def test_log_shows_what_a_terminal_would(tmp_path: Path, text: str, expected: list[str]) -> None:
    (tmp_path / "log.txt").write_bytes(text.encode())
    assert log_tail(tmp_path / "log.txt") == expected


def test_long_log_is_cut_at_a_line(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("".join(f"line {number:06d}\n" for number in range(10_000)))
    lines = log_tail(tmp_path / "log.txt", count=100_000)
    assert lines[-1] == "line 009999"
    assert set(map(len, lines)) == {11}
    assert len(lines) < 5_000


def test_sample_grids_by_step(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    for name in ("step-00000250.png", "step-00001000.png", "step-00000500.png.partial", "step-x.png", "notes.txt"):
        (tmp_path / "samples" / name).touch()
    assert list(sample_files(tmp_path)) == [250, 1000]
