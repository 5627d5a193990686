"""Are boxes obeyed, do hard objects fool the detector, and are they there at all: scores of a model on unseen scenes.

Attributes always come from the model's own (bundled) detector by Eq. 2 on the real picture; with the judge, which never
gave any, the same pictures are looked at by other eyes.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.attributes import AttributeRule, Strategy, apply_strategy, label_attributes
from detdiffusion.detection import Detections, Detector
from detdiffusion.detectors import BUNDLED, JUDGE, load_detector
from detdiffusion.drawing import grid
from detdiffusion.errors import ConfigError
from detdiffusion.evaluation.effect import Block, confidence_drop, hard_share, measure, numbers
from detdiffusion.layout import Attribute, Layout

if TYPE_CHECKING:
    from PIL import Image

    from detdiffusion.pipeline import DetDiffusionPipeline

BATCH = 16  # layouts a call
GUIDANCE = 3.0
SHEET = 32  # scenes on the sheet of pictures
SHEET_SUFFIXES = (".png", ".jpg")


@dataclass(frozen=True, slots=True)
class Scenes:
    """Scenes of the built-in world with true attributes: the real side of the evaluation."""

    seeds: tuple[int, ...]
    images: list[Image.Image]
    layouts: list[Layout]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m training evaluate`."""
    strategies = ",".join(Strategy)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="model folder")
    parser.add_argument(
        "--layouts",
        type=papercut_seeds,
        required=True,
        metavar="papercut:COUNT@FIRST_SEED",
        help="scenes of the built-in world, such as papercut:200@900000 (900000 and up are never trained on)",
    )
    parser.add_argument(
        "--strategies", type=strategy_list, default=list(Strategy), metavar=strategies, help=f"default {strategies}"
    )
    parser.add_argument(
        "--detector", choices=(BUNDLED, JUDGE), default=BUNDLED, help="whose scores (attributes are the bundled one's)"
    )
    parser.add_argument("--steps", type=_steps, default=20, help="of the sampler, 1 to 1000 (default 20)")
    parser.add_argument("--out", type=Path, required=True, metavar="report.json", help="file to write")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help=f"also write the first {SHEET} scenes, real above each strategy"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; bad input is a `DetDiffusionError` (exit code 2)."""
    for path in filter(None, (arguments.out, arguments.sheet)):
        check_report_path(path)
    if arguments.sheet is not None and arguments.sheet.suffix.lower() not in SHEET_SUFFIXES:
        raise ConfigError(f"{arguments.sheet.name}: --sheet needs a name that ends with {' or '.join(SHEET_SUFFIXES)}")
    report, pictures = evaluate(
        arguments.model,
        arguments.layouts,
        arguments.strategies,
        detector_name=arguments.detector,
        steps=arguments.steps,
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    if arguments.sheet is not None:
        arguments.sheet.parent.mkdir(parents=True, exist_ok=True)
        pictures.save(arguments.sheet, optimize=True, quality=90)
    print(arguments.out)
    return 0


def evaluate(
    model: Path,
    seeds: Sequence[int],
    strategies: Sequence[Strategy],
    *,
    detector_name: str = BUNDLED,
    steps: int = 20,
    guidance_scale: float = GUIDANCE,
) -> tuple[dict[str, Any], Image.Image]:
    """The report on the scenes of these seeds and a sheet of pictures.

    The report: `real`, `strategies`, `drop` (easy to hard; None unless both are asked for), `autoencoder` (what the
    detector keeps of real pictures passed through it), `judge` (the same pictures by the model's other detector, where
    it has one: hard objects must fool the first and still be found by the second), and who was asked.

    The noise of a picture is that of its scene's seed, the same for every strategy.

    Raises:
        CheckpointError, DetectorError: the model folder is missing, damaged or not whole.
    """
    from detdiffusion.checkpoint import model_hash
    from detdiffusion.pipeline import load_pipeline

    pipeline = load_pipeline(model)
    bundled = load_detector(BUNDLED, model)
    detector = bundled if detector_name == BUNDLED else load_detector(detector_name, model)
    has_judge = (model / "detectors" / JUDGE).is_dir()
    asked = [detector]
    if has_judge and detector_name != JUDGE:
        asked.append(load_detector(JUDGE, model))
    real = real_scenes(seeds, _picture_side(pipeline), bundled)
    views = {"real": [measure(real.layouts, _detect(one, real.images), one) for one in asked]}
    rows = [real.images[:SHEET]]
    for strategy in strategies:
        found, pictures = _generate(pipeline, asked, real, strategy, steps, guidance_scale)
        views[strategy] = [measure(real.layouts, seen, one) for seen, one in zip(found, asked, strict=True)]
        rows.append(pictures)
    real_block, blocks = views["real"][0], {strategy: views[strategy][0] for strategy in strategies}
    both = Strategy.EASY in blocks and Strategy.HARD in blocks
    report = {
        "real": {**real_block.to_json(), **numbers({"hard_share": hard_share(real.layouts)})},
        "strategies": {strategy.value: block.to_json() for strategy, block in blocks.items()},
        "drop": confidence_drop(blocks[Strategy.EASY], blocks[Strategy.HARD]).to_json() if both else None,
        "autoencoder": autoencoder_report(real_block, _through_autoencoder(pipeline, detector, real)),
        "detector": {"name": detector.name, "sha256": detector.sha256, "min_score": detector.min_score},
        "judge": _judgement(asked[-1], {name: view[-1] for name, view in views.items()}) if has_judge else None,
        "attributes_by": {"name": bundled.name, "sha256": bundled.sha256},
        "model": {"name": model.resolve().name, "sha256": model_hash(model)},
        "layouts": {"world": "papercut", "count": len(seeds), "first_seed": min(seeds)},
        "steps": steps,
        "guidance": guidance_scale,
    }
    return report, sheet(rows)


def sheet(rows: Sequence[Sequence[Image.Image]], columns: int = 8) -> Image.Image:
    """Rows of the same scenes (real, origin, easy, ...), folded into whole groups of `columns` scenes."""
    columns = min(columns, len(rows[0]))
    starts = range(0, len(rows[0]) - columns + 1, columns)
    folded = [picture for start in starts for row in rows for picture in row[start : start + columns]]
    return grid(folded, columns)


def _judgement(judge: Detector, views: dict[str, Block]) -> dict[str, Any]:
    """`hard_found`: its recall on objects asked to be hard, as a share of its recall on real hard objects."""
    real_hard = views["real"].by_attribute[Attribute.HARD].recall50
    asked_hard = views[Strategy.HARD].recall50 if Strategy.HARD in views else float("nan")
    return {
        "name": judge.name,
        "sha256": judge.sha256,
        **numbers({"hard_found": asked_hard / real_hard if real_hard else float("nan")}),
        **{name: block.to_json() for name, block in views.items()},
    }


def real_scenes(seeds: Sequence[int], side: int, detector: Detector) -> Scenes:
    """Scenes with the attributes that a detector gives them (Eq. 2)."""
    from training.papercut import scene

    made = [scene(seed, size=side) for seed in seeds]
    images = [one.image for one in made]
    rule = AttributeRule(min_score=detector.min_score)
    layouts = [
        label_attributes(one.layout, found, detector.labels, rule)
        for one, found in zip(made, _detect(detector, images), strict=True)
    ]
    return Scenes(tuple(seeds), images, layouts)


def autoencoder_report(real: Block, restored: Block) -> dict[str, Any]:
    """`kept`: mean confidence on truly easy objects after the autoencoder, as a share of what it was before."""
    before, after = (block.by_attribute[Attribute.EASY].mean_confidence for block in (real, restored))
    return {**numbers({"kept": after / before if before else float("nan")}), **restored.to_json()}


def papercut_seeds(text: str) -> range:
    """ "papercut:200@900000" -> 200 seeds from 900000 up."""
    parts = re.fullmatch(r"papercut:([1-9]\d{0,6})@(\d{1,9})", text)
    if parts is None:
        raise argparse.ArgumentTypeError(f"{text!r} needs the form papercut:COUNT@FIRST_SEED, as papercut:200@900000")
    count, first = int(parts[1]), int(parts[2])
    return range(first, first + count)


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


def _generate(
    pipeline: DetDiffusionPipeline,
    detectors: Sequence[Detector],
    real: Scenes,
    strategy: Strategy,
    steps: int,
    guidance_scale: float,
) -> tuple[list[list[Detections]], list[Image.Image]]:
    """What each detector sees on one generated picture a scene; the first pictures are kept for the sheet."""
    layouts = [apply_strategy(layout, strategy) for layout in real.layouts]
    found: list[list[Detections]] = [[] for _ in detectors]
    kept: list[Image.Image] = []
    for part in _batches(len(layouts), strategy.value):
        images = pipeline(layouts[part], seeds=real.seeds[part], steps=steps, guidance_scale=guidance_scale).images
        for seen, detector in zip(found, detectors, strict=True):
            seen += detector.detect(images)
        kept += images[: max(0, SHEET - len(kept))]
    return found, kept


def _through_autoencoder(pipeline: DetDiffusionPipeline, detector: Detector, real: Scenes) -> Block:
    """Real pictures encoded and decoded, nothing else, then judged as real ones are."""
    from training.autoencoder import reconstruct

    found: list[Detections] = []
    for part in _batches(len(real.images), "autoencoder"):
        found += detector.detect(reconstruct(pipeline.vae, real.images[part]))
    return measure(real.layouts, found, detector)


def _detect(detector: Detector, images: Sequence[Image.Image]) -> list[Detections]:
    return [found for part in _batches(len(images), "real") for found in detector.detect(images[part])]


def _picture_side(pipeline: DetDiffusionPipeline) -> int:
    """Side in pixels of the square pictures that the model was trained on."""
    sides = pipeline.unet.config.sample_size
    return int(sides if isinstance(sides, int) else sides[0]) * pipeline.downsample


def _batches(count: int, what: str) -> Iterator[slice]:
    """Slices of `BATCH`, with a line on standard error that says how far it is and how long it still takes."""
    started = time.monotonic()
    for start in range(0, count, BATCH):
        yield slice(start, start + BATCH)
        done = min(start + BATCH, count)
        left = (time.monotonic() - started) / done * (count - done)
        end = "\n" if done == count or not sys.stderr.isatty() else ""
        print(f"\r{what}: {done} of {count}, {left:.0f} s left", end=end, file=sys.stderr, flush=True)


def _steps(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of steps from 1 to 1000")
    return int(text)
