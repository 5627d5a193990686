"""Does one tag change one object? Everything easy, then one object hard, from the same noise.

python -m benchmarks.one_tag [--model DIR ...] [--layouts papercut:200@900000] [--device NAME]; prints JSON. Of each
model, as it recommends to be drawn: how far the two images differ, the mean in levels of 0 to 255 with 95 % intervals
over layouts, inside the object's box (`own`), inside the boxes of the others as far as they lie outside of it
(`others`), and in all that is in no thing's box (`background`). From the second model on, how much more that is than of
the first (`more`), layout by layout.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.core.arguments import DRAWING_DEVICE, add_device
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.diffusion.pipeline import DetDiffusionPipeline, load_pipeline
from detdiffusion.evaluation.bootstrap import estimate_mean, resamples
from detdiffusion.layout import Attribute, Layout
from training.data.layout_sources import PapercutLayouts, papercut_layouts
from training.evaluation.inputs import image_size
from training.evaluation.variants import ONE_HARD, Variant, tagged_object

PLACES = ("own", "others", "background")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", metavar="DIR", help="may be repeated")
    parser.add_argument(
        "--layouts", type=papercut_layouts, default="papercut:200@900000", metavar="papercut:COUNT@FIRST_SEED"
    )
    add_device(parser, DRAWING_DEVICE)
    arguments = parser.parse_args()
    rows: dict[str, Any] = {}
    first: np.ndarray | None = None
    for model in arguments.model or [BUNDLED_MODEL]:
        moved = differences(load_pipeline(model, device=arguments.device or "cpu"), arguments.layouts)
        rows[model.name] = shown(moved)
        if first is None:
            first = moved
        else:
            rows[model.name]["more"] = shown(moved - first)
    print(json.dumps({"layouts": arguments.layouts.spec, **rows}, indent=2))


def differences(pipe: DetDiffusionPipeline, source: PapercutLayouts) -> np.ndarray:
    """Of each layout, at each of `PLACES`; NaN where there is no such place. [P, 3]."""
    rows = np.full((len(source), len(PLACES)), np.nan)
    for place in range(len(source)):
        easy = apply_strategy(pipe.vocabulary.resolve(source.layout(place, image_size(pipe))), Strategy.EASY)
        thing = tagged_object(place, easy)
        if thing is None:
            continue
        images = pipe([easy, Variant(ONE_HARD).asked(place, easy)], seeds=[source.seed(place)] * 2).images
        rows[place] = difference(images, easy, thing)
    return rows


def difference(images: list[Image.Image], layout: Layout, thing: int) -> list[float]:
    """At each of `PLACES`, of two images."""
    before, after = (np.asarray(image, np.float64) for image in images)
    moved = np.abs(after - before).mean(axis=2)  # [H, W]
    things = [box for box in layout.boxes if box.attribute is not Attribute.BACKGROUND]
    own = inside(layout.boxes[thing].xyxy, moved.shape)
    anything = np.any([inside(box.xyxy, moved.shape) for box in things], axis=0)
    return [float(moved[where].mean()) if where.any() else np.nan for where in (own, anything & ~own, ~anything)]


def inside(xyxy: Sequence[float], shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie in a box of fractions of the sides. [H, W] bool."""
    x1, y1, x2, y2 = xyxy
    x, y = ((np.arange(count) + 0.5) / count for count in (shape[1], shape[0]))
    return ((y >= y1) & (y < y2))[:, None] & (x >= x1) & (x < x2)


def shown(moved: np.ndarray) -> dict[str, Any]:
    """Means and intervals at each of `PLACES`."""
    counts, layouts = resamples(len(moved)), np.arange(len(moved))
    found = {name: estimate_mean(moved[:, i], layouts, counts) for i, name in enumerate(PLACES)}
    return {name: [round(one.mean, 3), *(round(end, 3) for end in one.ci95)] for name, one in found.items()}


if __name__ == "__main__":
    main()
