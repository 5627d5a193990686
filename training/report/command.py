"""python -m training report REPORT.json... --out DIR: one page of what was measured, with pictures and plots."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from detdiffusion.core.arguments import out_folder
from detdiffusion.core.files import write_text
from detdiffusion.errors import ConfigError
from training.core.cli import add_dry_run, nothing_is_missing
from training.core.status import STATUS, tells
from training.report.blocks import Block, to_html, write_markdown
from training.report.data import Evaluation, Report, read_report
from training.report.sections import evaluation_sections
from training.report.study_tables import AblationTable
from training.report.tables import ablation_sections, trainability_sections

TITLE = "DetDiffusion: evaluation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training report`."""
    parser.add_argument(
        "reports", type=Path, nargs="+", metavar="REPORT.json", help="of evaluate, ablation or trainability"
    )
    parser.add_argument(
        "--out", type=out_folder, required=True, metavar="DIR", help="gets report.html, report.md and files/"
    )
    add_dry_run(parser)


@tells(lambda arguments: arguments.out / STATUS)
def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    reports = [read_report(path) for path in arguments.reports]
    if arguments.dry_run:
        return nothing_is_missing()
    print(write_report(reports, arguments.out))
    return 0


def write_report(reports: Sequence[Report], out: Path) -> Path:
    """Writes `out/report.html` (all inside) and `out/report.md` (plots and pictures beside it); returns the page.

    Raises:
        ConfigError: `out` is a file.
        DataError: what lies beside a report is damaged.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; --out needs a folder")
    out.mkdir(parents=True, exist_ok=True)
    blocks = [block for report in reports for block in _sections(report)]
    write_markdown(TITLE, blocks, out)
    page = out / "report.html"
    write_text(page, to_html(TITLE, blocks))
    return page


def _sections(report: Report) -> Iterator[Block]:
    match report:
        case Evaluation():
            return evaluation_sections(report)
        case AblationTable():
            return ablation_sections(report)
    return trainability_sections(report)
