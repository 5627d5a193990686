"""Are more objects where they were asked for if wrong boxes are drawn again, and what does it take?

python -m benchmarks.fix_boxes [--model DIR] [--layouts papercut:60@900000] [--objects 8:12] [--steps N]
    [--device NAME]; prints JSON.

Each layout has things of several scenes, moved to the left or right where they would lie on each other, as many as
asked (FIRST:LAST, more than the six of a training scene), on the ground of the first one; all are easy. Drawn are, from
the same noises: plain; plain with as many steps as fixing takes at most; plain with the guidance of what is fixed; the
best of as many images as those steps give (in which the bundled detector finds the fewest faults); and fixed. The
bundled detector says what is wrong, and the held-out one finds: recall (IoU of 0.5 and its own confidence), with 95 %
intervals over layouts.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.core.arguments import add_device, sampler_steps
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.core.devices import device_of
from detdiffusion.detection import Detector, iou
from detdiffusion.detectors import BUNDLED, HELD_OUT, load_detector
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.diffusion.steering.rectification import FRACTIONS, faults_of, round_guidance
from detdiffusion.errors import ConfigError
from detdiffusion.evaluation.bootstrap import estimate_mean, resamples
from detdiffusion.evaluation.comparison import object_confidences
from detdiffusion.evaluation.effect import owners_of
from detdiffusion.layout import Attribute, Box, Layout
from training.data.layout_sources import PapercutLayouts, papercut_layouts
from training.data.papercut.scene import scene
from training.evaluation.inputs import image_size

APART = 0.1  # IoU of two things at most
SCENES = 10  # whose things are put together; where too few have room, those of the next ones are, and so on
TRIES = 40
OTHER_NOISE = 1_000_003  # between the seeds of one layout
SIDES = 8  # places to the left or right that are tried for one thing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=BUNDLED_MODEL, metavar="DIR", help="model folder")
    parser.add_argument(
        "--layouts", type=papercut_layouts, default="papercut:60@900000", metavar="papercut:COUNT@FIRST_SEED"
    )
    parser.add_argument("--objects", default="8:12", metavar="FIRST:LAST")
    parser.add_argument("--steps", type=sampler_steps, metavar="N")
    add_device(parser)
    arguments = parser.parse_args()
    device = device_of(arguments.device)
    pipe = load_pipeline(arguments.model, device=device)
    eyes, judge = (load_detector(name, BUNDLED_MODEL, device=device) for name in (BUNDLED, HELD_OUT))
    fewest, most = map(int, arguments.objects.split(":"))
    steps = arguments.steps or pipe.recommended.steps
    print(json.dumps(report(pipe, eyes, judge, arguments.layouts, (fewest, most), steps), indent=2))


def report(
    pipe: DetDiffusionPipeline,
    eyes: Detector,
    judge: Detector,
    source: PapercutLayouts,
    counts: tuple[int, int],
    steps: int,
) -> dict[str, Any]:
    """What is printed."""
    seeds = [source.seed(place) for place in range(len(source))]
    layouts = [crowded(pipe, seed, counts[0] + place % (counts[1] - counts[0] + 1)) for place, seed in enumerate(seeds)]
    stronger = round_guidance(pipe.recommended.guidance_scale)
    most = 1 + sum(FRACTIONS)  # times the steps

    def draw(layout: Layout, seed: int, **options: Any) -> Image.Image:
        image: Image.Image = pipe(layout, seeds=[seed], **{"steps": steps, **options}).images[0]
        return image

    def best(layout: Layout, seed: int) -> Image.Image:
        drawn = [draw(layout, seed + number * OTHER_NOISE) for number in range(math.ceil(most))]
        return min(zip(drawn, eyes.detect(drawn), strict=True), key=lambda one: len(faults_of(layout, one[1], eyes)))[0]

    ways: dict[str, Callable[[Layout, int], Image.Image]] = {
        "plain": draw,
        "plain, more steps": partial(draw, steps=round(steps * most)),
        "plain, more guidance": partial(draw, guidance_scale=stronger),
        f"best of {math.ceil(most)}": best,
        "fixed": partial(draw, detector=eyes, fix_boxes=True),
    }
    found, seconds = {}, {}
    for name, way in ways.items():
        started = time.perf_counter()
        images = [way(layout, seed) for layout, seed in zip(layouts, seeds, strict=True)]
        seconds[name] = round((time.perf_counter() - started) / len(images), 3)
        found[name] = [hits(layout, sure, judge) for layout, sure in zip(layouts, judge.detect(images), strict=True)]
    return {
        "recall": {name: shown(rows) for name, rows in found.items()},
        "gain": {
            name: shown([fixed - plain for fixed, plain in zip(found["fixed"], found[name], strict=True)])
            for name in ways
            if name != "fixed"
        },
        "seconds_an_image": seconds,
        "layouts": source.spec,
        "objects": list(counts),
        "steps": steps,
        "judge": judge.name,
        "computed_in": list(pipe.computed_in()),
    }


def crowded(pipe: DetDiffusionPipeline, seed: int, count: int) -> Layout:
    """A layout of exactly `count` things, all easy, on the ground of the scene of this seed.

    Raises:
        ConfigError: so many have no room.
    """
    size, places = max(image_size(pipe)), np.random.default_rng(seed)
    first = scene(seed, size, 0.0)
    for start in range(0, TRIES * SCENES, SCENES):
        things: list[Box] = []
        for number in range(start, start + SCENES):
            for box in scene(seed + 1000 * number, size, 0.0).things.boxes:
                things += [placed] if len(things) < count and (placed := with_room(box, things, places)) else []
        if len(things) == count:
            stuff = tuple(box for box in first.layout.boxes if box not in first.things.boxes)
            layout = pipe.vocabulary.resolve(replace(first.layout, boxes=(*things, *stuff)))
            return apply_strategy(layout, Strategy.EASY)
    raise ConfigError(f"{count} objects have no room in an image: choose fewer as --objects")


def with_room(box: Box, things: Sequence[Box], places: np.random.Generator) -> Box | None:
    """The box, as it is or moved to the side, where it does not lie on others; None: it would everywhere."""
    x1, y1, x2, y2 = box.xyxy
    others = np.array([one.xyxy for one in things])
    for left in (x1, *places.uniform(0, 1 - (x2 - x1), SIDES)):
        moved = (float(left), y1, float(left) + x2 - x1, y2)
        if not (iou(np.array([moved]), others) > APART).any():
            return replace(box, xyxy=moved)
    return None


def hits(layout: Layout, found: Any, judge: Detector) -> np.ndarray:
    """1 for each thing that is found, 0 for others: [things]."""
    sure = object_confidences(layout, found, known_labels=judge.labels)
    known = np.array([box.attribute is not Attribute.BACKGROUND for box in layout.boxes]) & ~np.isnan(sure)
    return (sure[known] >= judge.min_score).astype(float)


def shown(rows: Sequence[np.ndarray]) -> dict[str, Any]:
    found = estimate_mean(np.concatenate(rows), owners_of(rows), resamples(len(rows)))
    return {"mean": round(found.mean, 4), "ci95": [round(end, 4) for end in found.ci95]}


if __name__ == "__main__":
    main()
