"""python -m training assemble: one folder for the studio, of a generator (or its student), detectors and examples.

With `--teacher` it is a student's, beside its teacher's: what both have is the teacher's, by reference.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detdiffusion.core.arguments import out_folder
from detdiffusion.core.files import folder_written_aside, json_object, read_json, write_text
from detdiffusion.core.parts import shared_parts
from detdiffusion.detectors import BUNDLED, HELD_OUT_FOLDER
from detdiffusion.detectors.folder import DESCRIPTION_FILE, read_description
from detdiffusion.diffusion.examples import Examples, bring_examples, given_examples, write_examples
from detdiffusion.diffusion.manifest import (
    LAYOUTS,
    read_recommended,
    read_teacher,
    read_vocabulary,
    verify,
    write_manifest,
)
from detdiffusion.errors import ConfigError, DataError, DetectorError
from detdiffusion.text.vocabulary import Vocabulary
from training.core.cli import add_dry_run, add_examples, check_there, nothing_is_missing
from training.generator.beside_teacher import bring_from_teacher, check_teacher, share_with_teacher

CARD = "README.md"
_NOT_COPIED = shutil.ignore_patterns("detectors", LAYOUTS, CARD)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training assemble`."""
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="model folder: a generator, or a student"
    )
    looking = parser.add_mutually_exclusive_group(required=True)
    looking.add_argument("--detector", type=Path, metavar="DIR", help="detector folder: what is easy and hard for it")
    looking.add_argument(
        "--teacher",
        type=Path,
        metavar="DIR",
        help="of a student: the model folder that it learned from, with --out beside it. Detectors and all parts that "
        "are the same stay there, and are named in the manifest",
    )
    parser.add_argument(
        "--held-out-detector",
        type=Path,
        metavar="DIR",
        help="folder of a second detector, which gave no attributes (with --teacher: the teacher's)",
    )
    add_examples(parser)
    parser.add_argument(
        "--about", type=Path, metavar="FILE.md", help="of the card: data, licence, what the model is not for"
    )
    parser.add_argument(
        "--loop",
        type=Path,
        metavar="DIR",
        help="folder of a loop: the card then has its commands, times and scores",
    )
    parser.add_argument("--out", type=out_folder, required=True, metavar="DIR", help="model folder to write")
    add_dry_run(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    model, out, teacher = arguments.model, arguments.out, arguments.teacher
    check_there(arguments.about, arguments.loop, *arguments.examples)
    words = read_vocabulary(model)
    detectors = {BUNDLED: arguments.detector, HELD_OUT_FOLDER: arguments.held_out_detector}
    for folder in filter(None, detectors.values()):
        if not set(read_description(folder).labels) & set(words.labels):
            raise DetectorError(f"{folder} knows no class of {model}: {', '.join(words.labels[:8])}")
    examples = given_examples(arguments.examples, words)
    if shared_parts(model):
        raise ConfigError(f"{model} shares parts with a model beside it: give one that is whole")
    if (out / CARD).exists() or (out.is_dir() and any(out.iterdir())):
        raise ConfigError(f"{out} is there already: delete it, or give another --out")
    if teacher is not None:
        check_teacher(model, teacher, out)
        if arguments.held_out_detector is not None:
            raise ConfigError("--held-out-detector goes with --detector: with --teacher, both are the teacher's")
    verify(model)
    if arguments.dry_run:
        return nothing_is_missing()
    with folder_written_aside(out) as folder:
        _fill(folder, model, {name: place for name, place in detectors.items() if place is not None}, examples)
        shared = []
        if teacher is not None:
            shared = bring_from_teacher(folder, teacher)
            bring_examples(examples, teacher, folder, words)
        about = "" if arguments.about is None else _text(arguments.about)
        write_text(folder / CARD, card(out.name, about, folder, words, arguments.loop, shared))
        write_manifest(folder)
        if teacher is not None:
            share_with_teacher(folder, teacher, shared)
        files = [path for path in folder.rglob("*") if path.is_file()]
        print(f"{sum(path.stat().st_size for path in files) / 1e6:.1f} MB in {len(files)} files", file=sys.stderr)
    print(out)
    return 0


def _fill(folder: Path, model: Path, detectors: Mapping[str, Path], examples: Examples) -> None:
    shutil.copytree(model, folder, dirs_exist_ok=True, ignore=_NOT_COPIED)
    for name, source in detectors.items():
        (folder / "detectors" / name).mkdir(parents=True)
        for file in (source / DESCRIPTION_FILE, *source.glob("model*.safetensors")):
            shutil.copyfile(file, folder / "detectors" / name / file.name)
    if examples.layouts:
        write_examples(examples, folder)


def card(name: str, about: str, folder: Path, words: Vocabulary, made: Path | None, shared: Sequence[str] = ()) -> str:
    """The card of a model folder, in Markdown: what a person says about it, what it knows, and how it was made.

    shared: parts that will lie with the teacher of a student.
    """
    wanted, teacher = read_recommended(folder), read_teacher(folder)
    things, stuff = (", ".join(names) or "none" for names in (words.things, words.stuff))
    rows = [("things", things), ("stuff", stuff)]
    rows += [("sampling", f"{wanted.steps} steps, guidance {wanted.guidance_scale:g}")]
    rows += [("learned from", f"`{teacher.name}`")] if teacher else []
    rows += [("lies with it", ", ".join(f"`{part}`" for part in shared))] if shared else []
    rows += [(f"`detectors/{place.name}`", read_description(place).name) for place in _detectors(folder)]
    lines = [f"# {name}", "", *([about.strip(), ""] if about.strip() else []), *_table(("", ""), rows)]
    if made is not None:
        lines += ["", "## How it was made", "", *_table(("stage", "command", "minutes"), _stages(made))]
        lines += ["", "Minutes are those of a stage's last start.", "", *_table(("measured", ""), _scores(made))]
    return "\n".join(lines) + "\n"


def _detectors(folder: Path) -> list[Path]:
    return sorted(place.parent for place in folder.glob(f"detectors/*/{DESCRIPTION_FILE}"))


def _stages(made: Path) -> Iterator[tuple[str, ...]]:
    """Of a loop's record (training/loop/perform.py), as they were done."""
    for path in sorted((made / "stages").glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        values = _read(path)
        command = shlex.join(["python", "-m", "training", *map(str, values["command"])])
        yield path.stem, f"`{command}`", f"{values['seconds'] / 60:.1f}"


def _scores(made: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(made.glob("*/*/run/report.json")):
        values = _read(path)
        shown = f"AP50 {values['AP50']:.3f}, mAP {values['mAP']:.3f} on {values['held_out']} held-out images"
        yield path.parent.parent.relative_to(made).as_posix(), shown
    path = made / "autoencoder" / "report.json"
    if path.is_file():
        values = _read(path)
        yield "autoencoder", f"{values['psnr']:.2f} dB on {values['pictures']['held_out']} held-out images"


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, json_object, DataError, "run its stage again")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except ValueError as error:
        raise DataError(f"{path} is no text in UTF-8") from error


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, str]]) -> list[str]:
    body = [tuple(cell.replace("|", r"\|") for cell in row) for row in rows]
    return ["| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *body)]
