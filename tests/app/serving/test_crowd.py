"""A crowd at one studio: nobody is lost without a word. `python -m benchmarks.crowd` asks for more of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.process
@pytest.mark.long
def test_nobody_is_lost_in_a_crowd(model_folder: Path) -> None:
    words = ["--model", str(model_folder), "--clients", "60", "--requests", "12", "--size", "64", "--seconds", "120"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.crowd", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    crowd = found["crowd"]
    assert crowd["ended"] == {"left": 15, "slow: an image": 15, "waits: an image": 30, "lost without a word": 0}
    assert crowd["told that the queue is full"] > 0
    before, most, _ = crowd["MB before, at most, after"]
    assert most - before < 300
    assert found["one after the other"]["requests"] == 12
