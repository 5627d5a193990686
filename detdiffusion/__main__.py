"""python -m detdiffusion LAYOUT.json --out DIR: an image of a layout, or easy and hard pairs, and what is found."""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.core.arguments import (
    DRAWING_DEVICE,
    add_detector_guidance,
    add_device,
    add_fix_boxes,
    add_gligen_beta,
    add_old_name,
    add_sampling,
    amount,
    out_folder,
    seed_list,
    seed_number,
)
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.devices import device_of
from detdiffusion.core.files import write_text
from detdiffusion.core.loading import announced_imports
from detdiffusion.detection import Detections, scores_boxes
from detdiffusion.detectors import BUNDLED, detector_path, load_detector, own_detectors
from detdiffusion.errors import ConfigError, DetDiffusionError, LayoutError, sentence
from detdiffusion.evaluation.comparison import Comparison, PairRow, compare, mean, object_confidences
from detdiffusion.image_record import ImageRecord, read_layout, save_image
from detdiffusion.layout import Attribute, Layout
from detdiffusion.sampling_config import SamplingConfig, SamplingRequest

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from detdiffusion.detection import Detector
    from detdiffusion.diffusion.output import StepInfo
    from detdiffusion.diffusion.pipeline import DetDiffusionPipeline

PAIRS_A_BATCH = 8


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; `--help` says the rest."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 on success, 2 on bad input with a one-line reason on standard error."""
    arguments = _parse(argv)
    warnings.filterwarnings("ignore")  # of libraries, about themselves
    try:
        with announced_imports():
            job = _prepare(arguments)
        file = _compare(job, arguments.seeds) if arguments.compare else _generate(job)
    except (DetDiffusionError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    print(file)
    return 0


@dataclass(frozen=True)
class _Job:
    """All that a run needs, checked and loaded."""

    layout: Layout
    strategy: Strategy
    pipeline: DetDiffusionPipeline
    detector: Detector
    sampling: SamplingConfig  # its seed is the only one, or the first of a comparison
    model: dict[str, str]  # name and sha256
    out: Path

    def draw(self, layouts: Sequence[Layout], seeds: Sequence[int]) -> tuple[list[Image.Image], list[Detections]]:
        how = {"detector": self.detector, **self.sampling.options()}
        images = self.pipeline(layouts, seeds=seeds, on_step=_progress, **how).images
        return images, self.detector.detect(images)

    def save(self, name: str, image: Image.Image, layout: Layout, seed: int, strategy: Strategy, batch: int) -> None:
        how = replace(self.sampling, seed=seed)
        made_by = (self.model["name"], self.model["sha256"], self.detector.name, *self.pipeline.computed_in())
        save_image(self.out / name, image, ImageRecord(layout, how, strategy, *made_by, batch=batch))

    def write(self, name: str, values: dict[str, Any]) -> Path:
        """A JSON file: the values, and which model, detector and settings they belong to."""
        detector = {"name": self.detector.name, "sha256": self.detector.sha256, "min_score": self.detector.min_score}
        size = {"width": self.layout.width, "height": self.layout.height}
        settings = {"model": self.model, "detector": detector, **self._settings(), **size}
        file = self.out / name
        write_text(file, json.dumps({**values, **settings}, indent=2, allow_nan=False) + "\n")
        return file

    def _settings(self) -> dict[str, Any]:
        """As these files have always named them, but for the attribute guidance."""
        options = self.sampling.options()
        return {"steps": options.pop("steps"), "guidance": options.pop("guidance_scale"), **options}

    def confidences(self, layout: Layout, found: Detections) -> np.ndarray:
        return object_confidences(layout, found, known_labels=self.detector.labels)


def _prepare(arguments: argparse.Namespace) -> _Job:
    """Bad layouts are refused before anything large is loaded."""
    layout = read_layout(arguments.layout)
    if arguments.detector:
        detector_path(arguments.detector, arguments.model)
    from detdiffusion.diffusion.manifest import model_hash, read_vocabulary, verify

    verify(arguments.model)
    vocabulary = read_vocabulary(arguments.model)
    layout = vocabulary.resolve(layout)
    led = arguments.detector_guidance  # by the detector, whatever words the model knows
    by_words = arguments.attribute_guidance or ((arguments.compare or arguments.strategy) and not led)
    if not vocabulary.attribute_words and by_words:
        raise ConfigError(
            f"{arguments.model} knows no easy and hard objects: it draws layouts as they are, one by one, or led by a "
            "detector (--detector-guidance 1)"
        )
    if arguments.compare and all(box.attribute is Attribute.BACKGROUND for box in layout.boxes):
        raise LayoutError("everything in this layout is background: a comparison needs an object that is easy or hard")
    device = device_of(arguments.device, draws=True)
    detector = _detector(arguments.detector, arguments.model, device)
    if led:
        scores_boxes(detector)
    from detdiffusion.diffusion.pipeline import load_pipeline

    pipeline = load_pipeline(arguments.model, device=arguments.device or device)
    pipeline.set_progress_bar_config(disable=True)  # `_progress` tells
    arguments.out.mkdir(parents=True, exist_ok=True)
    first = arguments.seeds[0] if arguments.compare else arguments.seed
    asked = SamplingRequest(
        arguments.steps,
        arguments.guidance,
        arguments.attribute_guidance,
        arguments.sampler,
        led,
        arguments.fix_boxes,
        arguments.gligen_beta,
    )
    how = asked.of(pipeline.recommended, first)
    if advice := pipeline.recommended.advice(how):
        print(f"note: {advice}", file=sys.stderr)
    return _Job(
        layout=apply_strategy(layout, arguments.strategy or Strategy.ORIGIN),
        strategy=arguments.strategy or Strategy.ORIGIN,
        pipeline=pipeline,
        detector=detector,
        sampling=how,
        model={"name": arguments.model.resolve().name, "sha256": model_hash(arguments.model)},
        out=arguments.out,
    )


def _detector(asked: str | None, model: Path, device: torch.device) -> Detector:
    """The one that was asked for; else the model's own, or the bundled model's where it has none."""
    home = model if asked or BUNDLED in own_detectors(model) else BUNDLED_MODEL
    return load_detector(asked or BUNDLED, home, device=device)


def _generate(job: _Job) -> Path:
    """image.png and result.json."""
    seed = job.sampling.seed
    started = time.perf_counter()
    images, detections = job.draw([job.layout], [seed])
    seconds = time.perf_counter() - started
    job.save("image.png", images[0], job.layout, seed, job.strategy, 1)
    confidences = job.confidences(job.layout, detections[0])
    objects = [
        {
            **item,
            "confidence": _number(value),
            "found": None if np.isnan(value) else bool(value >= job.detector.min_score),
        }
        for item, value in zip(job.layout.to_json()["objects"], confidences.tolist(), strict=True)
    ]
    made = {"strategy": job.strategy.value, "seed": seed, "seconds": round(seconds, 3)}
    return job.write("result.json", {"objects": objects, **made})


def _compare(job: _Job, seeds: Sequence[int]) -> Path:
    """pairs/SEED-easy.png and pairs/SEED-hard.png for every seed, and comparison.json."""
    started = time.perf_counter()
    easy, hard = (apply_strategy(job.layout, strategy) for strategy in (Strategy.EASY, Strategy.HARD))
    confidences: dict[Strategy, list[np.ndarray]] = {Strategy.EASY: [], Strategy.HARD: []}
    (job.out / "pairs").mkdir(exist_ok=True)
    for start in range(0, len(seeds), PAIRS_A_BATCH):
        drawn = seeds[start : start + PAIRS_A_BATCH]
        images, detections = job.draw([easy, hard] * len(drawn), [seed for seed in drawn for _ in range(2)])
        for i, (image, found) in enumerate(zip(images, detections, strict=True)):
            seed, layout, strategy = drawn[i // 2], (easy, hard)[i % 2], (Strategy.EASY, Strategy.HARD)[i % 2]
            job.save(f"pairs/{seed:04d}-{strategy.value}.png", image, layout, seed, strategy, len(images))
            confidences[strategy].append(job.confidences(layout, found))
    limit = job.detector.min_score
    result = compare([easy] * len(seeds), confidences[Strategy.EASY], confidences[Strategy.HARD], limit)
    return job.write(
        "comparison.json",
        {
            "objects": [_object_row(job.layout, i, result, seeds) for i in range(len(job.layout.boxes))],
            "mean_drop": _number(result.mean_drop),
            "ci95": [_number(value) for value in result.ci95],
            "miss_rate_easy": _number(result.miss_rate_easy),
            "miss_rate_hard": _number(result.miss_rate_hard),
            "seeds": list(seeds),
            "seconds": round(time.perf_counter() - started, 3),
        },
    )


def _object_row(layout: Layout, index: int, result: Comparison, seeds: Sequence[int]) -> dict[str, Any]:
    """One object over all seeds; its numbers are null where the detector cannot judge it."""
    rows = [row for row in result.rows if row.index == index]
    box = layout.boxes[index]
    return {
        "label": box.label,
        "box": list(box.xyxy),
        "easy": _number(mean([row.easy for row in rows])),
        "hard": _number(mean([row.hard for row in rows])),
        "drop": _number(mean([row.drop for row in rows])),
        "miss_rate_easy": _number(mean([row.missed_easy for row in rows])),
        "miss_rate_hard": _number(mean([row.missed_hard for row in rows])),
        "pairs": [_pair_row(row, seeds[row.pair]) for row in rows],
    }


def _pair_row(row: PairRow, seed: int) -> dict[str, Any]:
    missed = {"missed_easy": row.missed_easy, "missed_hard": row.missed_hard}
    return {"seed": seed, "easy": _number(row.easy), "hard": _number(row.hard), "drop": _number(row.drop), **missed}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _progress(info: StepInfo) -> None:
    if sys.stderr.isatty():
        end = "\n" if info.step == info.steps else ""
        print(f"\rstep {info.step} of {info.steps}", end=end, file=sys.stderr, flush=True)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m detdiffusion",
        description="Generates an image of a layout, and writes what the model's detector finds in it.",
        epilog="example:\n  python -m detdiffusion layout.json --strategy hard --out images\n\n"
        "Exit code: 0 on success, 2 on bad input with a one-line reason on standard error, 130 after Ctrl-C.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "layout", type=Path, metavar="LAYOUT.json", help="layout file, or an image made by DetDiffusion"
    )
    parser.add_argument(
        "--out", type=out_folder, required=True, metavar="DIR", help="folder for image.png and result.json"
    )
    parser.add_argument(
        "--strategy",
        type=Strategy,
        choices=list(Strategy),
        help="attributes as the layout has them (origin, the default), or all things easy, or all things hard",
    )
    parser.add_argument("--seed", type=seed_number, help="seed of the noise (default 7)")
    add_sampling(parser)
    parser.add_argument(
        "--model", type=Path, default=BUNDLED_MODEL, metavar="DIR", help="model folder (default: the bundled model)"
    )
    parser.add_argument(
        "--detector", metavar="NAME|PATH", help="detector (default: the model's own, or the bundled one)"
    )
    parser.add_argument(
        "--attribute-guidance",
        type=amount,
        default=0.0,
        metavar="A",
        help="strength: above 0 towards hard, below 0 towards easy (default 0)",
    )
    add_old_name(parser, "--difficulty", "--attribute-guidance")
    add_detector_guidance(parser)
    add_fix_boxes(parser)
    add_gligen_beta(parser)
    parser.add_argument(
        "--compare", action="store_true", help="generate each seed twice, all easy and all hard; writes comparison.json"
    )
    parser.add_argument(
        "--seeds",
        type=seed_list,
        metavar="0:20",
        help="seeds of the comparison: FIRST:END or a list like 3,8 (default 0:20)",
    )
    add_device(parser, DRAWING_DEVICE)
    arguments = parser.parse_args(argv)
    if arguments.compare and (arguments.strategy is not None or arguments.seed is not None):
        parser.error("--compare draws easy and hard for all --seeds: leave --strategy and --seed out")
    if not arguments.compare and arguments.seeds is not None:
        parser.error("--seeds belongs to --compare; use --seed for one image")
    arguments.seed = 7 if arguments.seed is None else arguments.seed
    arguments.seeds = arguments.seeds or list(range(20))
    return arguments


if __name__ == "__main__":
    sys.exit(main())
