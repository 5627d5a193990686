"""Label precision and recall before and after `generate --check`, against the truth of the built-in world.

python -m benchmarks.check_labels [--scenes 400] [--seed 900000] [--absent 0.08] [--wrong 0.03] [--extra 0.03]; prints
JSON. A generator's mistakes are put into the layouts of real scenes, whose truth is known: objects that are not there,
objects under another class, objects without a label, boxes that are off by a few per cent. Then the detectors of the
bundled model check the scenes, without the perception head (it would keep more hard objects).
"""

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from detdiffusion.core.assets import BUNDLED_MODEL
from detdiffusion.detection import iou
from detdiffusion.detectors import BUNDLED, HELD_OUT, load_detector
from detdiffusion.layout import Attribute, Box, Layout
from training.data.papercut.classes import THINGS
from training.data.papercut.scene import Scene, scene
from training.synthesis.checking import Checker
from training.synthesis.refinement import ObjectStatus, snapped, statuses

SIZE = 160  # pixels
OFF = 0.04  # of a box's side, by which its corners are off

Corners = tuple[float, float, float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=BUNDLED_MODEL)
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--seed", type=int, default=900_000)
    for name, share in (("absent", 0.08), ("wrong", 0.03), ("extra", 0.03)):
        parser.add_argument(f"--{name}", type=float, default=share, help="share of the objects")
    arguments = parser.parse_args()
    own, second = (load_detector(name, arguments.model) for name in (BUNDLED, HELD_OUT))
    checker, counts, reasons = Checker(second), Counter[str](), Counter[str]()
    for seed in range(arguments.seed, arguments.seed + arguments.scenes):
        made = scene(seed, size=SIZE)
        asked = mistaken(made, arguments, np.random.default_rng(seed))
        if asked is None:
            continue
        (seen,), (other,) = own.detect([made.image]), checker.look([made.image])
        found, refusals = checker.check(made.image, asked, statuses(asked, seen, own, None), (other, seen))
        reasons.update({one["reason"] for one in refusals})
        counts += judged(made, asked, found, snapped(asked, seen, own), refused=bool(refusals))
    print(json.dumps({**shares(counts), "refused_because": dict(reasons), "counts": dict(counts)}, indent=2))


def mistaken(made: Scene, arguments: argparse.Namespace, rng: np.random.Generator) -> Layout | None:
    """The layout that a generator would have been asked for, had it drawn this scene by mistake; None: of nothing."""
    boxes: list[Box] = []
    for box, causes in zip(made.layout.boxes, made.causes, strict=True):
        if box.label not in THINGS:
            boxes.append(replace(box, attribute=Attribute.BACKGROUND))
            continue
        label = (
            str(rng.choice([one for one in THINGS if one != box.label]))
            if rng.random() < arguments.wrong
            else box.label
        )
        attribute = Attribute.HARD if causes else Attribute.EASY
        if rng.random() >= arguments.extra:
            boxes.append(Box(label, off(box.xyxy, rng), attribute))
        if rng.random() < arguments.absent:
            boxes.append(Box(str(rng.choice(THINGS)), elsewhere(box.xyxy, rng), Attribute.EASY))
    things = [box for box in boxes if box.attribute is not Attribute.BACKGROUND]
    return replace(made.layout, boxes=tuple(boxes)) if things else None


def off(xyxy: Corners, rng: np.random.Generator) -> Corners:
    x1, y1, x2, y2 = xyxy
    shift = rng.normal(0, OFF, 4) * (x2 - x1, y2 - y1, x2 - x1, y2 - y1)
    left, top, right, low = (float(value) for value in np.clip(np.array(xyxy) + shift, 0, 1))
    return left, top, right, low


def elsewhere(xyxy: Corners, rng: np.random.Generator) -> Corners:
    width, height = xyxy[2] - xyxy[0], xyxy[3] - xyxy[1]
    left, top = float(rng.uniform(0, 1 - width)), float(rng.uniform(0, 1 - height))
    return left, top, left + width, top + height


def judged(made: Scene, asked: Layout, found: list[ObjectStatus], boxes: list[Any], *, refused: bool) -> Counter[str]:
    """Labels and true objects, before and after; an image that is refused has neither afterwards."""
    counts: Any = Counter(images=1, refused=int(refused))  # one of them is a sum of overlaps
    things = [box for box in made.layout.boxes if box.label in THINGS]
    labels = [box for box in asked.boxes if box.attribute is not Attribute.BACKGROUND]
    kept = [
        box if moved is None else replace(box, xyxy=tuple(moved))
        for box, status, moved in zip(asked.boxes, found, boxes, strict=True)
        if box.attribute is not Attribute.BACKGROUND and status is not ObjectStatus.GONE
    ]
    for when, rows in (("before", labels), *((("after", kept), ("accepted_before", labels)) if not refused else ())):
        right = [is_right(box, things) for box in rows]
        covered = sum(any(is_right(box, [thing]) for box in rows) for thing in things)
        counts.update({f"labels_{when}": len(rows), f"right_{when}": sum(right)})
        counts.update({f"objects_{when}": len(things), f"labelled_{when}": covered})
        counts[f"overlap_{when}"] += sum(best(box, things) for box in rows)
    false = counts["right_before"] < counts["labels_before"] or counts["labelled_before"] < counts["objects_before"]
    counts["refused_without_a_false_label"] += int(refused and not false)
    return counts  # type: ignore[no-any-return]


def is_right(box: Box, things: list[Box]) -> bool:
    return any(
        box.label == one.label and iou(np.array([box.xyxy]), np.array([one.xyxy]))[0, 0] >= 0.5 for one in things
    )


def best(box: Box, things: list[Box]) -> float:
    return float(iou(np.array([box.xyxy]), np.array([one.xyxy for one in things])).max(initial=0))


def shares(counts: Counter[str]) -> dict[str, float]:
    found = {}
    for when in ("before", "after"):
        found[f"precision_{when}"] = counts[f"right_{when}"] / max(1, counts[f"labels_{when}"])
        found[f"recall_{when}"] = counts[f"labelled_{when}"] / max(1, counts[f"objects_{when}"])
    lost = counts["labelled_accepted_before"] - counts["labelled_after"]
    found["lost_in_accepted_images"] = lost / max(1, counts["labelled_accepted_before"])
    found["images_refused"] = counts["refused"] / max(1, counts["images"])
    whole = counts["refused_without_a_false_label"]
    found["of_them_without_a_false_label"] = whole / max(1, counts["refused"])
    found["mean_overlap_before"] = counts["overlap_accepted_before"] / max(1, counts["labels_accepted_before"])
    found["mean_overlap_after"] = counts["overlap_after"] / max(1, counts["labels_after"])
    return {name: round(value, 4) for name, value in found.items()}


if __name__ == "__main__":
    main()
