"""What long commands share: a progress bar, arguments that many of them take, a claim on a folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from detdiffusion.core.arguments import add_old_name, positive
from detdiffusion.errors import DataError
from training.core.schedule import OnStep
from training.core.status import StatusWriter, status_writer


def add_config(parser: argparse.ArgumentParser, of: str) -> None:
    """`--config FILE`, for `training.core.settings.read_settings`."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"JSON or YAML with fields of {of}; config.json of a run is one"
    )


def add_set(parser: argparse.ArgumentParser, of: str, example: str) -> None:
    """`--set FIELD=VALUE ...`, for `training.core.settings.with_settings`."""
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="FIELD=VALUE", help=f"fields of {of}, as {example}"
    )


def add_updates(parser: argparse.ArgumentParser, of: str = "") -> None:
    """`--updates N`, of every command that trains; steps of a sampler are `--steps`. Version 0.1 had `--steps` here."""
    parser.add_argument(
        "--updates",
        dest="steps",
        type=positive,
        metavar="N",
        help=f"updates of the training{of or ', the same as --set steps=N'}",
    )
    add_old_name(parser, "--steps", "--updates")


def add_image_size(parser: argparse._ActionsContainer, dest: str, default: str) -> None:
    """`--image-size PIXELS`, of every command that makes or looks at squares."""
    parser.add_argument(
        "--image-size", dest=dest, type=positive, metavar="PIXELS", help=f"side of the images (default {default})"
    )


def add_weights(parser: argparse.ArgumentParser, what: str) -> None:
    """`--weights FILE`, of every command that trains and may start from weights; `--start` in version 0.1."""
    parser.add_argument("--weights", dest="start", type=Path, metavar="FILE", help=what)
    add_old_name(parser, "--start", "--weights")


def add_examples(parser: argparse.ArgumentParser, otherwise: str = "none") -> None:
    """`--examples FILE ...`, of every command that writes a model folder with examples inside."""
    parser.add_argument(
        "--examples",
        nargs="+",
        type=Path,
        default=(),
        metavar="FILE|DIR",
        help="layouts as JSON, or folders of them: examples that the studio shows with the model, of which the first "
        f"opens it; they lie in its folder layouts/ (default: {otherwise})",
    )


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """`--dry-run`, of every command that works for long."""
    parser.add_argument(
        "--dry-run", action="store_true", help="check all that the command will need, and write nothing"
    )


def nothing_is_missing() -> int:
    """How a dry run ends that found nothing wrong."""
    print("dry run: nothing is missing", file=sys.stderr)
    return 0


def check_there(*paths: Path | None, what: str = "") -> None:
    """DataError where one of the files or folders that a command needs is missing: said before libraries are loaded."""
    for path in paths:
        if path is not None and not path.exists():
            raise DataError(f"{path}: no such {what or 'file or folder'}")


@contextmanager
def progress(name: str, unit: str = "step", *, tell: bool = True) -> Iterator[Report]:
    """A progress bar with time left, on standard error; one line every ten seconds where that is not a terminal.

    What it is told goes into the command's `status.json` too (training/core/status.py).

    Args:
        unit: what is counted, one of it.
        tell: False: the bar alone, of a part whose command counts the whole by itself.
    """
    bar = tqdm(desc=name, dynamic_ncols=True, mininterval=0.5 if sys.stderr.isatty() else 10.0)
    try:
        yield Report(bar, status_writer() if tell else StatusWriter(None), name, unit)
    finally:
        bar.close()


@contextmanager
def progress_in_first(first: bool, name: str, unit: str = "step") -> Iterator[OnStep]:
    """As `progress`, of one process among many: a bar in the first, nothing in the others."""
    if not first:
        yield lambda done, total, metrics: None
        return
    with progress(name, unit) as report:
        yield report


class Report:
    """Callable(done, total, metrics) that feeds a bar and a status file; the time left is counted from this run's own
    first report."""

    def __init__(self, bar: tqdm[None], status: StatusWriter, stage: str, unit: str) -> None:
        self.bar, self.status, self.stage, self.unit = bar, status, stage, unit

    def __call__(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Moves the bar to the finished steps."""
        if self.bar.total is None:
            self.bar.reset(total)
            self.bar.initial = done - 1
            self.bar.n = done - 1
        self.bar.set_postfix({k: f"{v:.3g}" for k, v in metrics.items()}, refresh=False)
        self.bar.update(done - self.bar.n)
        self.status.progress(done, total, self.stage, self.unit)
