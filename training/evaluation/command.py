"""The verb: are boxes obeyed, do hard objects fool the detector and are they there, are pictures like real ones.

`python -m training evaluate` writes report.json, and beside it report.work/, from which the same command goes on after
a stop. docs/EVALUATION.md has the protocol and the format.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detdiffusion.attributes import Strategy
from detdiffusion.core.arguments import (
    DRAWING_DEVICE,
    add_batch,
    add_detector_guidance,
    add_device,
    add_fix_boxes,
    add_gligen_beta,
    add_old_name,
    add_sampling,
    amount,
    out_file,
    paths,
    words,
)
from detdiffusion.core.devices import check_device
from detdiffusion.core.files import write_sealed
from detdiffusion.detectors import BUNDLED, HELD_OUT
from detdiffusion.drawing import grid
from detdiffusion.errors import ConfigError
from detdiffusion.sampling_config import SamplingRequest
from training.core.chunks import Chunks
from training.core.cli import add_dry_run, nothing_is_missing
from training.data.filters import add_filter_arguments, filter_of
from training.data.layout_sources import describe, layout_spec, open_source
from training.data.request import add_reading_arguments, reading_of
from training.evaluation.inputs import BATCH, REAL, Plan, check_models, check_plan
from training.evaluation.store import SeenImages
from training.evaluation.variants import Variant

if TYPE_CHECKING:
    from PIL import Image

    from training.evaluation.report import EvaluationReport

SHEET = 32  # scenes on the sheet of pictures
SHEET_SUFFIXES = (".png", ".jpg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training evaluate`."""
    strategies = ",".join(Strategy)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="model folder")
    parser.add_argument(
        "--layouts",
        type=layout_spec,
        required=True,
        metavar="papercut:COUNT@FIRST_SEED|DIR|FILE.jsonl",
        help="scenes of the built-in world, such as papercut:200@900000 (900000 and up are never trained on); a data "
        "set's folder; or a file of python -m training layouts",
    )
    parser.add_argument(
        "--strategies", type=strategy_list, default=list(Strategy), metavar=strategies, help=f"default {strategies}"
    )
    parser.add_argument(
        "--detector",
        type=words,
        default=[],
        metavar="NAME|PATH,...",
        help=f"detectors, the main one first (default: the model's own: {BUNDLED}, then {HELD_OUT}); FILE.json: COCO "
        "results of another framework's detector, on the images that pictures.json in the work folder lists",
    )
    parser.add_argument("--baselines", type=paths, default=[], metavar="DIR,...", help="model folders to compare with")
    add_old_name(parser, "--rivals", "--baselines")
    parser.add_argument(
        "--attribute-guidance",
        type=_amounts,
        default=[],
        metavar="A,...",
        help="also generate the layouts of origin with attribute guidance of each strength; 0 is origin",
    )
    add_old_name(parser, "--difficulties", "--attribute-guidance")
    add_detector_guidance(parser)
    add_fix_boxes(parser)
    add_gligen_beta(parser)
    parser.add_argument("--one-hard", action="store_true", help="also test one hard object per layout, the others easy")
    parser.add_argument("--inception", type=Path, metavar="FILE", help="Inception weights for FID")
    parser.add_argument("--scene-fid", action="store_true", help="also the FID of the objects' crops")
    add_sampling(parser)
    add_batch(parser, BATCH)
    parser.add_argument("--out", type=out_file, required=True, metavar="FILE.json", help="file to write")
    parser.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE.png",
        help=f"also write the first {SHEET} scenes, the real image above each variant",
    )
    add_reading_arguments(parser)
    parser.add_argument(
        "--attributes", type=Path, metavar="FILE.jsonl", help="of `python -m training annotate`, for a data set"
    )
    add_device(parser, DRAWING_DEVICE)
    add_filter_arguments(parser)
    add_dry_run(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    out, sheet_path = arguments.out, arguments.sheet
    for path in filter(None, (out, sheet_path)):
        check_report_path(path)
    if sheet_path is not None and sheet_path.suffix.lower() not in SHEET_SUFFIXES:
        raise ConfigError(f"{sheet_path.name}: --sheet needs a name that ends with {' or '.join(SHEET_SUFFIXES)}")
    check_device(arguments.device, draws=True)
    check_models([arguments.model, *arguments.baselines], arguments.detector, arguments.inception)
    plan = request_of(arguments)
    for line in describe(plan.source):
        print(line, file=sys.stderr)
    check_plan(plan)
    from training.evaluation.run import check_evaluation, evaluate
    from training.evaluation.summary import summary

    work = out.with_name(f"{out.stem}.work")
    if arguments.dry_run:
        check_evaluation(plan, work)
        return nothing_is_missing()
    report = evaluate(plan, work)
    write_sealed(out, report.to_json())
    if sheet_path is not None:
        sheet_path.parent.mkdir(parents=True, exist_ok=True)
        sheet_of(report, work).save(sheet_path, optimize=True, quality=90)
    print("\n".join([*summary(report), str(out)]))
    return 0


def request_of(arguments: argparse.Namespace) -> Plan:
    """The evaluation that the arguments ask for."""
    return Plan(
        model=arguments.model,
        source=open_source(
            arguments.layouts, filter_of(arguments), arguments.split, arguments.attributes, reading_of(arguments)
        ),
        strategies=_with_origin(arguments.strategies, arguments.attribute_guidance),
        detectors=arguments.detector,
        baselines=arguments.baselines,
        attribute_guidances=[strength for strength in arguments.attribute_guidance if strength],
        detector_guidance=arguments.detector_guidance,
        one_hard=arguments.one_hard,
        inception=arguments.inception,
        scene_fid=arguments.scene_fid,
        sampling=SamplingRequest(
            arguments.steps,
            arguments.guidance,
            sampler=arguments.sampler,
            fix_boxes=arguments.fix_boxes,
            gligen_scheduled_sampling_beta=arguments.gligen_beta,
        ),
        batch=arguments.batch,
        device=arguments.device,
    )


def sheet_of(report: EvaluationReport, work: Path) -> Image.Image:
    """The first layouts: a row of real pictures, where there are any, above a row of each view of the first system."""
    system, count = report.systems[0], min(SHEET, report.layouts.count)
    names = [REAL] if report.real is not None else []
    names += [
        f"{system.name}/{Variant(view.strategy, view.attribute_guidance, view.detector_guidance).slug}"
        for view in system.views
    ]
    folders = [Chunks(work, name, count, report.sampler.batch) for name in names]
    return sheet([SeenImages(folder).load(range(count)) for folder in folders])


def sheet(rows: Sequence[Sequence[Image.Image]], columns: int = 8) -> Image.Image:
    """Rows of the same scenes (real, origin, easy, ...), folded into whole groups of `columns` scenes."""
    columns = min(columns, len(rows[0]))
    starts = range(0, len(rows[0]) - columns + 1, columns)
    folded = [picture for start in starts for row in rows for picture in row[start : start + columns]]
    return grid(folded, columns)


def strategy_list(text: str) -> list[Strategy]:
    """ "origin,easy,hard" -> strategies, each once."""
    names = text.split(",")
    if any(name not in tuple(Strategy) for name in names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} needs to be a list of {', '.join(Strategy)}, each at most once")
    return [Strategy(name) for name in names]


def check_report_path(path: Path) -> None:
    """ConfigError if the report could not be written there: said before the work, not after it."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; --out names the report file")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ConfigError(f"{above} is a file; --out needs a folder above the report")


def _with_origin(strategies: Sequence[Strategy], strengths: Sequence[float]) -> list[Strategy]:
    """Attribute guidance of 0 is origin."""
    return [Strategy.ORIGIN, *strategies] if 0 in strengths and Strategy.ORIGIN not in strategies else [*strategies]


def _amounts(text: str) -> list[float]:
    return [amount(word) for word in words(text)]
