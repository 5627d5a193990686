"""Help comes at once: a command's parser imports no heavy library."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.files import write_json

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
    assert len(found) == 24
    assert {name: about for name, about in found.items() if about != {"loaded": [], "usage": True}} == {}


BAD_WORDS = (  # what is wrong -> what is said; `here` is an empty folder, `file` a file
    ("annotate --data absent --detector bundled --out a.jsonl", "absent: no such folder"),
    ("annotate --data here --detector absent --out a.jsonl", "no detector at"),
    ("annotate --data here --detector bundled --out a.jsonl", "no data set in a known form"),
    ("annotate --data here --detector bundled --out a.jsonl --min-score 2", "min_score"),
    ("annotate --data here --detector nothing.yaml --folds 3 --out a.jsonl", "is no built-in architecture"),
    ("autoencoder --data absent --out r", "absent: no such folder"),
    ("autoencoder --data here --out r", "no images"),
    ("autoencoder --data here --detector absent --out r", "no detector at"),
    ("autoencoder --data here --device nonsense --out r", "--device nonsense"),
    ("bundle --preset cpu --out file", "file is a file, and a folder is needed"),
    ("bundle --preset cpu --device nonsense --out r", "--device nonsense"),
    ("causes --autoencoder absent --out r", "absent: no such"),
    ("convert absent to", "absent"),
    ("detector --arch yolo11n --data absent --out r", "absent: no such folder"),
    ("detector --arch yolo0n --data here --out r", "is no built-in architecture"),
    ("detector --arch yolo11n --data here --out r", "no data set in a known form"),
    ("detector --arch fasterrcnn_resnet18_fpn --data here --image-size 8 --out r", "image_size 8"),
    ("detector --data here --out r", "give --arch"),
    ("diagnose --data absent --detector bundled --out r", "absent: no such folder"),
    ("diagnose --data here --detector absent --out r", "no detector at"),
    ("diagnose --data here --detector bundled --out r", "no data set in a known form"),
    ("diagnose --data here --out r", "give --data and --detector, or --compare"),
    ("diagnose --compare here absent --out r", "here holds no diagnosis.json"),
    ("distill --model absent --out r", "absent is no model folder"),
    ("distill --model here --steps 0 --out r", "not a number of steps"),
    ("distill --model here --set stesp=3 --out r", "did you mean steps"),
    ("evaluate --model absent --layouts papercut:1@0 --out r.json", "absent is no model folder"),
    ("evaluate --model absent --layouts papercut:1 --out r.json", "papercut:1"),
    ("generate --model absent --layouts papercut:1@0 --strategy hard --count 1 --out r", "absent is no model folder"),
    ("generate --model here --layouts papercut:1@0 --strategy odd --count 1 --out r", "odd"),
    ("layouts --instances absent.json --out a.jsonl", "absent.json: no such file"),
    ("loop --config absent.yaml", "absent.yaml"),
    ("plan --diagnosis absent --count 1 --out a.jsonl", "absent holds no diagnosis.json"),
    ("plan --diagnosis here --count 0 --out a.jsonl", "not a positive number"),
    ("plan --diagnosis here --count 1 --out a.json", "needs to end with .jsonl"),
    ("pilots --samples absent --pilots file --minutes 1 --out r", "file"),
    ("report absent.json --out r", "absent.json"),
    ("subset --data absent --out r", "absent: no such folder"),
    ("train --preset papercut-cpu --data absent --out r", "absent: no such folder"),
    ("train --preset papercut-cpu --data here --out r", "--attributes"),
    ("train --preset papercut-cpu --data here --attributes absent.jsonl --out r", "absent.jsonl: no such file"),
    ("train --preset papercut-cpu-no-attributes --data here --out r", "no data set in a known form"),
    ("train --preset fine-tune --base absent --data here --out r", "absent"),
    ("train --data here --out r", "give --preset"),
    ("train --preset papercut-cpu --data here --set bach=3 --out r", "did you mean batch"),
    ("trainability --data absent --synthetic here --detector yolo11n --out r", "absent: no such folder"),
    ("trainability --data here --synthetic here --detector yolo0n --out r", "is no built-in architecture"),
    ("trainability --data here --synthetic here --detector yolo11n --out r", "no data set in a known form"),
    ("verify absent", "absent"),
    ("verify made", "annotations.json is missing"),
    ("verify", "DIR"),
    ("nonsense", "nonsense"),
)
WITHOUT_LIBRARIES = f"""
import contextlib, io, json, shlex, sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name in {HEAVY}:
            raise RuntimeError(f"{{name}} is imported")

sys.meta_path.insert(0, Refusing())
from training.__main__ import main
found = []
for words, _ in json.load(sys.stdin):
    code = None
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(shlex.split(words))
        except SystemExit as end:
            code = end.code
        except Exception as error:
            code = repr(error)
    found.append([words, code, said.getvalue()])
print(json.dumps(found))
"""


def test_what_is_typed_wrong_is_said_without_a_heavy_library(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "file").touch()
    write_json(tmp_path / "made" / "manifest.json", {"format": "generation-1", "count": 1, "chunk": 1})
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARIES],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        input=json.dumps(BAD_WORDS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = {words: (code, said) for words, code, said in json.loads(done.stdout)}
    assert {words: one for words, one in found.items() if one[0] != (1 if words == "verify made" else 2)} == {}
    assert {words: found[words][1] for words, reason in BAD_WORDS if reason not in found[words][1]} == {}
    assert {path.name for path in tmp_path.iterdir()} <= {"here", "file", "made", "cache"}, "bad words leave no trace"


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
    assert first.startswith("checking the model") and waited < 3 * SIGN_OF_LIFE, "machines of CI may be slow"


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
