"""python -m training diagnose: what is written, that it resumes, and what two diagnoses say together."""

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detdiffusion.detection import Detections
from detdiffusion.errors import ConfigError, DataError, DetectorError
from detdiffusion.evaluation.coco_ap import coco_scores, coco_statistics
from detdiffusion.evaluation.tide import KINDS
from detdiffusion.layout import Layout
from training.data.datasets import Dataset, open_dataset
from training.data.papercut.coco_export import write_dataset
from training.data.request import Reading
from training.diagnosis import command, diagnose
from training.diagnosis.compare import Side, compare, read_side
from training.diagnosis.evidence import FILE as EVIDENCE
from training.diagnosis.evidence import Evidence, Role
from training.diagnosis.health import check_health, other_splits
from training.diagnosis.measures import METRICS, calibration, confusion, hardest, objects_of
from training.diagnosis.measures import coco_scores as scores_of
from training.diagnosis.result import read_diagnosis

Simulate = Callable[..., Evidence]
SIZE, SCENES = 64, 16


class Killed(Exception):
    pass


class TrueDetector:
    """Finds what the data hold, by the size and content of the image: everything but cups. It dies when told so."""

    name, min_score = "true", 0.5

    def __init__(self, dataset: Dataset, dies_after: int = 10**9) -> None:
        self.labels, self.sha256 = dataset.things, "d" * 64
        self.known = {sample.load_image().tobytes(): sample.layout for sample in dataset}
        self.looked, self.dies_after = 0, dies_after

    def detect(self, images: Sequence[Image.Image]) -> list[Detections]:
        self.looked += len(images)
        if self.looked > self.dies_after:
            raise Killed
        return [self._of(self.known[image.tobytes()]) for image in images]

    def _of(self, layout: Layout) -> Detections:
        boxes = [box for box in layout.boxes if box.label in self.labels and box.label != "cup"]
        scores = np.linspace(0.9, 0.6, len(boxes))
        corners = np.array([box.xyxy for box in boxes]).reshape(-1, 4)
        return Detections(tuple(box.label for box in boxes), scores, corners)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits: val, and train, which holds one image of val, too."""
    root = tmp_path_factory.mktemp("diagnose") / "data"
    (root / "annotations").mkdir(parents=True)
    for split, seeds in (("val", range(SCENES)), ("train", range(SCENES - 1, SCENES + 2))):
        made = root.parent / split
        write_dataset(made, seeds, size=SIZE)
        shutil.copytree(made / "images", root / split)
        for kind in ("instances", "stuff"):
            shutil.copyfile(made / "annotations" / f"{kind}.json", root / "annotations" / f"{kind}_{split}.json")
    return root


@pytest.fixture
def dataset(data: Path, at_home: None) -> Dataset:
    return open_dataset(data, split="val", filter=command.BOUNDS)


@pytest.fixture(scope="module")
def results(data: Path) -> Path:
    """A COCO results file: what is annotated, but for boats; cats are called birds."""
    content = json.loads((data / "annotations" / "instances_val.json").read_text())
    names = {one["id"]: one["name"] for one in content["categories"]}
    number = {name: key for key, name in names.items()}
    rows = [
        {
            "image_id": one["image_id"],
            "category_id": number["bird"] if names[one["category_id"]] == "cat" else one["category_id"],
            "bbox": one["bbox"],
            "score": 0.9 - 0.001 * place,
        }
        for place, one in enumerate(content["annotations"])
        if names[one["category_id"]] != "boat"
    ]
    path = data.parent / "theirs.json"
    path.write_text(json.dumps({"annotations": rows, "categories": content["categories"]}))
    return path


def ask(*words: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


def job(dataset: Dataset, detector: TrueDetector, out: Path) -> diagnose.Job:
    return diagnose.Job(dataset, detector, out, 0.5, "val", batch=2)


# --- the command ----------------------------------------------------------------------------------


def test_what_is_written(data: Path, results: Path, tmp_path: Path, at_home: None, capsys: Any) -> None:
    out = tmp_path / "out"
    words = ("--data", data, "--split", "val", "--detector", results, "--out", out)
    assert ask(*words, "--dry-run") == 0 and not out.exists()
    assert ask(*words) == 0
    said = capsys.readouterr()
    assert "found" in said.out and str(out / "report.html") in said.out
    values = json.loads((out / "diagnosis.json").read_text())
    assert set(values["errors"]) == {"cls", "loc", "both", "dup", "bkg", "miss"}
    boats = sum(one["label"] == "boat" for one in _objects(data))
    cats = sum(one["label"] == "cat" for one in _objects(data))
    assert boats and cats
    assert values["error_counts"] == dict.fromkeys(values["errors"], 0) | {"cls": cats, "miss": boats}
    assert values["errors"]["cls"] > 0 and values["errors"]["miss"] > 0 and values["errors"]["loc"] == 0
    assert {"duplicates", "leaks", "tiny", "missing", "swapped", "few"} <= set(values["health"])
    assert values["health"]["leaks"]["train"]["count"] == 1
    assert values["health"]["swapped"]["count"] == cats
    classes = {row["label"]: row for row in values["classes"]}
    assert classes["boat"]["recall"] == classes["cat"]["recall"] == 0 and classes["cup"]["recall"] == 1
    matrix = values["confusion"]
    cat = matrix["labels"].index("cat")
    assert matrix["rows"][cat][matrix["labels"].index("bird")] == cats
    assert matrix["rows"][matrix["labels"].index("boat")][-1] == boats
    page = (out / "report.html").read_text()
    assert "What errors cost" in page and "data:image/jpeg;base64" in page
    assert "http" not in page.replace("http://www.w3", ""), "nothing is asked for from anywhere"
    found = read_diagnosis(out)
    assert values.pop("seal") and found.to_json() == values and found.source.objects == len(_objects(data))


def _objects(data: Path) -> list[dict[str, Any]]:
    content = json.loads((data / "annotations" / "instances_val.json").read_text())
    names = {one["id"]: one["name"] for one in content["categories"]}
    return [{**one, "label": names[one["category_id"]]} for one in content["annotations"]]


def test_bad_input_says_what_to_do(data: Path, results: Path, tmp_path: Path, at_home: None) -> None:
    with pytest.raises(ConfigError, match="give --data and --detector, or --compare"):
        ask("--out", tmp_path / "out", "--data", data)
    with pytest.raises(ConfigError, match="leave --data and --detector out"):
        ask("--out", tmp_path / "out", "--compare", data, data, "--data", data)
    with pytest.raises(DataError, match="no such folder"):
        ask("--out", tmp_path / "out", "--data", tmp_path / "absent", "--detector", results)
    with pytest.raises(DetectorError, match="no detector at"):
        ask("--out", tmp_path / "out", "--data", data, "--detector", tmp_path / "absent.pt")
    with pytest.raises(DataError, match="no split 'test'"):
        ask("--out", tmp_path / "out", "--data", data, "--split", "test", "--detector", results)
    with pytest.raises(DataError, match=r"holds no diagnosis\.json"):
        ask("--out", tmp_path / "out", "--compare", data, data)
    assert not (tmp_path / "out" / "diagnosis.json").exists()


def test_another_detector_needs_another_folder(data: Path, results: Path, tmp_path: Path, at_home: None) -> None:
    ask("--data", data, "--split", "val", "--detector", results, "--out", tmp_path / "out")
    other = shutil.copyfile(results, tmp_path / "other.json")
    other.write_text(results.read_text().replace("0.9", "0.8"))
    with pytest.raises(ConfigError, match="was started with other settings"):
        ask("--data", data, "--split", "val", "--detector", other, "--out", tmp_path / "out")


# --- resuming -------------------------------------------------------------------------------------


def test_a_killed_diagnosis_goes_on(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnose, "CHUNK", 4)
    whole = TrueDetector(dataset)
    expected, evidence = diagnose.diagnose(job(dataset, whole, tmp_path / "whole"), {})
    dying = TrueDetector(dataset, dies_after=9)  # in the third of four chunks
    with pytest.raises(Killed):
        diagnose.diagnose(job(dataset, dying, tmp_path / "killed"), {})
    again = TrueDetector(dataset)
    found, same = diagnose.diagnose(job(dataset, again, tmp_path / "killed"), {})
    assert again.looked == SCENES - 8, "two chunks were there"
    assert found.to_json() == expected.to_json()
    assert all(np.array_equal(getattr(evidence, name), getattr(same, name)) for name in ("score", "confidence", "box"))
    third = TrueDetector(dataset)
    diagnose.diagnose(job(dataset, third, tmp_path / "killed"), {})
    assert third.looked == 0


def test_damaged_evidence_is_matched_again(dataset: Dataset, tmp_path: Path) -> None:
    detector = TrueDetector(dataset)
    expected, _ = diagnose.diagnose(job(dataset, detector, tmp_path), {})
    path = tmp_path / EVIDENCE
    path.write_bytes(path.read_bytes()[:200])
    found, _ = diagnose.diagnose(job(dataset, detector, tmp_path), {})
    assert found.to_json() == expected.to_json() and detector.looked == SCENES


# --- what is counted ------------------------------------------------------------------------------


def test_a_perfect_detector_but_for_cups(dataset: Dataset, tmp_path: Path) -> None:
    found, evidence = diagnose.diagnose(job(dataset, TrueDetector(dataset), tmp_path), {})
    recall = {row.label: row.recall for row in found.classes}
    assert recall.pop("cup") == 0 and set(recall.values()) == {1.0}
    assert found.error_counts["miss"] == (evidence.label[evidence.counted] == list(evidence.labels).index("cup")).sum()
    assert all(one.label == "cup" for one in found.hardest_objects[: found.error_counts["miss"]])
    assert found.metrics["AP50"] == pytest.approx(1 - 1 / len(found.classes))


def test_cocos_numbers_are_those_of_the_whole(simulated: Simulate) -> None:
    """Class by class, against all classes at once; and AP by the bootstrap's own matches."""
    evidence = simulated(3, None, images=60)
    layouts, found = as_layouts(evidence)
    things = ("car", "bird", "cup", "boat", "cat")
    scores = scores_of(evidence, objects_of(evidence, 0.5), lambda *_: None)
    expected = coco_statistics(layouts, found, things)
    assert [scores.metrics[name] for name in METRICS] == pytest.approx(expected.tolist(), nan_ok=True)
    theirs = coco_scores(layouts, found, things)[1]
    for mine, other in zip(sorted_matches(evidence), theirs, strict=True):
        assert (mine.truths == other.truths).all() and (mine.hits.sum() == other.hits.sum())


def sorted_matches(evidence: Evidence) -> list[Any]:
    """By the names of the classes, as `coco_scores` has them."""
    names = [name for i, name in enumerate(evidence.labels.tolist()) if (evidence.label[evidence.counted] == i).any()]
    return [one for _, one in sorted(zip(names, evidence.matches(), strict=True), key=lambda pair: pair[0])]


def as_layouts(evidence: Evidence) -> tuple[list[Layout], list[Detections]]:
    from detdiffusion.layout import Box

    layouts, found = [], []
    for image in range(len(evidence.ids)):
        mine, said = evidence.image == image, evidence.found_image == image
        boxes = zip(evidence.label[mine], evidence.box[mine].tolist(), strict=True)
        layouts.append(Layout(200, 200, tuple(Box(str(evidence.labels[k]), tuple(box)) for k, box in boxes)))
        labels = tuple(str(evidence.labels[k]) for k in evidence.found_label[said])
        found.append(Detections(labels, evidence.score[said], evidence.found_box[said]))
    return layouts, found


def test_calibration_of_known_scores(simulated: Simulate) -> None:
    evidence = simulated(0, None, images=4)
    kinds = np.zeros(100, np.uint8)
    kinds[70:] = KINDS.index("bkg")
    known = replace(evidence, score=np.full(100, 0.85, np.float32), kind=kinds, in_crowd=np.zeros(100, bool))
    one = calibration(known)
    assert one.ece == pytest.approx(0.15) and one.bins[8].count == 100 and one.bins[8].precision == pytest.approx(0.7)
    assert sum(item.count for item in one.bins) == 100


def test_the_confusion_matrix_counts_every_object_once(simulated: Simulate) -> None:
    evidence = simulated(4, None, images=80)
    table = np.array(confusion(evidence, 0.5).rows)
    counts = np.bincount(evidence.label[evidence.counted], minlength=5)[:5]
    assert table[:-1].sum(axis=1).tolist() == counts.tolist()
    sure = evidence.score >= 0.5
    assert table[:, :-1].sum() == sure.sum()


def test_the_hardest_come_first(simulated: Simulate) -> None:
    objects, images = hardest(simulated(4, None, images=80), 0.5)
    assert [one.hardness for one in objects] == sorted((one.hardness for one in objects), reverse=True)
    assert [one.hardness for one in images] == sorted((one.hardness for one in images), reverse=True)
    assert objects[0].confidence == 0 and objects[0].hardness == 1
    assert 0 <= images[-1].hardness <= images[0].hardness <= 1


def test_crowds_are_kept_aside(data: Path, tmp_path: Path, at_home: None) -> None:
    """A region of many objects is no object, and what is found in it counts neither way."""
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    path = copy / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    dataset = open_dataset(copy, split="val", filter=command.BOUNDS)
    plain = TrueDetector(open_dataset(data, split="val", filter=command.BOUNDS))
    _, evidence = diagnose.diagnose(job(dataset, plain, tmp_path / "out"), {})
    assert (evidence.role == Role.CROWD).sum() == 1 and evidence.in_crowd.sum() == 1
    assert (evidence.kind[~evidence.in_crowd] == KINDS.index("right")).all()


# --- health ---------------------------------------------------------------------------------------


def test_copies_and_doubled_boxes_are_named(data: Path, tmp_path: Path, at_home: None) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    path = copy / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    shutil.copyfile(copy / "val" / "000000.png", copy / "val" / "000999.png")
    content["images"].append({**content["images"][0], "id": 999, "file_name": "000999.png"})
    first = content["annotations"][0]
    x, y, w, h = first["bbox"]
    content["annotations"].append({**first, "id": 10_000, "bbox": [x, y, w, h - 1]})
    content["annotations"].append({**first, "id": 10_001, "bbox": [x, y, 2, 2]})
    path.write_text(json.dumps(content))
    dataset = open_dataset(copy, split="val", filter=command.BOUNDS)
    detector = TrueDetector(open_dataset(data, split="val", filter=command.BOUNDS))
    others = dict(other_splits(copy, dataset, "val", Reading()))
    _, evidence = diagnose.diagnose(job(dataset, detector, tmp_path / "out"), others)
    health = check_health(dataset, evidence, others)
    groups = [sorted(one["files"]) for one in health["duplicates"]["examples"]]
    assert groups == [["val/000000.png", "val/000999.png"]] and health["duplicates"]["examples"][0]["same_bytes"]
    assert health["twice"]["count"] == 1 and health["tiny"]["count"] == 1 and health["huge"]["count"] == 0
    assert health["leaks"]["train"]["examples"] == [{"files": ["val/000015.png"], "other": ["train/000015.png"]}]
    assert health["few"][0]["objects"] <= health["few"][-1]["objects"] < 50


# --- two diagnoses --------------------------------------------------------------------------------


def test_two_diagnoses_are_paired(simulated: Simulate, dataset: Dataset, tmp_path: Path) -> None:
    """Cups found again: the gain is theirs, with an interval; the same detector twice changes nothing at all."""
    weak, _ = diagnose.diagnose(job(dataset, TrueDetector(dataset), tmp_path / "a"), {})
    better = TrueDetector(dataset)
    better.sha256 = "e" * 64
    better._of = lambda layout: _everything(layout, better.labels)  # type: ignore[method-assign]
    diagnose.diagnose(job(dataset, better, tmp_path / "b"), {})
    found = compare(read_side(tmp_path / "a"), read_side(tmp_path / "b"))
    assert found.mAP.mean == pytest.approx(1 - weak.metrics["mAP"]) and found.mAP.ci95[1] > 0
    assert found.changes[0].name == "all objects" and found.changes[0].change.ci95[1] > found.changes[0].change.mean > 0
    same = compare(read_side(tmp_path / "a"), read_side(tmp_path / "a"))
    assert same.mAP.mean == 0 and same.mAP.ci95 == (0, 0) and same.changes[0].change.ci95 == (0, 0)
    assert ask("--compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c") == 0
    values = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert values["changes"][0]["change"]["mean"] > 0 and (tmp_path / "c" / "report.html").is_file()


def _everything(layout: Layout, labels: Sequence[str]) -> Detections:
    boxes = [box for box in layout.boxes if box.label in labels]
    return Detections(
        tuple(box.label for box in boxes), np.linspace(0.9, 0.6, len(boxes)), np.array([box.xyxy for box in boxes])
    )


def test_diagnoses_of_other_data_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    diagnose.diagnose(job(dataset, TrueDetector(dataset), tmp_path), {})
    side = read_side(tmp_path)
    source = replace(side.found.source, fingerprint="other")
    with pytest.raises(ConfigError, match="of different data"):
        compare(side, Side(replace(side.found, source=source), side.evidence))
    fewer = replace(side.evidence, role=np.where(side.evidence.label == 0, Role.UNKNOWN, side.evidence.role))
    with pytest.raises(ConfigError, match="know different classes"):
        compare(side, Side(side.found, fewer))
