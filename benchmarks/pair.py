"""How long does an easy / hard pair take, and how much memory: 256 px, 20 steps, guided, detected, model loaded.

python -m benchmarks.pair [--model DIR] [--repeats 10]; prints JSON. Let the machine idle before you run it.
"""

import argparse
import json
import os
import resource
import statistics
import time
from pathlib import Path

import torch

from detdiffusion.attributes import Strategy, apply_strategy
from detdiffusion.detectors import BUNDLED, load_detector
from detdiffusion.diffusion.pipeline import load_pipeline
from detdiffusion.layout import Layout

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "assets" / "models" / "papercut")
    parser.add_argument("--layout", type=Path, default=ROOT / "assets" / "layouts" / "street.json")
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    began = time.perf_counter()
    pipeline, detector = load_pipeline(arguments.model), load_detector(BUNDLED, arguments.model)
    loading = time.perf_counter() - began
    layout = pipeline.vocabulary.resolve(Layout.from_json(arguments.layout.read_bytes()))
    pair = [apply_strategy(layout, strategy) for strategy in (Strategy.EASY, Strategy.HARD)]
    seconds = []
    for seed in range(arguments.repeats + 1):
        began = time.perf_counter()
        detector.detect(pipeline(pair, seeds=[seed, seed], steps=20).images)
        seconds.append(time.perf_counter() - began)
    print(
        json.dumps(
            {
                "seconds_median": round(statistics.median(seconds[1:]), 3),
                "seconds_worst": round(max(seconds[1:]), 3),
                "seconds_first": round(seconds[0], 3),
                "loading_seconds": round(loading, 3),
                "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
                "cores": os.cpu_count(),
                "torch": torch.__version__,
                "repeats": arguments.repeats,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
