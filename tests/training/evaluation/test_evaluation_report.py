"""The report's values and their file: measured by hand, there and back, and what is missing by its name."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detdiffusion.detection import Detections
from detdiffusion.errors import DataError
from detdiffusion.evaluation.effect import measure
from detdiffusion.layout import Attribute, Box, Layout
from training.evaluation.report import EvaluationReport, ObjectRow, Scores

CAR, BUS, ROAD = (0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0), (0.0, 0.5, 1.0, 1.0)


class Named:
    """A detector by name only: scores are measured from detections that exist already."""

    name, sha256, labels, min_score = "named", "0" * 64, ("car", "bus"), 0.5

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        raise NotImplementedError


def layouts() -> list[Layout]:
    car, bus = Box("car", CAR, Attribute.EASY), Box("bus", BUS, Attribute.HARD)
    return [Layout(64, 64, (car, bus, Box("road", ROAD, Attribute.BACKGROUND))), Layout(64, 64, (car,))]


def found(*rows: tuple[str, float, tuple[float, float, float, float]]) -> Detections:
    labels, scores, boxes = zip(*rows, strict=True) if rows else ((), (), np.zeros((0, 4)))
    return Detections(labels, np.array(scores, np.float32), np.array(boxes, np.float32))


def group(objects: int, recall: float | None, confidence: float | None) -> dict[str, Any]:
    return {"objects": objects, "recall50": recall, "mean_confidence": confidence}


def test_scores_by_hand() -> None:
    block = measure(layouts(), [found(("car", 0.9, CAR), ("bus", 0.3, BUS)), found(("car", 0.6, CAR))], Named())
    said = Scores.of(block).to_json()
    assert list(said)[:3] == ["mAP", "AP50", "AP75"], "the file's order"
    assert {name: said.pop(name) for name in ("by_attribute", "by_class", "by_size")} == {
        "by_attribute": {"easy": group(2, 1.0, 0.75), "hard": group(1, 0.0, 0.3)},
        "by_class": {"bus": group(1, 0.0, 0.3), "car": group(2, 1.0, 0.75)},
        "by_size": {"small": group(0, None, None), "medium": group(0, None, None), "large": group(3, 0.666667, 0.6)},
    }
    precisions = {"mAP": 1.0, "AP50": 1.0, "AP75": 1.0, "APs": 1.0, "APm": 1.0, "APl": None}
    intervals = {"AP50_ci95": [1.0, 1.0], "mAP_ci95": [1.0, 1.0], "recall50_ci95": [0.5, 1.0]}
    intervals["mean_confidence_ci95"] = [0.6, 0.6]  # the second image's car is as sure as the first one's mean
    assert said == {**precisions, "recall50": 0.666667, "mean_confidence": 0.6, "objects": 3, **intervals}


def test_group_without_objects_is_null_in_json() -> None:
    block = measure(layouts()[1:], [found()], Named())
    assert Scores.of(block).to_json()["by_attribute"]["hard"] == group(0, None, None)


def scores() -> dict[str, Any]:
    block = measure(layouts(), [found(("car", 0.9, CAR), ("bus", 0.3, BUS)), found(("car", 0.6, CAR))], Named())
    return Scores.of(block).to_json()


def report() -> dict[str, Any]:
    """Every optional part, and None wherever there may be none."""
    estimate, nothing = {"mean": 0.5, "ci95": [0.4, 0.6]}, {"mean": None, "ci95": [None, None]}
    bounds = {"min_area": 0.02, "min_objects": 3, "max_objects": 8, "crowds": False, "ignored": ["other"]}
    layouts = {"spec": "coco", "source": "coco", "filter": bounds, "count": 2, "objects": 4, "things": 3}
    view = {"name": "easy", "strategy": "easy", "attribute_guidance": 0.0, "scores": {"named": scores()}, "fid": 12.25}
    view |= {"fid_note": None, "detector_feature_distance": None, "scene_fid": None}
    full = {"name": "ours", "kind": "DetDiffusion", "blueprint": True, "attributes": True, "perception_head": True}
    full |= {"parameters": 7, "sha256": "a" * 64, "autoencoder": {"kept": None}, "views": [view, view]}
    full |= {"drop": {"named": {"confidence": estimate, "AP50": nothing, "mAP": estimate}}}
    full |= {"transfer": {"named": {"own": estimate, "others": nothing, "ratio": None}}}
    full |= {"hard_found": {"named": None}, "mask_iou": estimate}
    bare = {**full, "name": "theirs", "views": [], "autoencoder": None}
    bare |= dict.fromkeys(("drop", "transfer", "hard_found", "mask_iou"))
    return {
        "format": 2,
        "layouts": {**layouts, "hard_share": 0.333333, "fingerprint": "b" * 64},
        "sampler": {"steps": 20, "guidance": 3.0, "batch": 16, "size": [64, 48], "sampler": ""},
        "attributes_by": [{"name": "a", "sha256": "c" * 64}, {"name": "b", "sha256": "d" * 64}],
        "detectors": [{"name": "named", "sha256": "e" * 64, "min_score": 0.5, "unmapped": ["zebra"]}],
        "inception": {"sha256": "f" * 64},
        "real": {"scores": {"named": scores()}},
        "systems": [full, bare],
    }


def same(values: Any) -> Any:
    """With the order of names, which two dictionaries do not compare."""
    if isinstance(values, dict):
        return [(name, same(value)) for name, value in values.items()]
    return [same(value) for value in values] if isinstance(values, list) else values


def with_causes() -> dict[str, Any]:
    """A system whose model has a classifier of causes."""
    estimate, nothing = {"mean": 0.25, "ci95": [0.125, 0.5]}, {"mean": None, "ci95": [None, None]}
    some, none = ({"objects": count, "shares": {"blur": share}} for count, share in ((4, estimate), (0, nothing)))
    causes = {"sha256": "a" * 64, "words": {"blur": "blurred"}, "truth": {"hard": some}, "real": None}
    causes |= {"views": {"hard": {"hard": some, "easy": none}}}
    full, bare = report()["systems"]
    return {"systems": [full | {"causes": causes}, bare]}


@pytest.mark.parametrize(
    "change",
    [
        {},
        with_causes(),
        {"real": None, "inception": None},
        {"attributes_by": None},
        {"attributes_by": {"name": "a", "sha256": "c"}},
    ],
)
def test_there_and_back(change: dict[str, Any]) -> None:
    values = report() | change
    assert same(EvaluationReport.from_json(values).to_json()) == same(values)


def test_older_reports_name_no_sampler() -> None:
    older = report()
    del older["sampler"]["sampler"]
    assert EvaluationReport.from_json(older) == EvaluationReport.from_json(report())


def test_what_is_not_known_is_nan_or_none() -> None:
    one = EvaluationReport.from_json(report())
    view = one.systems[0].views[0]
    assert math.isnan(view.scene_fid) and view.fid == 12.25
    assert math.isnan(view.scores["named"].APl) and view.scores["named"].estimate("recall50").ci95 == (0.5, 1.0)
    assert (one.lead, [labeller.name for labeller in one.labellers]) == ("named", ["a", "b"])
    assert one.systems[1].drop is None and one.systems[0].views[0].name == "easy"


def test_names_that_a_later_version_adds_are_passed_over() -> None:
    assert EvaluationReport.from_json(report() | {"later": 1}).to_json() == report()


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("detectors",), None, "detectors is missing"),
        (
            ("systems", 0, "views", 1, "scores", "named", "AP50"),
            None,
            r"systems\[0\]\.views\[1\]\.scores\.named\.AP50 ",
        ),
        (("systems", 1, "drop"), None, r"systems\[1\]\.drop is missing"),
        (("layouts", "count"), "many", r"layouts\.count: .*integer"),
        (("systems", 0, "mask_iou"), {"mean": 0.5}, r"systems\[0\]\.mask_iou\.ci95 is missing"),
        (("sampler", "size"), [1], r"sampler\.size\[1\] is missing"),
    ],
)
def test_a_fault_is_named(path: tuple[str | int, ...], value: Any, reason: str) -> None:
    values: Any = json.loads(json.dumps(report()))  # nothing in it twice
    *above, last = path
    here = values
    for step in above:
        here = here[step]
    if value is None:
        del here[last]
    else:
        here[last] = value
    with pytest.raises(DataError, match=f"a report of evaluate: {reason}"):
        EvaluationReport.from_json(values)


def test_a_report_is_no_list() -> None:
    with pytest.raises(DataError, match="the whole: "):
        EvaluationReport.from_json([])


def test_a_row_of_an_object() -> None:
    row = ObjectRow("ours", "easy", 3, 0, "car", Attribute.EASY, None, 1 / 3, {"named": math.nan, "other": 0.25})
    values = {"system": "ours", "view": "easy", "picture": 3, "object": 0, "label": "car", "attribute": "easy"}
    values |= {"asked": None, "area": 0.333333, "confidence": {"named": None, "other": 0.25}}
    assert same(row.to_json()) == same(values) and type(row.to_json()["attribute"]) is str
    assert ObjectRow.from_json(values).attribute == "easy"
    with pytest.raises(DataError, match=r"a row of an object: confidence is missing"):
        ObjectRow.from_json({name: value for name, value in values.items() if name != "confidence"})


def test_a_report_of_version_0_1_is_read() -> None:
    values = report()
    view = values["systems"][0]["views"][1]
    del view["attribute_guidance"]
    view |= {"name": "difficulty 2", "strategy": "origin", "difficulty": 2.0}
    values["systems"][0]["views"] = [view]
    read = EvaluationReport.from_json(values).systems[0].views[0]
    assert (read.name, read.attribute_guidance) == ("difficulty 2", 2.0)
    del view["difficulty"]
    with pytest.raises(DataError, match=r"systems\[0\].views\[0\].attribute_guidance is missing"):
        EvaluationReport.from_json(values)
