"""How fast is `python -m training generate` with one worker and with two, and does its memory grow with the count?

python -m benchmarks.generate [--model DIR] [--count 96] [--steps N]; prints JSON. Let the machine idle before it.
Steps are those that the model recommends, unless others are asked for.
Throughput is counted from the first committed chunk, so that starting (Python, torch, the model) is left out; memory is
the largest process of a whole run of 100 and of 1,000 pictures of 2 steps.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from detdiffusion.diffusion.manifest import read_recommended
from training.synthesis.store import job_chunks

ROOT = Path(__file__).resolve().parent.parent
CHUNK = 8
MEASURED = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=2); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "assets" / "models" / "papercut")
    parser.add_argument("--count", type=int, default=96)
    parser.add_argument("--steps", type=int)
    arguments = parser.parse_args()
    arguments.steps = arguments.steps or read_recommended(arguments.model).steps
    with tempfile.TemporaryDirectory() as folder:
        rates = {n: throughput(arguments, Path(folder) / f"workers-{n}", n) for n in (1, 2)}
        memory = {n: memory_gb(arguments.model, Path(folder) / f"count-{n}", n) for n in (100, 1000)}
    about = {"cores": os.cpu_count(), "torch": torch.__version__, "count": arguments.count, "steps": arguments.steps}
    result = {"pictures_per_second": rates, "two_workers_over_one": round(rates[2] / rates[1], 2)}
    print(json.dumps({**result, "largest_process_gb": memory, "threads_a_worker": 1, **about}, indent=2))


def words(model: Path, out: Path, count: int, steps: int, workers: int) -> list[str]:
    command = [sys.executable, "-m", "training", "generate", "--model", str(model), "--layouts", "papercut:200@900000"]
    few = ["--strategy", "hard", "--count", count, "--steps", steps, "--workers", workers, "--chunk", CHUNK]
    return [*command, *map(str, few), "--batch", str(CHUNK), "--out", str(out)]


def throughput(arguments: argparse.Namespace, out: Path, workers: int) -> float:
    """Pictures a second from the first commit on."""
    process = subprocess.Popen(
        words(arguments.model, out, arguments.count, arguments.steps, workers), stdout=subprocess.DEVNULL
    )
    chunks = job_chunks(out, arguments.count, CHUNK)
    done, began = 0, 0.0
    while process.poll() is None:
        time.sleep(0.02)
        if not done and (done := len(chunks.done())):
            began = time.perf_counter()
        if len(chunks.done()) == len(chunks):
            break
    seconds = time.perf_counter() - began
    if process.wait():
        sys.exit("generate failed")
    return round((len(chunks) - done) * CHUNK / seconds, 2)


def memory_gb(model: Path, out: Path, count: int) -> float:
    line = [sys.executable, "-c", MEASURED, *words(model, out, count, 2, 1)]
    return round(float(subprocess.run(line, check=True, capture_output=True, text=True).stdout), 3)


if __name__ == "__main__":
    main()
