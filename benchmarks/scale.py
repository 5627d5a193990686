"""Are time and memory of `python -m training diagnose` and `plan` linear in images and layouts?

python -m benchmarks.scale --out DIR [--images 1000 10000 100000] [--layouts 10000 100000 1000000]; prints JSON: of each
size the count, seconds, peak_mb, and microseconds_each: for one more image or layout than the size before.
Annotations and detections are drawn from a seed (5 classes, 2 to 12 objects and about 15 detections an image), the
images are small noise. Seconds are the processor's, memory the largest that a command held. Layouts are planned from
the first of the diagnoses.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

LABELS = ("car", "bird", "cup", "boat", "cat")
WIDTH, HEIGHT = 160, 120
MEASURED = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=2).returncode; "
    "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
    "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 2**10); sys.exit(code)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--layouts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"diagnose": [], "plan": []}
    for count in sorted(arguments.images):
        data = write(arguments.out / f"data-{count}", count)
        out = arguments.out / f"diagnosis-{count}"
        words = ["diagnose", "--data", data, "--detector", data / "results.json", "--out", out]
        add(found["diagnose"], count, measured(*words))
    for count in sorted(arguments.layouts):
        diagnosis = arguments.out / f"diagnosis-{min(arguments.images)}"
        out = arguments.out / f"layouts-{count}.jsonl"
        add(found["plan"], count, measured("plan", "--diagnosis", diagnosis, "--count", count, "--out", out))
        out.unlink()
    print(json.dumps(found, indent=2))


def add(rows: list[dict[str, float]], count: int, cost: tuple[float, float]) -> None:
    """One more size. What a thing more costs stays the same where time is linear."""
    seconds, peak_mb = cost
    row = {"count": count, "seconds": round(seconds, 1), "peak_mb": round(peak_mb)}
    if rows:
        more = 1e6 * (seconds - rows[-1]["seconds"]) / (count - rows[-1]["count"])
        row["microseconds_each"] = round(more)
    rows.append(row)
    print(row, file=sys.stderr, flush=True)


def measured(*words: object) -> tuple[float, float]:
    """Of one command: seconds of the processor, and MB that it held at most."""
    command = [sys.executable, "-c", MEASURED, sys.executable, "-m", "training", *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def write(out: Path, count: int) -> Path:
    """A COCO folder and a results file; nothing where it is there."""
    if (out / "results.json").exists():
        return out
    rng = np.random.default_rng(count)
    (out / "images").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        noise = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((WIDTH, HEIGHT))
        noise.save(out / "images" / f"{number}.jpg", quality=20)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT})
        for _ in range(rng.integers(2, 13)):
            box, label = some_box(rng), int(rng.integers(len(LABELS))) + 1
            row = {"image_id": number, "category_id": label, "bbox": box}
            objects.append({"id": len(objects) + 1, **row, "area": box[2] * box[3], "iscrowd": 0})
            left_car = label == 1 and box[0] + box[2] / 2 < WIDTH / 3
            if rng.random() < (0.3 if left_car else 0.85):
                found.append({**row, "score": round(float(rng.uniform(0.5, 1)), 3)})
        for _ in range(rng.integers(4, 13)):
            label = int(rng.integers(len(LABELS))) + 1
            row = {"image_id": number, "category_id": label, "bbox": some_box(rng)}
            found.append({**row, "score": round(float(rng.uniform(0.01, 0.6)), 3)})
    categories = [{"id": number, "name": name} for number, name in enumerate(LABELS, start=1)]
    whole = {"images": images, "annotations": objects, "categories": categories}
    (out / "annotations").mkdir()
    (out / "annotations" / "instances.json").write_text(json.dumps(whole))
    (out / "results.json").write_text(json.dumps({"annotations": found, "categories": categories}))
    return out


def some_box(rng: np.random.Generator) -> list[int]:
    width, height = (int(value) for value in np.exp(rng.uniform(np.log(6), np.log(60), 2)))
    return [int(rng.integers(0, WIDTH - width)), int(rng.integers(0, HEIGHT - height)), width, height]


if __name__ == "__main__":
    main()
