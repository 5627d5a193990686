"""What `make test` runs, and the line that it ends with."""

import os
import subprocess
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

REPORT = '<testsuites><testsuite tests="{}" failures="{}" errors="{}" skipped="{}"/></testsuites>'


@pytest.fixture(scope="module")
def suite() -> ModuleType:
    spec = spec_from_file_location("suite", Path(__file__).with_name("suite.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("codes", "counts", "code", "lines"),
    [
        ((0, 0), ((7, 0, 0, 1), (1, 0, 0, 0)), 0, ["== 0 min 0 s", "tests: 7 passed, 0 failed, 1 skipped"]),
        ((1, 0), ((7, 1, 1, 0), (1, 0, 0, 0)), 1, ["== 0 min 0 s: FAILED", "tests: 6 passed, 2 failed, 0 skipped"]),
        ((0, 1), ((7, 0, 0, 0), (1, 1, 0, 0)), 1, ["== 0 min 0 s: FAILED", "tests: 7 passed, 1 failed, 0 skipped"]),
        ((0, 5), ((7, 0, 0, 0), (0, 0, 0, 0)), 0, ["== 0 min 0 s", "tests: 7 passed, 0 failed, 0 skipped"]),
        ((0, 4), ((7, 0, 0, 0), None), 4, ["== 0 min 0 s: FAILED", "tests: 7 passed, 0 failed, 0 skipped"]),
        ((5, 5), (None, None), 5, ["== 0 min 0 s: FAILED", "tests: 0 passed, 0 failed, 0 skipped"]),
    ],
)
def test_one_line_counts_both_parts(
    suite: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    codes: tuple[int, ...],
    counts: tuple[tuple[int, ...] | None, ...],
    code: int,
    lines: list[str],
) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        number = len(calls)
        calls.append(command)
        (report,) = (Path(word.removeprefix("--junitxml=")) for word in command if word.startswith("--junitxml="))
        if counts[number] is not None:
            report.write_text(REPORT.format(*counts[number]))
        return SimpleNamespace(returncode=codes[number])

    monkeypatch.setattr(suite, "subprocess", SimpleNamespace(run=run))
    monkeypatch.setattr(suite, "time", SimpleNamespace(monotonic=lambda: 0.0))
    assert suite.main(["-x"]) == code
    assert capsys.readouterr().out.splitlines()[-2:] == lines
    assert len(calls) == 2 and all(command[-1] == "-x" for command in calls)


def test_make_calls_it() -> None:
    root = Path(__file__).resolve().parents[1]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # not as a make in make
    for target, words in (
        ("test", "tests/suite.py"),
        ("test-fast", "tests/suite.py --fast"),
        ("test-long", "tests/suite.py --long"),
    ):
        command = ["make", "-n", target]
        said = subprocess.run(command, cwd=root, env=alone, capture_output=True, text=True, check=True).stdout
        assert said.splitlines()[-1].endswith(words)


@pytest.mark.parametrize(("tier", "left_out"), [("", " and not long"), ("--long", "")])
def test_what_is_long_is_asked_for(suite: ModuleType, tier: str, left_out: str) -> None:
    side_by_side, alone = suite.parts(tier)
    assert (side_by_side[-1], alone[-1]) == (f"not alone{left_out}", f"alone{left_out}")
    assert suite.chosen([], alone) == suite.ALONE and suite.chosen([], side_by_side) == []
