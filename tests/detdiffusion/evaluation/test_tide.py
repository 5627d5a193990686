"""TIDE's errors and what they cost: a case worked out by hand, and the rules against a plain reading of the paper.

The published tool (tidecv 1.0.1) is no requirement: it needs seaborn and appdirs, and loops over objects. `Plain` below
follows its rules object by object; the tool itself gave the same on 60 random data sets, ties and crowds included.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from detdiffusion.detection import Detections
from detdiffusion.evaluation.coco_ap import coco_scores
from detdiffusion.evaluation.tide import (
    KINDS,
    Errors,
    ErrorType,
    Labelled,
    ap50,
    error_costs,
    match_image,
)
from detdiffusion.layout import Box, Layout

CAT, DOG = 0, 1


def labelled(labels: Sequence[int], boxes_px: Sequence[Sequence[float]]) -> Labelled:
    return Labelled(np.asarray(labels, np.int64), np.asarray(boxes_px, np.float64).reshape(-1, 4))


NOTHING = labelled((), ())
Image = tuple[Labelled, Labelled, np.ndarray, Labelled]  # objects, detections, scores, crowds


def together(images: list[Image], classes: int) -> Errors:
    """All images, detections of each sorted by score."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("objects", "labels", "scores", "kinds", "about", "in")}
    before = 0
    for objects, found, scores, crowds in images:
        order = np.argsort(-scores, kind="stable")
        found = Labelled(found.labels[order], found.boxes_px[order])
        matched = match_image(objects, found, crowds)
        about = np.where(matched.about >= 0, matched.about + before, -1)
        rows = (objects.labels, found.labels, scores[order], matched.kinds, about, matched.in_crowd)
        for name, row in zip(parts, rows, strict=True):
            parts[name].append(row)
        before += len(objects.labels)
    objects, labels, scores, kinds, about, crowded = (np.concatenate(rows) for rows in parts.values())
    return Errors(np.bincount(objects, minlength=classes), objects, labels, scores, kinds, about, crowded)


# Six objects in one row of ten-pixel squares: cats at 0, 20, 40; dogs at 60, 80, 100. One detection of each kind:
ROW: list[tuple[int, tuple[float, float, float, float], float, str]] = [
    (CAT, (0, 0, 10, 10), 0.9, "right"),
    (CAT, (0, 0, 10, 9), 0.8, "dup"),  # IoU 0.9 with the cat that the first has
    (CAT, (26, 0, 36, 10), 0.7, "loc"),  # IoU 4 / 16 = 0.25 with the cat at 20
    (DOG, (40, 0, 50, 10), 0.6, "cls"),  # on the cat at 40
    (DOG, (60, 0, 70, 10), 0.5, "right"),
    (CAT, (86, 0, 96, 10), 0.4, "both"),  # IoU 0.25 with the dog at 80
    (CAT, (200, 0, 210, 10), 0.3, "bkg"),
]
OBJECTS = labelled((CAT, CAT, CAT, DOG, DOG, DOG), [(x, 0, x + 10, 10) for x in (0, 20, 40, 60, 80, 100)])


def test_a_case_worked_out_by_hand() -> None:
    found = labelled([row[0] for row in ROW], [row[1] for row in ROW])
    scores = np.array([row[2] for row in ROW])
    matched = match_image(OBJECTS, found, NOTHING)
    assert [KINDS[kind] for kind in matched.kinds] == [row[3] for row in ROW]
    errors = together([(OBJECTS, found, scores, NOTHING)], classes=2)
    # Missed: the dogs at 80 and 100. The cats at 20 and 40 have an error that would find them.
    assert {kind.value: errors.count(kind) for kind in ErrorType} == {
        "cls": 1, "loc": 1, "both": 1, "dup": 1, "bkg": 1, "miss": 2,
    }  # fmt: skip
    # Cats: hit at rank 1 of 3 objects -> precision 1 up to recall 1/3, which 34 of 101 recalls are at or below.
    # Dogs: a miss, then a hit -> precision 1/2 up to recall 1/3.
    third, two_thirds = 34 / 101, 67 / 101
    before = 100 * (third + third / 2) / 2
    assert ap50(errors) == pytest.approx(before)
    costs = error_costs(errors)
    # cls: the dog becomes the third detection of a cat and a hit: hit, dup, loc, hit -> 1 to 1/3, then 2/4 to 2/3;
    # of the dogs one detection is left, right: 1 to 1/3.
    mended = 100 * ((third + 0.5 * (two_thirds - third)) + third) / 2
    assert costs[ErrorType.CLASS] == pytest.approx(mended - before)
    # loc: hit, dup, hit -> 1 to 1/3, then 2/3 to 2/3.
    assert costs[ErrorType.LOCATION] == pytest.approx(100 * (2 / 3) * (two_thirds - third) / 2)
    # both and bkg: false cats behind the only hit of their class cost nothing; so does the duplicate.
    assert [costs[kind] for kind in (ErrorType.BOTH, ErrorType.BACKGROUND, ErrorType.DUPLICATE)] == [0, 0, 0]
    # miss: two dogs count no more: one is left, found at rank 2 -> 1/2 everywhere.
    assert costs[ErrorType.MISSED] == pytest.approx(100 * (0.5 - third / 2) / 2)


def test_errors_are_counted_where_f1_is_best() -> None:
    """Of the case above: 2 right ones among the first 5 of 6 objects, F1 4 / 11; 4 / 12 with one more, 2 / 7 with one.
    A flood of unsure detections changes no count, and only the costs know of it."""
    found = labelled([row[0] for row in ROW], [row[1] for row in ROW])
    scores = np.array([row[2] for row in ROW])
    errors = together([(OBJECTS, found, scores, NOTHING)], classes=2)
    assert errors.best_score() == 0.5
    counts = {"cls": 1, "loc": 1, "both": 0, "dup": 1, "bkg": 0, "miss": 2}
    assert {kind.value: errors.count(kind, 0.5) for kind in ErrorType} == counts
    low = labelled([CAT] * 500, [(300, 0, 310, 10)] * 500)
    flood = (labelled((), ()), low, np.full(500, 0.01), NOTHING)
    more = together([(OBJECTS, found, scores, NOTHING), flood], classes=2)
    assert more.best_score() == 0.5 and {kind.value: more.count(kind, 0.5) for kind in ErrorType} == counts
    assert more.count(ErrorType.BACKGROUND) == 501
    # An object that only an unsure detection found is missed; the surest is counted to the end of its score.
    late = together([(OBJECTS, found, scores, NOTHING)] * 2, classes=2)
    assert late.count(ErrorType.MISSED, 0.6) == 2 * 3 and late.best_score() == 0.5


def test_the_best_score_of_no_right_detection_is_the_lowest() -> None:
    cat = labelled((CAT,), [(0, 0, 10, 10)])
    wrong = together([(cat, labelled((CAT,), [(50, 0, 60, 10)]), np.array([0.9]), NOTHING)], classes=1)
    nothing = together([(cat, NOTHING, np.zeros(0), NOTHING)], classes=1)
    assert wrong.best_score() == nothing.best_score() == 0.0
    third = together([(cat, cat, np.array([1 / 3], np.float32), NOTHING)], classes=1)
    assert third.best_score() == 0.3333 and third.count(ErrorType.MISSED, 0.3333) == 0


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [
        ((0, 0, 10, 5), CAT, "right"),  # IoU exactly 0.5 finds
        ((0, 0, 10, 1), CAT, "loc"),  # exactly 0.1 is near
        ((0, 0, 10, 0.99), CAT, "bkg"),
        ((0, 0, 10, 5), DOG, "cls"),
        ((0, 0, 10, 4.99), DOG, "both"),
        ((0, 0, 10, 1), DOG, "bkg"),  # of another class exactly 0.1 shows nothing
    ],
)
def test_ends_of_the_intervals(box: tuple[float, ...], label: int, kind: str) -> None:
    matched = match_image(labelled((CAT,), [(0, 0, 10, 10)]), labelled((label,), [box]), NOTHING)
    assert [KINDS[number] for number in matched.kinds] == [kind]


def test_what_is_found_in_a_crowd_counts_neither_way() -> None:
    cat, crowd = labelled((CAT,), [(0, 0, 10, 10)]), labelled((CAT,), [(50, 0, 100, 50)])
    found = labelled((CAT, CAT, DOG), [(0, 0, 10, 10), (60, 10, 70, 20), (60, 10, 70, 20)])
    errors = together([(cat, found, np.array([0.5, 0.9, 0.8]), crowd)], classes=2)
    assert errors.in_crowd.tolist() == [True, False, False]  # the dog is in no crowd of dogs
    assert errors.count(ErrorType.BACKGROUND) == 1 and errors.best_score() == 0.5
    assert ap50(errors) == pytest.approx(100 / 2)  # as in the tool, a class that is found and not there counts as 0
    alone = together([(cat, found, np.array([0.5, 0.9, 0.8]), NOTHING)], classes=2)
    assert ap50(alone) == pytest.approx(100 * 0.5 / 2)


def test_images_without_objects_or_detections() -> None:
    found = labelled((CAT,), [(0, 0, 10, 10)])
    none = np.zeros(0)
    errors = together([(NOTHING, found, np.array([0.9]), NOTHING), (found, NOTHING, none, NOTHING)], classes=1)
    assert errors.count(ErrorType.BACKGROUND) == errors.count(ErrorType.MISSED) == 1
    assert ap50(errors) == 0
    empty = together([(NOTHING, NOTHING, none, NOTHING)], classes=1)
    assert np.isnan(ap50(empty))


class Plain:
    """The same by loops: one image after the other, one detection after the other."""

    def __init__(self, images: list[Image], classes: int) -> None:
        self.points: list[dict[str, Any]] = []
        self.objects: list[dict[str, Any]] = []
        for objects, found, scores, _ in images:
            here = [{"label": int(k), "box": b, "used": False, "best": None} for k, b in zip(*objects, strict=True)]
            order = sorted(range(len(scores)), key=lambda i: -scores[i])
            said = [{"label": int(found.labels[i]), "box": found.boxes_px[i], "score": scores[i]} for i in order]
            self.image(here, said)
            self.objects += here
            self.points += said
        self.classes = classes

    def image(self, objects: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
        for one in found:
            overlaps = [_iou(one["box"], other["box"]) for other in objects]
            free = [(v, i) for i, v in enumerate(overlaps) if _fits(one, objects[i]) and not objects[i]["used"]]
            one["right"] = bool(free) and max(free)[0] >= 0.5
            one["overlaps"] = overlaps
            if one["right"]:
                objects[max(free)[1]]["used"] = True
        for one in found:
            one["kind"], one["about"] = ("right", None) if one["right"] else self.kind(one, objects)
            about = one["about"]
            if (
                about is not None
                and not about["used"]
                and (about["best"] is None or about["best"]["score"] < one["score"])
            ):
                about["best"] = one

    def kind(self, one: dict[str, Any], objects: list[dict[str, Any]]) -> tuple[str, dict[str, Any] | None]:
        own = [(v, -i) for i, v in enumerate(one["overlaps"]) if _fits(one, objects[i])]
        other = [(v, -i) for i, v in enumerate(one["overlaps"]) if not _fits(one, objects[i])]
        if own and 0.1 <= max(own)[0] <= 0.5:
            return "loc", objects[-max(own)[1]]
        if other and max(other)[0] >= 0.5:
            return "cls", objects[-max(other)[1]]
        if any(v >= 0.5 and objects[-i]["used"] for v, i in own):
            return "dup", None
        return ("bkg", None) if max(one["overlaps"], default=0) <= 0.1 else ("both", None)

    def value(self, mended: str | None = None) -> float:
        counts = [sum(one["label"] == k for one in self.objects) for k in range(self.classes)]
        points = [(one["label"], one["score"], True) for one in self.points if one["right"]]
        for one in self.points:
            if not one["right"] and one["kind"] != mended:
                points.append((one["label"], one["score"], False))
            elif one["kind"] == mended and one["about"] is not None and one["about"]["best"] is one:
                points.append((one["about"]["label"], one["score"], True))
        if mended == "miss":
            for one in self.objects:
                counts[one["label"]] -= not one["used"] and one["best"] is None
        values = []
        for k, count in enumerate(counts):
            mine = sorted((p for p in points if p[0] == k), key=lambda p: -p[1])
            if count or mine:
                values.append(_area([hit for *_, hit in mine], count) if count else 0.0)
        return 100 * sum(values) / len(values)


def _fits(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["label"] == other["label"])


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return float(width * height / area)


def _area(hits: list[bool], count: int) -> float:
    found = np.cumsum(hits)
    precision, recall = found / np.arange(1, len(hits) + 1), found / count
    return float(np.mean([precision[recall >= i / 100].max(initial=0) for i in range(101)]))


@pytest.mark.parametrize("seed", range(6))
def test_costs_are_those_of_a_plain_reading(seed: int) -> None:
    images = some_images(np.random.default_rng(seed), classes := 4)
    plain, errors = Plain(images, classes), together(images, classes)
    kinds = [one["kind"] for one in plain.points]
    assert {kind: kinds.count(kind) for kind in KINDS} == {
        kind: int((errors.kinds == number).sum()) for number, kind in enumerate(KINDS)
    }
    assert ap50(errors) == pytest.approx(plain.value())
    for kind, cost in error_costs(errors).items():
        assert cost == pytest.approx(max(0.0, plain.value(kind.value) - plain.value())), kind
    assert all(kinds.count(kind) > 3 for kind in KINDS), "every kind is tried"


def test_ap_is_that_of_coco() -> None:
    """On classes that have objects, with scores that differ."""
    images = some_images(np.random.default_rng(7), classes := 3)
    layouts, detections = [], []
    for objects, found, scores, _ in images:
        boxes = zip(objects.labels.tolist(), objects.boxes_px.tolist(), strict=True)
        layouts.append(Layout(128, 128, tuple(Box(str(k), tuple(v / 128 for v in box)) for k, box in boxes)))
        labels = tuple(map(str, found.labels.tolist()))
        detections.append(Detections(labels, scores, np.asarray(found.boxes_px / 128)))
    assert ap50(together(images, classes)) == pytest.approx(100 * coco_scores(layouts, detections)[0].AP50)


def some_images(rng: np.random.Generator, classes: int) -> list[Image]:
    """Objects found well, badly, twice, under other names, not at all; and things that are not there."""
    images = []
    for _ in range(40):
        count = int(rng.integers(1, 6))
        labels, corner = rng.integers(0, classes, count), rng.integers(0, 80, (count, 2))
        boxes = np.concatenate([corner, corner + rng.integers(12, 40, (count, 2))], axis=1).astype(float)
        source = np.repeat(np.arange(count), rng.integers(0, 3, count))
        moved = boxes[source] + rng.integers(-6, 7, (len(source), 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 4)
        extra = rng.integers(0, 100, (2, 2))
        found = np.clip(np.concatenate([moved, np.concatenate([extra, extra + 20], axis=1)]), 0, 128)
        said = np.where(rng.random(len(source)) < 0.75, labels[source], rng.integers(0, classes, len(source)))
        names = np.concatenate([said, rng.integers(0, classes, 2)])
        scores = rng.permutation(np.linspace(0.01, 0.99, len(names))) + rng.uniform(0, 0.005, len(names))
        images.append((Labelled(labels, boxes), Labelled(names, found), scores.astype(np.float32), NOTHING))
    return images
