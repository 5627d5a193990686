"""python -m training: what is typed wrong ends with 2 and one line; what is right with 0."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def training(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_papercut_writes_a_data_set(tmp_path: Path) -> None:
    done = training("papercut", "--images", 2, "--seed", 900_000, "--out", tmp_path / "data", "--workers", 1)
    assert done.returncode == 0, done.stderr
    instances = json.loads((tmp_path / "data" / "annotations" / "instances.json").read_text())
    assert [image["id"] for image in instances["images"]] == [900_000, 900_001]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("papercut", "--images", "0", "--out", "x"), "0 is not a positive number"),
        (("papercut", "--images", "two", "--out", "x"), "two is not a whole number"),
        (("papercut", "--images", "1", "--difficulty", "2", "--out", "x"), "2 is not between 0 and 1"),
        (("papercut", "--images", "1", "--out", str(Path(__file__))), "Not a directory"),
        (("bundle", "--preset", "tpu", "--out", "x"), "tpu"),
        (("evaluate", "--model", "absent", "--layouts", "papercut:1@900000", "--out", "x/r.json"), "absent"),
        (
            ("evaluate", "--model", "m", "--layouts", "papercut:1@0", "--out", "x/r.json", "--sheet", "x/s.txt"),
            "s.txt: --sheet needs a name that ends with .png or .jpg",
        ),
        (("no-such-verb",), "no-such-verb"),
    ],
)
def test_bad_words_end_with_2_and_a_reason(words: tuple[str, ...], reason: str) -> None:
    done = training(*words)
    assert done.returncode == 2
    assert reason in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["papercut", "bundle", "detector", "annotate", "evaluate"])
def test_help_reads_well(verb: str) -> None:
    done = training(verb, "--help")
    assert done.returncode == 0 and "--out" in done.stdout
