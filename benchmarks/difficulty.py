"""Does one object's difficulty move that object, and leave its neighbours alone?

python -m benchmarks.difficulty [--model DIR] [--layouts papercut:50@900000] [--steps N] [--detector-guidance 0]
    [--device NAME]; prints JSON.

In each layout one thing (chosen by its number, as `evaluate --one-hard` does) has a difficulty of 0, 0.25, 0.5, 0.75
and 1, and every other thing is easy. Means of the bundled detector's confidence in it and in the others, and what each
loses from 0 to 1, with 95 % intervals over layouts: by the words, where the model has any, and with detector guidance
by the detector, too.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.core.arguments import add_detector_guidance, add_device, sampler_steps
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.devices import device_of
from detdiffusion.detection import Detector
from detdiffusion.detectors import BUNDLED, load_detector
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.evaluation.bootstrap import Estimate, estimate_mean, resamples
from detdiffusion.evaluation.comparison import object_confidences
from detdiffusion.layout import Layout
from training.data.layout_sources import PapercutLayouts, papercut_layouts
from training.evaluation.inputs import image_size
from training.evaluation.variants import tagged_object

NUMBERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=BUNDLED_MODEL, metavar="DIR", help="model folder")
    parser.add_argument(
        "--layouts", type=papercut_layouts, default="papercut:50@900000", metavar="papercut:COUNT@FIRST_SEED"
    )
    parser.add_argument("--steps", type=sampler_steps, metavar="N")
    add_detector_guidance(parser)
    add_device(parser)
    arguments = parser.parse_args()
    device = device_of(arguments.device)
    pipe = load_pipeline(arguments.model, device=device)
    detector = load_detector(BUNDLED, BUNDLED_MODEL, device=device)
    options = {"steps": arguments.steps, "detector_guidance": arguments.detector_guidance}
    print(json.dumps(report(pipe, detector, arguments.layouts, options), indent=2))


def report(
    pipe: DetDiffusionPipeline, detector: Detector, source: PapercutLayouts, options: dict[str, Any]
) -> dict[str, Any]:
    """What is printed."""
    size, started = image_size(pipe), time.perf_counter()
    bare = [pipe.vocabulary.resolve(source.layout(place, size)) for place in range(len(source))]
    layouts = [apply_strategy(layout, Strategy.EASY) for layout in bare]
    chosen = [tagged_object(place, layout) for place, layout in enumerate(layouts)]
    own, others = np.full((len(NUMBERS), len(layouts)), np.nan), np.full((len(NUMBERS), len(layouts)), np.nan)
    for row, number in enumerate(NUMBERS):
        for place, (layout, thing) in enumerate(zip(layouts, chosen, strict=True)):
            if thing is None:
                continue
            asked = graded(layout, thing, number)
            images = pipe(asked, seeds=[source.seed(place)], detector=detector, **options).images
            sure = object_confidences(asked, detector.detect(images)[0], known_labels=detector.labels)
            own[row, place] = sure[thing]
            rest = np.delete(sure, thing)
            others[row, place] = np.nanmean(rest) if np.isfinite(rest).any() else np.nan
    drop, moved = (loss(values) for values in (own, others))
    return {
        "difficulty": list(NUMBERS),
        "own": means(own),
        "others": means(others),
        "own_drop": shown(drop),
        "others_drop": shown(moved),
        "others_share": round(moved.mean / drop.mean, 4),
        "layouts": source.spec,
        "detector_guidance": options["detector_guidance"],
        "steps": options["steps"] or pipe.recommended.steps,
        "seconds": round(time.perf_counter() - started, 1),
        "computed_in": list(pipe.computed_in()),
    }


def graded(layout: Layout, thing: int, number: float) -> Layout:
    """The layout with a difficulty for one of its objects."""
    boxes = [replace(box, difficulty=number) if i == thing else box for i, box in enumerate(layout.boxes)]
    return replace(layout, boxes=tuple(boxes))


def loss(values: np.ndarray) -> Estimate:
    """From the first number to the last, over layouts: [numbers, P]."""
    count = values.shape[1]
    return estimate_mean(values[0] - values[-1], np.arange(count), resamples(count))


def means(values: np.ndarray) -> list[float]:
    return [round(float(np.nanmean(row)), 4) for row in values]


def shown(estimate: Estimate) -> dict[str, Any]:
    return {"mean": round(estimate.mean, 4), "ci95": [round(end, 4) for end in estimate.ci95]}


if __name__ == "__main__":
    main()
