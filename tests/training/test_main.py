"""python -m training: what is typed wrong ends with 2 and one line; what is right with 0."""

import argparse
import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from detdiffusion.core.assets import BUNDLED_MODEL
from training.__main__ import VERBS, build_parser, main

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = ("--layouts", "papercut:1@900000")


@pytest.mark.process
def test_papercut_writes_a_data_set(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training", "papercut", "--images", "2", "--seed", "900000", "--workers", "1"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "data")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    instances = json.loads((tmp_path / "data" / "annotations" / "instances.json").read_text())
    assert [image["id"] for image in instances["images"]] == [900_000, 900_001]


def ended(words: tuple[str, ...]) -> int:
    """The exit code, whether argparse or the verb ends the command."""
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("papercut", "--images", "0", "--out", "x"), "0 is not a positive number"),
        (("papercut", "--images", "two", "--out", "x"), "two is not a whole number"),
        (("papercut", "--images", "1", "--hard-share", "2", "--out", "x"), "2 is not between 0 and 1"),
        (("papercut", "--images", "1", "--difficulty", "2", "--out", "x"), "2 is not between 0 and 1"),
        (("papercut", "--images", "1", "--out", str(Path(__file__))), "Not a directory"),
        (("bundle", "--preset", "tpu", "--out", "x"), "tpu"),
        (("evaluate", "--model", "absent", "--layouts", "papercut:1@900000", "--out", "x/r.json"), "absent"),
        (
            ("evaluate", "--model", "m", "--layouts", "papercut:1@0", "--out", "x/r.json", "--sheet", "x/s.txt"),
            "s.txt: --sheet needs a name that ends with .png or .jpg",
        ),
        (("no-such-verb",), "no-such-verb"),
        ((), "VERB"),
    ],
)
def test_bad_words_end_with_2_and_a_reason(
    words: tuple[str, ...],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ended(words) == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", VERBS)
def test_help_reads_well(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended((verb, "--help")) == 0
    out = capsys.readouterr().out
    last = {"layouts": "--ignore", "convert": "--fill", "verify": "DIR", "loop": "--config"}
    assert out.startswith(f"usage: python -m training {verb} ") and last.get(verb, "--out") in out


WITH_DEVICE = {
    "bundle": ("--preset", "cpu"),
    "autoencoder": ("--data", "data"),
    "causes": (),
    "detector": ("--arch", "fasterrcnn_resnet18_fpn", "--data", "data"),
    "evaluate": ("--model", str(BUNDLED_MODEL), *LAYOUTS),
    "ablation": ("--preset", "small"),
    "pilots": ("--samples", "run", "--pilots", "pilots.json", "--minutes", "1"),
    "generate": ("--model", str(BUNDLED_MODEL), *LAYOUTS, "--strategy", "easy", "--count", "1"),
    "trainability": ("--real", "data", "--synthetic", "made", "--detector", "fasterrcnn_resnet18_fpn"),
}


def test_every_verb_with_a_device_is_in_the_table() -> None:
    assert {verb for verb in VERBS if "--device" in _flags(verb)} == set(WITH_DEVICE)


def _flags(verb: str) -> list[str]:
    (verbs,) = (one for one in build_parser(verb)._actions if isinstance(one, argparse._SubParsersAction))
    return [flag for action in verbs.choices[verb]._actions for flag in action.option_strings]


@pytest.mark.parametrize("device", ["nonsense", "meta", "cuda:999"])
@pytest.mark.parametrize("verb", WITH_DEVICE)
def test_a_device_that_is_not_there_ends_with_2_and_a_reason(
    verb: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ended((verb, *WITH_DEVICE[verb], "--device", device, "--out", "out.json")) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"error: --device {device}: ") and said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_arguments_end_at_the_edge() -> None:
    """A verb's `run`, and the functions that make a typed value of the arguments: nobody else sees a namespace."""
    found = set()
    for path in (ROOT / "training").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and "argparse.Namespace" in ast.unparse(node.args):
                found.add(node.name)
    assert found == {"run", "request_of", "filter_of"}
