"""Help comes at once: a command's parser imports no heavy library."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detdiffusion.core.assets import BUNDLED_MODEL

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "accelerate", "ultralytics", "gradio", "scipy")
SECONDS = 1.0  # of the processor

ALL_PARSERS = f"""
import contextlib, io, json, sys
import app.__main__, detdiffusion.__main__, training.__main__
from training.__main__ import VERBS

def loaded():
    return [name for name in {HEAVY} if name in sys.modules]

def help_of(main, *words):
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return {{"loaded": loaded(), "usage": said.getvalue().startswith("usage: ")}}

found = {{f"training {{verb}}": help_of(training.__main__.main, verb) for verb in VERBS}}
found["training"] = help_of(training.__main__.main)
found["detdiffusion"] = help_of(detdiffusion.__main__.main)
found["app"] = help_of(app.__main__.main)
print(json.dumps(found))
"""


def test_no_parser_imports_a_heavy_library() -> None:
    done = subprocess.run([sys.executable, "-c", ALL_PARSERS], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert len(found) == 26
    assert {name: about for name, about in found.items() if about != {"loaded": [], "usage": True}} == {}


SIGN_OF_LIFE = 3.0  # seconds


@pytest.mark.process
@pytest.mark.alone
def test_a_long_command_shows_at_once_that_it_lives(tmp_path: Path) -> None:
    words = ["--layouts", "papercut:1@900000", "--strategy", "hard", "--count", "1", "--steps", "1"]
    command = [sys.executable, "-m", "training", "generate", "--model", str(BUNDLED_MODEL), *words, "--out"]
    started = time.monotonic()
    with subprocess.Popen([*command, str(tmp_path / "out")], cwd=ROOT, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        first = child.stderr.readline()
        waited = time.monotonic() - started
        child.kill()
    assert first.strip() and waited < 3 * SIGN_OF_LIFE, "machines of CI may be slow"


@pytest.mark.parametrize("words", ["training", "training train", "training evaluate", "detdiffusion", "app"])
def test_help_is_cheap(words: str) -> None:
    before = _spent()
    command = [sys.executable, "-m", *words.split(), "--help"]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    assert _spent() - before < SECONDS


def _spent() -> float:
    """Processor seconds of all children of this process that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
