"""What fewer steps cost: a model at several numbers of steps, on the same unseen layouts from the same noises.

python -m benchmarks.steps --out DIR [--model DIR ...] [--steps 1,2,4,8,20] [--guidance G]
    [--layouts papercut:200@900000] [--device NAME]

Prints JSON, and a table of Markdown on standard error. Of each model and number of steps, with 95 % intervals over
layouts: AP50 of easy images and the share of their things that is found, confidence lost from easy to hard (all by the
bundled detector), shares of easy and hard things that the held-out detector finds, detail inside the boxes of easy and
hard things by that of the real ordinary scenes (detdiffusion/evaluation/sharpness.py). It goes on where it was stopped.
How long images take: benchmarks.pair.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detdiffusion.attributes import Strategy
from detdiffusion.core.arguments import DRAWING_DEVICE, add_device
from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.evaluation.bootstrap import Estimate, estimate_ratio, resamples
from detdiffusion.evaluation.sharpness import Sharpness, sharpness
from detdiffusion.layout import Layout
from detdiffusion.sampling_config import SamplingRequest
from training.core.chunks import Chunks
from training.data.layout_sources import papercut_layouts
from training.evaluation.inputs import REAL, Plan
from training.evaluation.report import EvaluationReport
from training.evaluation.run import evaluate
from training.evaluation.store import SeenImages
from training.evaluation.variants import Variant

VIEWS = (Strategy.EASY, Strategy.HARD)
COLUMNS = {
    "AP50_easy": "AP50, easy",
    "recall_easy": "found, easy",
    "drop": "confidence lost",
    "held_out_easy": "held-out finds, easy",
    "held_out_hard": "held-out finds, hard",
    "sharpness_easy": "detail, easy",
    "sharpness_hard": "detail, hard",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the evaluations")
    parser.add_argument("--model", type=Path, action="append", metavar="DIR", help="may be repeated")
    parser.add_argument("--steps", default="1,2,4,8,20")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--layouts", type=papercut_layouts, default="papercut:200@900000")
    add_device(parser, DRAWING_DEVICE)
    arguments = parser.parse_args()
    rows = []
    for model in arguments.model or [BUNDLED_MODEL]:
        for steps in map(int, arguments.steps.split(",")):
            asked = SamplingRequest(steps, arguments.guidance)
            plan = Plan(model, arguments.layouts, VIEWS, sampling=asked, device=arguments.device)
            rows.append({"model": model.name, "steps": steps, **row(plan, arguments.out / f"{model.name}-{steps}")})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows), file=sys.stderr)
    print(json.dumps({"layouts": arguments.layouts.spec, "rows": rows}, indent=2))


def row(plan: Plan, work: Path) -> dict[str, Any]:
    """One evaluation in numbers: each a value and its interval."""
    report = evaluate(plan, work)
    system = report.systems[0]
    easy, hard = (next(view for view in system.views if view.name == strategy) for strategy in VIEWS)
    first, other = easy.scores  # the bundled detector leads, the held-out one follows
    assert system.drop is not None
    found = {
        "AP50_easy": easy.scores[first].estimate("AP50"),
        "recall_easy": easy.scores[first].estimate("recall50"),
        "drop": system.drop[first].confidence,
        "held_out_easy": easy.scores[other].estimate("recall50"),
        "held_out_hard": hard.scores[other].estimate("recall50"),
        **{f"sharpness_{view}": share for view, share in zip(VIEWS, detail(report, plan, work), strict=True)},
    }
    return {**{name: [round(one.mean, 4), *(round(end, 4) for end in one.ci95)] for name, one in found.items()}} | {
        "guidance": report.sampler.guidance
    }


def detail(report: EvaluationReport, plan: Plan, work: Path) -> list[Estimate]:
    """Of easy and of hard images, by the real ones."""
    system, count = report.systems[0], report.layouts.count
    names = [REAL, *(f"{system.name}/{Variant(view.strategy, view.attribute_guidance).slug}" for view in system.views)]
    folders = {name: SeenImages(Chunks(work, name, count, plan.batch)) for name in names}
    layouts = folders[REAL].layouts()
    real, *drawn = (details(images, layouts) for images in folders.values())
    return [estimate_ratio(one, real, resamples(count)) for one in drawn]


def details(images: SeenImages, layouts: Sequence[Layout]) -> np.ndarray:
    found: list[Sharpness] = [sharpness(images.load([n])[0], layout) for n, layout in enumerate(layouts)]
    return np.array([one.laplacian for one in found])


def table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [f"| model | steps | {' | '.join(COLUMNS.values())} |", "|---|---|" + "---|" * len(COLUMNS)]
    for one in rows:
        cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*one[name]) for name in COLUMNS]
        lines.append(f"| {one['model']} | {one['steps']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
