"""What long commands share: settings that stay with a run, reading ahead, progress, numbers as arguments."""

import argparse
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detdiffusion.core.arguments import natural, positive
from detdiffusion.core.settings import keep_settings
from detdiffusion.errors import ConfigError, DataError
from training.core.cli import progress
from training.core.reading import read_ahead

SETTINGS = {"steps": 3, "rate": 0.1, "sizes": (1, 2), "name": None}


def test_the_same_settings_go_on(tmp_path: Path) -> None:
    path = tmp_path / "run" / "config.json"
    keep_settings(path, SETTINGS)
    before = path.read_bytes()
    keep_settings(path, dict(reversed(SETTINGS.items())))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 4}, "steps was 3, is 4"),
        ({"sizes": (1,), "rate": 0.2}, r"rate was 0\.1, is 0\.2; sizes was \[1, 2\], is \[1\]"),
        ({"new": 1}, "new was None, is 1"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    keep_settings(tmp_path / "config.json", SETTINGS)
    with pytest.raises(ConfigError, match=f"was started with other settings: {message}"):
        keep_settings(tmp_path / "config.json", SETTINGS | change)


def test_settings_by_their_old_names_go_on(tmp_path: Path) -> None:
    path, names = tmp_path / "config.json", {"judge": "second", "difficulty": "share"}
    path.write_text('{"first": {"difficulty": 0.1}, "judge": {"difficulty": 0.2}, "sizes": [1]}')
    now = {"first": {"share": 0.1}, "second": {"share": 0.2}, "sizes": [1]}
    keep_settings(path, now, names)
    with pytest.raises(ConfigError, match=r"settings: second\.share was 0\.2, is 0\.3\. "):
        keep_settings(path, now | {"second": {"share": 0.3}}, names)
    with pytest.raises(ConfigError, match="judge was"):
        keep_settings(path, now)


def test_settings_that_came_later_go_on(tmp_path: Path) -> None:
    path, added = tmp_path / "config.json", {"scale": 1}
    path.write_text('{"first": {"rate": 0.1}}')
    keep_settings(path, {"first": {"rate": 0.1, "scale": 1}}, added=added)
    with pytest.raises(ConfigError, match=r"settings: first\.scale was 1, is 2\. "):
        keep_settings(path, {"first": {"rate": 0.1, "scale": 2}}, added=added)


@pytest.mark.parametrize("text", ["", "{", "3"])
def test_damaged_settings_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match="is damaged"):
        keep_settings(tmp_path / "config.json", SETTINGS)


def test_reading_ahead_keeps_order_and_a_bound() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            asked.append(number)
            yield number

    for done, (item, square) in enumerate(read_ahead(items(), lambda number: number**2, ahead=3)):
        assert (item, square) == (done, done**2)
        assert len(asked) <= done + 4, "no more than 3 beyond the one in hand"
    assert done == 19
    assert list(read_ahead([], str, ahead=3)) == []


def test_what_fails_to_load_is_said_in_its_turn() -> None:
    def load(number: int) -> int:
        if number == 2:
            raise DataError("the third one")
        return number

    read = read_ahead(range(5), load, ahead=5)
    assert [next(read), next(read)] == [(0, 0), (1, 1)]
    with pytest.raises(DataError, match="the third one"):
        next(read)


def test_progress_counts_from_where_a_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress("work") as report:
        report(41, 100, {"loss": 0.5})
        report(60, 100, {"loss": 0.25})
        assert (report.bar.n, report.bar.total, report.bar.initial) == (60, 100, 40)
        assert "loss=0.25" in str(report.bar)


@pytest.mark.parametrize("text", ["-1", "1.5", "two", ""])
def test_no_numbers(text: str) -> None:
    for kind in (natural, positive):
        with pytest.raises(argparse.ArgumentTypeError, match="not a whole number"):
            kind(text)


def test_numbers() -> None:
    assert (natural("0"), natural("12"), positive("1")) == (0, 12, 1)
    with pytest.raises(argparse.ArgumentTypeError, match="0 is not a positive number"):
        positive("0")
