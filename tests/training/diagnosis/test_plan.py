"""python -m training plan: slices in need get more, nothing is without an example, the same seed gives the same."""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detdiffusion.core.files import write_json
from detdiffusion.errors import ConfigError, DataError
from detdiffusion.evaluation.bootstrap import Estimate, resamples
from detdiffusion.layout import Attribute, Box, Layout
from training.data.layout_sources import FileLayouts
from training.diagnosis import plan_command
from training.diagnosis.axes import EDGE, Cuts, areas, box_axes, covered
from training.diagnosis.diagnose import counted_axes
from training.diagnosis.evidence import FILE as EVIDENCE
from training.diagnosis.evidence import Array, Evidence
from training.diagnosis.measures import calibration, confusion, objects_of, overall
from training.diagnosis.planning import COVERAGE, MISSED, Planner, Repeated, Strategy, make_budget
from training.diagnosis.result import FILE, FORMAT, Diagnosis, Source
from training.diagnosis.scenes import Scenes
from training.diagnosis.slices import find_slices

Simulate = Callable[..., Evidence]
HARD, EASY = Attribute.HARD, Attribute.EASY
WORDS = ("class", "size", "x", "y", "crowding", "truncation")


def left_cars(box: Box, _: tuple[Box, ...]) -> bool:
    return box.label == "car" and box.xyxy[0] + box.xyxy[2] < 2 / 3


def diagnosis_of(evidence: Evidence) -> Diagnosis:
    """As `diagnose` makes it, without images and COCO's scores."""
    cuts = Cuts.of(evidence)
    objects = objects_of(evidence, 0.5)
    found = find_slices(objects, counted_axes(evidence, cuts))
    recall = overall(objects.found, objects, resamples(objects.images))
    source = Source("data", ("--data", "data"), "0", None, objects.images, len(objects.found), "d", "0", 0.5, ())
    nothing = Estimate(0.0, (0.0, 0.0))
    return Diagnosis(
        FORMAT, source, {}, nothing, recall, nothing, {}, {}, found.named, found.others, found.tested,
        {"sizes": list(cuts.sizes), "fills": {}}, (), calibration(evidence), confusion(evidence, 0.5), (), (), {},
    )  # fmt: skip


@pytest.fixture(scope="module")
def evidence(simulated: Simulate) -> Evidence:
    return simulated(1, left_cars)


@pytest.fixture(scope="module")
def diagnosis(evidence: Evidence) -> Diagnosis:
    return diagnosis_of(evidence)


@pytest.fixture(scope="module")
def planner(evidence: Evidence, diagnosis: Diagnosis) -> Planner:
    scenes = Scenes(evidence, Cuts.from_json(diagnosis.cuts), 0.5)
    return Planner(scenes, make_budget(diagnosis, evidence), seed=0)


@pytest.fixture
def folder(tmp_path: Path, evidence: Evidence, diagnosis: Diagnosis) -> Path:
    write_json(tmp_path / "diagnosis" / FILE, diagnosis.to_json())
    evidence.save(tmp_path / "diagnosis" / EVIDENCE)
    return tmp_path / "diagnosis"


def ask(*words: object) -> int:
    parser = argparse.ArgumentParser()
    plan_command.add_arguments(parser)
    return plan_command.run(parser.parse_args([str(word) for word in words]))


def values_of(layouts: list[Layout], cuts: Cuts, things: tuple[str, ...]) -> list[tuple[object, ...]]:
    """Of every thing: class and its value on every axis, of its layout and attribute."""
    rows: list[tuple[object, ...]] = []
    for layout in layouts:
        boxes = [box for box in layout.boxes if box.label in things]
        if boxes:
            array = np.array([box.xyxy for box in boxes])
            cover = covered(array, np.zeros(len(boxes), int), np.ones(len(boxes), bool))
            pixel = np.tile(EDGE / np.array([layout.width, layout.height]), (len(boxes), 1))
            codes = [axis.codes.tolist() for axis in box_axes(array, cover, pixel, cuts)]
            rows += zip([box.label for box in boxes], *codes, [box.attribute for box in boxes], strict=True)
    return rows


def test_the_slice_in_need_gets_its_share(planner: Planner) -> None:
    drawn = [planner.draw(number) for number in range(400)]
    failures = [one for one in drawn if one.hard]
    assert 1 - len(failures) / 400 == pytest.approx(COVERAGE, abs=0.06)
    assert {one.target for one in failures} == {"car, left"}
    for one in failures:
        added = [box for box in one.layout.boxes if box.attribute is HARD]
        assert len(added) == one.added >= 1
        assert all(box.label == "car" and (box.xyxy[0] + box.xyxy[2]) / 2 < 1 / 3 for box in added)
        rest = [box.attribute for box in one.layout.boxes if box not in added]
        assert set(rest) <= {EASY, Attribute.BACKGROUND}, "what is around is context"
    before = planner.scenes.evidence
    share = np.mean((before.label[before.counted] == 0) & (before.box[before.counted][:, [0, 2]].mean(axis=1) < 1 / 3))
    boxes = [box for one in drawn for box in one.layout.boxes if box.label != "grass"]
    now = np.mean([box.label == "car" and (box.xyxy[0] + box.xyxy[2]) / 2 < 1 / 3 for box in boxes])
    assert now > 3 * share


def test_coverage_takes_rare_cells_as_often_as_frequent_ones(planner: Planner) -> None:
    cells = {one.name: len(one.places) for one in planner.budget.coverage}
    assert min(cells.values()) < max(cells.values()) / 4, "the data are uneven"
    drawn = [one for one in map(planner.draw, range(6000)) if not one.hard]
    counts = np.array([sum(one.target == name for one in drawn) for name in cells])
    expected = len(drawn) / len(cells)
    assert counts.max() < 3 * expected
    assert np.corrcoef(counts, list(cells.values()))[0, 1] < 0.3


def test_nothing_is_without_an_example(planner: Planner, evidence: Evidence) -> None:
    """Every object that is added has the class and the values of a real one, on all axes at once; every other object
    is a real one where it was; classes stand together that stand together in the data."""
    cuts, things = planner.scenes.cuts, ("car", "bird", "cup", "boat", "cat")
    real = {row[:-1] for row in values_of([planner.scenes.real(i) for i in range(400)], cuts, things)}
    drawn = [planner.draw(number).layout for number in range(600)]
    hard = [row for row in values_of(drawn, cuts, things) if row[-1] is HARD]
    assert hard and {row[:-1] for row in hard} <= real
    unsupported = [row for row in values_of(drawn, cuts, things) if row[:4] not in {one[:4] for one in real}]
    assert unsupported == []
    assert max(len(layout.boxes) for layout in drawn) <= planner.scenes.most + 1  # one is stuff


def test_moved_objects_are_not_copies(planner: Planner, evidence: Evidence) -> None:
    real = {tuple(np.round(box, 5).tolist()) for box in evidence.box.astype(float)}
    added = [box.xyxy for number in range(200) for box in planner.draw(number).layout.boxes if box.attribute is HARD]
    assert np.mean([tuple(np.round(box, 5).tolist()) in real for box in added]) < 0.1
    assert len(set(added)) > 0.95 * len(added)


def test_backgrounds_are_kept(planner: Planner) -> None:
    layouts = [planner.draw(number).layout for number in range(200)]
    grass = [box for layout in layouts for box in layout.boxes if box.label == "grass"]
    assert 0.3 < len(grass) / 200 < 0.7 and {box.xyxy for box in grass} == {(0.0, 0.5, 1.0, 1.0)}
    assert {box.attribute for box in grass} == {Attribute.BACKGROUND}


def test_without_a_named_slice_failures_are_missed_objects(simulated: Simulate) -> None:
    evidence = simulated(5, None)
    diagnosis = diagnosis_of(evidence)
    assert diagnosis.slices == ()
    (target,) = make_budget(diagnosis, evidence).failures
    assert target.name == MISSED and (evidence.confidence[target.places] == 0).all()


def test_a_slice_without_an_example_is_named_and_skipped(diagnosis: Diagnosis, evidence: Evidence) -> None:
    ghost = replace(diagnosis.slices[0], name="dragon, left", bounds={"class": "dragon", "x": [0, 0.333333]})
    budget = make_budget(replace(diagnosis, slices=(*diagnosis.slices, ghost)), evidence)
    assert budget.skipped == ("dragon, left",) and [one.name for one in budget.failures] == ["car, left"]
    assert "skipped: dragon, left has no example in the data" in budget.lines()
    with pytest.raises(ConfigError, match="no example of dragon, left"):
        make_budget(replace(diagnosis, slices=(ghost,)), evidence, wanted=["dragon, left"])
    cells = {one.name for one in budget.coverage}
    assert not cells & set(budget.empty)


def test_slices_that_are_asked_for_take_all_failures(diagnosis: Diagnosis, evidence: Evidence) -> None:
    other = next(one for one in diagnosis.others if one.name == "bird")
    budget = make_budget(diagnosis, evidence, wanted=[other.name])
    assert [one.name for one in budget.failures] == ["bird"]
    with pytest.raises(ConfigError, match="lists no slice 'birb'"):
        make_budget(diagnosis, evidence, wanted=["birb"])


def test_data_without_objects_cannot_be_planned_from(diagnosis: Diagnosis, evidence: Evidence) -> None:
    nothing = replace(evidence, role=np.full_like(evidence.role, 2))
    with pytest.raises(DataError, match="no object that the detector knows"):
        make_budget(diagnosis, nothing)


@pytest.mark.parametrize("strategy", [Strategy.AUGMENT, Strategy.ADD_MISSED])
def test_todays_strategies_are_there(planner: Planner, strategy: Strategy) -> None:
    repeated = Repeated(planner.scenes, strategy, seed=0)
    first, again = repeated.draw(3), repeated.draw(3)
    assert first == again and first.layout != planner.scenes.real(int(repeated.images[3]))
    if strategy is Strategy.ADD_MISSED:
        drawn = [repeated.draw(number) for number in range(100)]
        assert all(1 <= one.added <= repeated.add for one in drawn if one.added)
        extra = [box for one in drawn for box in one.layout.boxes[len(one.layout.boxes) - one.added :]]
        cars = np.mean([box.label == "car" for box in extra])
        assert cars > 0.25, "cars are missed most"


def test_a_file_of_layouts(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "layouts.jsonl"
    assert ask("--diagnosis", folder, "--count", 50, "--seed", 3, "--out", out) == 0
    assert "car, left: " in capsys.readouterr().out
    source = FileLayouts.read(out)
    assert len(source) == 50 and source.labelled
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    summary = json.loads(out.with_suffix(".summary.json").read_text())
    assert sum(row["plan"]["failure"] for row in rows) == summary["failures"]["car, left"]["layouts"]
    assert summary["count"] == 50 and summary["skipped"] == []
    first = out.read_bytes()
    assert ask("--diagnosis", folder, "--count", 50, "--seed", 3, "--out", out) == 0
    assert out.read_bytes() == first, "the same seed gives the same layouts"
    ask("--diagnosis", folder, "--count", 20, "--seed", 3, "--out", tmp_path / "fewer.jsonl")
    assert first.startswith((tmp_path / "fewer.jsonl").read_bytes()), "however many there are"
    ask("--diagnosis", folder, "--count", 50, "--seed", 4, "--out", out)
    assert out.read_bytes() != first


def test_a_dry_run_writes_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "layouts.jsonl"
    assert ask("--diagnosis", folder, "--count", 50, "--out", out, "--dry-run") == 0
    assert "100 %: car, left" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"diagnosis"}


def test_bad_input_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "layouts.jsonl"
    with pytest.raises(DataError, match="python -m training diagnose"):
        ask("--diagnosis", tmp_path / "absent", "--count", 1, "--out", out)
    with pytest.raises(ConfigError, match=r"needs to end with \.jsonl"):
        ask("--diagnosis", folder, "--count", 1, "--out", tmp_path / "layouts.json")
    with pytest.raises(ConfigError, match="lists no slice 'dogs'"):
        ask("--diagnosis", folder, "--count", 1, "--out", out, "--slice", "dogs")
    (folder / EVIDENCE).write_bytes(b"PK broken")
    with pytest.raises(DataError, match="is no evidence"):
        ask("--diagnosis", folder, "--count", 1, "--out", out)
    assert not out.exists()


def test_areas_are_shares() -> None:
    box: Array = np.array([[0.0, 0.0, 0.5, 0.5]])
    assert areas(box).tolist() == [0.25]
