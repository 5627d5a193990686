"""python -m training: what is typed wrong ends with 2 and one line; what is right with 0."""

import argparse
import ast
import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detdiffusion.core.assets import BUNDLED_MODEL
from training.__main__ import VERBS, build_parser, main
from training.data.filters import EVERYTHING, NO_FILTER, LayoutFilter, filter_of

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
        (("papercut", "--images", "1", "--out", str(Path(__file__))), "is a file, and a folder is needed"),
        (
            ("papercut", "--images", "1", "--out", str(Path(__file__) / "a")),
            "test_main.py is a file, so nothing can be",
        ),
        (
            ("evaluate", "--model", "m", "--layouts", "papercut:1@0", "--out", "."),
            ". is a folder, and a file is needed",
        ),
        (("annotate", "--data", "absent", "--detector", "bundled", "--out", "a.jsonl"), "absent: no such folder"),
        (("annotate", "--data", ".", "--detector", "absent.pt", "--out", "a.jsonl"), "no detector at"),
        (("detector", "--data", ".", "--weights", "absent.pt", "--out", "d"), "absent.pt: no such file"),
        (("loop", "--config", "absent.yaml"), "absent.yaml cannot be read: no such file or folder"),
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
    sentence = f"{VERBS[verb].help[0].upper()}{VERBS[verb].help[1:]}."
    assert (
        sentence in out and f"python -m training {verb} {VERBS[verb].example}" in out and "exit codes: 0: done" in out
    )


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_of_a_help_is_taken(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert build_parser(verb).parse_args([verb, *shlex.split(VERBS[verb].example)]).run is not None


SEVERAL = {  # flags that take more than one form of the same thing
    "--out": {"DIR", "FILE.jsonl", "FILE.json"},  # what is written, a folder or a file
    "--detector": {"NAME|PATH", "NAME|PATH|none", "NAME|PATH,...", "DIR"},  # the last is copied into a model
    "--layouts": {"papercut:COUNT@FIRST_SEED|DIR|FILE.jsonl", "papercut:COUNT@FIRST_SEED"},
    "--attribute-guidance": {"A", "A,..."},
    "--baselines": {"NAME,...", "DIR,..."},  # to train, to compare with
    "--dry-run": {"before-attributes", None},
    "--images": {"N", "DIR"},  # how many papercut draws, where those of a COCO file are
    "--preset": {None, "P"},
}


def test_the_same_word_means_the_same_in_every_verb() -> None:
    """A flag that several verbs have is of one type, and names its value alike."""
    found: dict[str, set[tuple[Any, ...]]] = {}
    for verb in VERBS:
        for action in _actions(verb):
            for flag in action.option_strings:
                kind = getattr(action.type, "__name__", None)
                found.setdefault(flag, set()).add((action.metavar, kind if flag not in SEVERAL else "", action.nargs))
    several = {flag: {one[0] for one in kinds} for flag, kinds in found.items() if len(kinds) > 1}
    assert several == SEVERAL | {"--seed": {"N"}}, "--seed of noise has an upper bound"


READING = {"--images", "--split-by", "--strict"}  # how data are read, beside --split


def test_whoever_reads_a_split_reads_data_in_every_form() -> None:
    found = {verb: READING & set(flags) for verb in VERBS if "--split" in (flags := _flags(verb))}
    assert len(found) == 11
    assert {verb: flags for verb, flags in found.items() if flags != READING} == {}


@pytest.mark.parametrize("verb", ["subset", "annotate", "train", "evaluate", "generate", "layouts"])
def test_filters_begin_alike(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [verb, *shlex.split(VERBS[verb].example)]
    chosen = filter_of(build_parser(verb).parse_args([word for word in words if word not in ("--filter", "protocol")]))
    assert chosen == (replace(EVERYTHING, crowds=False) if verb == "subset" else NO_FILTER)
    protocol = filter_of(build_parser(verb).parse_args([*words, "--filter", "protocol", "--min-objects", "1"]))
    assert protocol == LayoutFilter(min_objects=1)


@pytest.mark.parametrize(
    ("verb", "old", "new"),
    [
        ("train", "--steps", "--updates"),
        ("autoencoder", "--steps", "--updates"),
        ("autoencoder", "--size", "--image-size"),
        ("causes", "--size", "--image-size"),
        ("papercut", "--size", "--image-size"),
        ("papercut", "--difficulty", "--hard-share"),
        ("generate", "--difficulty", "--attribute-guidance"),
    ],
)
def test_words_of_version_0_1_are_taken(verb: str, old: str, new: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    words = [verb, *shlex.split(VERBS[verb].example)]
    before, after = (build_parser(verb).parse_args([*words, flag, "1"]) for flag in (old, new))
    assert vars(before) == vars(after)
    assert old not in _flags(verb)


def test_required_words_of_version_0_1_are_taken() -> None:
    words = ["--synthetic", "made", "--detector", "yolo11n", "--out", "absent"]
    before = build_parser("trainability").parse_args(["trainability", *words, "--real", "d", "--start", "w.pth"])
    after = build_parser("trainability").parse_args(["trainability", *words, "--data", "d", "--weights", "w.pth"])
    assert vars(before) == vars(after)


WITH_DEVICE = {
    "annotate": ("--data", "data", "--detector", "bundled"),
    "diagnose": ("--data", "data", "--detector", "bundled"),
    "train": ("--preset", "papercut-cpu", "--data", "data"),
    "bundle": ("--preset", "cpu"),
    "autoencoder": ("--data", "data"),
    "causes": (),
    "detector": ("--arch", "fasterrcnn_resnet18_fpn", "--data", "data"),
    "distill": ("--model", str(BUNDLED_MODEL)),
    "evaluate": ("--model", str(BUNDLED_MODEL), *LAYOUTS),
    "ablation": ("--preset", "small"),
    "pilots": ("--samples", "run", "--pilots", "pilots.json", "--minutes", "1"),
    "generate": ("--model", str(BUNDLED_MODEL), *LAYOUTS, "--strategy", "easy", "--count", "1"),
    "trainability": ("--real", "data", "--synthetic", "made", "--detector", "fasterrcnn_resnet18_fpn"),
}


def test_every_verb_with_a_device_is_in_the_table() -> None:
    assert {verb for verb in VERBS if "--device" in _flags(verb)} == set(WITH_DEVICE)


def _actions(verb: str) -> list[argparse.Action]:
    (verbs,) = (one for one in build_parser(verb)._actions if isinstance(one, argparse._SubParsersAction))
    actions: list[argparse.Action] = verbs.choices[verb]._actions
    return actions


def _flags(verb: str) -> list[str]:
    return [flag for action in _actions(verb) for flag in action.option_strings]


@pytest.mark.parametrize("device", ["nonsense", "meta", "cuda:999"])
@pytest.mark.parametrize("verb", WITH_DEVICE)
def test_a_device_that_is_not_there_ends_with_2_and_a_reason(
    verb: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    out = "out.jsonl" if verb == "annotate" else "out.json"
    assert ended((verb, *WITH_DEVICE[verb], "--device", device, "--out", out)) == 2
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
    assert found == {"run", "request_of", "filter_of", "reading_of"}
