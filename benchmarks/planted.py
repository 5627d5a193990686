"""Does `python -m training diagnose` find a weakness that was planted in a real detector, and is it named first?

python -m benchmarks.planted --out DIR [--plant left-cars small-birds hidden-cups none] [--scenes 2500] [--epochs 10]
[--check 1500] [--seed 0] [--how unlabelled|absent]; prints JSON. The bundled detector is trained further on scenes of
the built-in world in which the objects of one slice have no label (or whose images are left out), without mirroring or
shifting, which would undo it; then it is diagnosed on scenes that nobody has seen. Finished detectors are kept.
`planted` says whether the weakness is there: recall on the planted objects, on the others of their class, and on all. A
network that sees all places alike may not learn to miss what is on the left, and then nothing is there to be named.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from detdiffusion.core.assets import BUNDLED_MODEL
from training.__main__ import main as training
from training.data.papercut.causes import Cause
from training.data.papercut.classes import THING_IDS
from training.data.papercut.coco_export import write_dataset
from training.diagnosis.evidence import FILE as EVIDENCE
from training.diagnosis.evidence import Evidence

SIZE = 160  # pixels: what the bundled detector sees
UNSEEN = 900_000  # seeds from here on are never trained on
BUNDLED = BUNDLED_MODEL / "detectors" / "bundled"
PLAIN = ("fliplr=0", "mosaic=0", "translate=0", "scale=0", "lr0=0.002")
NAMES = {number: name for name, number in THING_IDS.items()}


def left_car(row: dict[str, Any]) -> bool:
    return _is(row, "car") and row["bbox"][0] + row["bbox"][2] / 2 < SIZE / 2


def small_bird(row: dict[str, Any]) -> bool:
    return _is(row, "bird") and row["bbox"][2] * row["bbox"][3] < 0.06 * SIZE * SIZE


def hidden_cup(row: dict[str, Any]) -> bool:
    return _is(row, "cup") and Cause.OCCLUSION in row.get("causes", ())


def nothing(row: dict[str, Any]) -> bool:
    return False


PLANTS: dict[str, tuple[Callable[[dict[str, Any]], bool], dict[str, str], Cause | None]] = {
    # which objects, the bounds of a slice that names it, and what makes objects difficult (None: everything)
    "left-cars": (left_car, {"class": "car", "x": "left"}, None),
    "small-birds": (small_bird, {"class": "bird", "size": "small"}, None),
    "hidden-cups": (hidden_cup, {"class": "cup", "occlusion": "hidden"}, Cause.OCCLUSION),
    "none": (nothing, {}, None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plant", nargs="+", choices=list(PLANTS), default=list(PLANTS))
    parser.add_argument("--scenes", type=int, default=2500, help="to learn from")
    parser.add_argument("--check", type=int, default=1500, help="to diagnose on")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--how", choices=("unlabelled", "absent"), default="unlabelled")
    arguments = parser.parse_args()
    print(json.dumps({plant: planted(arguments, plant) for plant in arguments.plant}, indent=2))


def planted(arguments: argparse.Namespace, plant: str) -> dict[str, Any]:
    """Trains a detector and diagnoses it."""
    is_planted, bounds, cause = PLANTS[plant]
    home = arguments.out / f"{plant}-{arguments.how}-{arguments.seed}"
    began = time.perf_counter()
    first = 100_000 * (1 + arguments.seed)
    learned, unseen = home / "learned", arguments.out / f"unseen-{cause or 'all'}"
    removed = write(learned, range(first, first + arguments.scenes), cause, is_planted, arguments.how)
    write(unseen, range(UNSEEN, UNSEEN + arguments.check), cause, nothing, "unlabelled")
    settings = ["--epochs", arguments.epochs, "--image-size", SIZE, "--seed", arguments.seed, "--set", *PLAIN]
    words = ["detector", "--data", learned, "--weights", BUNDLED, "--out", home / "detector", *settings]
    assert training([str(word) for word in words]) == 0
    trained = time.perf_counter() - began
    words = ["diagnose", "--data", unseen, "--detector", home / "detector", "--out", home / "diagnosis"]
    assert training([str(word) for word in words]) == 0
    found = json.loads((home / "diagnosis" / "diagnosis.json").read_text())
    names = [one["name"] for one in found["slices"]]
    wanted = set(bounds.values())
    rank = next((place for place, name in enumerate(names, 1) if set(name.split(", ")) == wanted), None)
    return {
        "rank": rank,
        "planted": took(unseen, home / "diagnosis", is_planted),
        "named": {one["name"]: [one["recall"], one["ci95"], one["count"]] for one in found["slices"]},
        "recall": found["recall"]["mean"],
        "labels_removed": removed,
        "seconds_training": round(trained),
        "seconds_diagnosis": round(time.perf_counter() - began - trained),
    }


def write(out: Path, seeds: range, cause: Cause | None, is_planted: Callable[[dict[str, Any]], bool], how: str) -> int:
    """Scenes as a COCO folder, without the labels of planted objects or without their images; how many went."""
    done = out / "written"
    if done.exists():
        return int(done.read_text())
    write_dataset(out, seeds, size=SIZE, cause=cause)
    path = out / "annotations" / "instances.json"
    content = json.loads(path.read_text())
    gone = [row for row in content["annotations"] if is_planted(row)]
    images = {row["image_id"] for row in gone} if how == "absent" else set()
    ids = {row["id"] for row in gone}
    content["annotations"] = [
        row for row in content["annotations"] if row["id"] not in ids and row["image_id"] not in images
    ]
    content["images"] = [row for row in content["images"] if row["id"] not in images]
    path.write_text(json.dumps(content))
    if images:
        (out / "annotations" / "stuff.json").unlink()
    done.write_text(str(len(gone)))
    return len(gone)


def took(data: Path, diagnosis: Path, is_planted: Callable[[dict[str, Any]], bool]) -> dict[str, float]:
    """Recall on the planted objects, on the others of their class, and on all."""
    one = Evidence.load(diagnosis / EVIDENCE)
    rows = json.loads((data / "annotations" / "instances.json").read_text())["annotations"]
    place = {str(image_id): number for number, image_id in enumerate(one.ids.tolist())}
    wanted = {(place[str(row["image_id"])], tuple(row["bbox"][:2])) for row in rows if is_planted(row)}
    counted = np.flatnonzero(one.counted)
    corners = np.round(one.box[counted, :2] * SIZE).astype(int).tolist()
    keys = list(zip(one.image[counted].tolist(), map(tuple, corners), strict=True))
    planted = np.array([key in wanted for key in keys], bool)
    found = one.confidence[counted] >= 0.5
    same = np.isin(one.label[counted], one.label[counted][planted]) & ~planted
    groups = {"planted": planted, "others of the class": same, "all": np.ones(len(counted), bool)}
    return {name: round(float(found[inside].mean()), 3) for name, inside in groups.items() if inside.any()}


def _is(row: dict[str, Any], name: str) -> bool:
    return NAMES[row["category_id"]] == name


if __name__ == "__main__":
    main()
