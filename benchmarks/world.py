"""How readable the built-in world is: what the detectors of a model find in ordinary scenes, in difficult ones, and in
scenes with every cause of difficulty alone.

python -m benchmarks.world [--model DIR] [--layouts papercut:100@900000]; prints JSON: for every kind of
scene the number of things, and for every detector its recall (right class, IoU of 0.5 or more, as sure as the
detector's own threshold) with a 95 % interval (whole scenes are drawn again).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.detection import Detector
from detdiffusion.detectors import BUNDLED, HELD_OUT, load_detector
from detdiffusion.evaluation.bootstrap import estimate_mean, resamples
from detdiffusion.evaluation.comparison import object_confidences
from training.data.layout_sources import papercut_layouts
from training.data.papercut.causes import Cause
from training.data.papercut.scene import Scene, scene

BATCH = 16  # scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=BUNDLED_MODEL, metavar="DIR", help="model folder")
    parser.add_argument(
        "--layouts", type=papercut_layouts, default="papercut:100@900000", metavar="papercut:COUNT@FIRST_SEED"
    )
    arguments = parser.parse_args()
    source = arguments.layouts
    detectors = {name: load_detector(name, arguments.model) for name in (BUNDLED, HELD_OUT)}
    print(json.dumps(report(range(source.first, source.first + source.count), detectors), indent=2))


def report(seeds: range, detectors: dict[str, Detector]) -> dict[str, Any]:
    """`{"ordinary" | "all" | cause: {"things", detector: {"recall", "ci95"}}}`."""
    kinds: dict[str, tuple[float, Cause | None]] = {"ordinary": (0.0, None), "all": (1.0, None)}
    kinds |= {cause.value: (1.0, cause) for cause in Cause}
    rows: dict[str, dict[str, Any]] = {}
    for kind, (hard_share, cause) in kinds.items():
        made = [scene(seed, hard_share=hard_share, cause=cause) for seed in seeds]
        rows[kind] = {"things": sum(len(one.things.boxes) for one in made)}
        rows[kind] |= {name: recall(made, detector) for name, detector in detectors.items()}
    return rows


def recall(made: list[Scene], detector: Detector) -> dict[str, Any]:
    """Of the things of all scenes."""
    found: list[float] = []
    owners: list[int] = []
    for start in range(0, len(made), BATCH):
        part = made[start : start + BATCH]
        for place, (one, seen) in enumerate(zip(part, detector.detect([one.image for one in part]), strict=True)):
            sure = object_confidences(one.things, seen)
            found += (sure >= detector.min_score).astype(float).tolist()
            owners += [start + place] * len(sure)
    estimate = estimate_mean(np.array(found), owners, resamples(len(made)))
    return {"recall": estimate.mean, "ci95": list(estimate.ci95)}


if __name__ == "__main__":
    main()
